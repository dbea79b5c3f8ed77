package traces

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Step is a number of inference nodes that holds from Start, measured from the
// trace's beginning, for Length.
type Step = recorded.Step

// DeepSeekDay returns the inference nodes that DeepSeek's service occupied over
// 24 hours: steps in order, without gap or overlap, the first at 0.
func DeepSeekDay() ([]Step, error) {
	f, err := table(deepSeekFile)
	if err != nil {
		return nil, err
	}
	steps, _, err := recorded.Steps(f)
	return steps, err
}

// Rate is the request rate of a service at an offset from the trace's beginning.
type Rate = recorded.Rate

// AzureWeek returns one week of requests per minute of an Azure LLM service,
// "code" or "conv", in points of 7.2 minutes in order of time.
func AzureWeek(service string) ([]Rate, error) {
	file, err := azureFile(service)
	if err != nil {
		return nil, err
	}
	f, err := table(file)
	if err != nil {
		return nil, err
	}
	rates, _, err := recorded.AzureWeek(f)
	return rates, err
}

// Bin is the mean request rate of a service over ten minutes.
type Bin = recorded.Bin

// ModelRates returns the request rate of a service of Alibaba Model Studio, "m-mid",
// "m-small" (14 days each), "deepseek-r1" or "mm-image" (one day each), in bins of ten
// minutes in order of time, from midnight local time.
func ModelRates(service string) ([]Bin, error) {
	f, err := table(modelsFile)
	if err != nil {
		return nil, err
	}
	models, err := recorded.Models(f)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		if m.Name == service {
			return m.Bins, nil
		}
	}
	return nil, fmt.Errorf("model rates: service is %q, want m-mid, m-small, deepseek-r1 or mm-image", service)
}

// Loads returns the load of every service as the simulator plays it: "azure-code" and
// "azure-conv" over a week, "m-mid" and "m-small" over two, "deepseek-r1" and "mm-image"
// over a day, all in requests per second, and "deepseek" over a day in nodes. Holes in a
// recording, and what is beside them, are not a number, and so is what comes after its end.
func Loads() ([]workload.Load, error) {
	var all []workload.Load
	for _, file := range []struct{ service, name string }{
		{"azure-code", "data/azure-llm-2024/code_week_rpm.csv"}, {"azure-conv", "data/azure-llm-2024/conv_week_rpm.csv"},
		{"", modelsFile}, {"deepseek", deepSeekFile},
	} {
		f, err := open(file.name)
		if err != nil {
			return nil, err
		}
		loads, err := workload.ReadLoad(file.name, f)
		if err != nil {
			return nil, err
		}
		for _, l := range loads {
			if file.service != "" {
				l.Service = file.service
			}
			all = append(all, l)
		}
	}
	return all, nil
}

// Tokens is the size of one request.
type Tokens struct{ Prompt, Output int32 }

// AzureRequests returns the sizes of 4,000 consecutive requests of a chat
// service. Every request has at least one token of each.
func AzureRequests() ([]Tokens, error) {
	f, err := table(tokensFile)
	if err != nil {
		return nil, err
	}
	if err := f.Expect([]string{"prompt_tokens", "output_tokens"}, nil); err != nil {
		return nil, err
	}
	var sizes []Tokens
	err = f.Each(func(r *rows.Row) {
		sizes = append(sizes, Tokens{Prompt: int32(r.Count("prompt_tokens", 1)), Output: int32(r.Count("output_tokens", 1))})
	})
	return sizes, err
}
