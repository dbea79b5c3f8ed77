package traces

import (
	"fmt"
	"io/fs"
	"time"
)

// Step is a number of inference nodes that holds from Start, measured from the
// trace's beginning, for Length.
type Step struct {
	Start, Length time.Duration
	Nodes         int64
}

// DeepSeekDay returns the inference nodes that DeepSeek's service occupied over
// 24 hours: steps in order, without gap or overlap, the first at 0.
func DeepSeekDay() ([]Step, error) {
	return deepSeek(files, "data/deepseek-2025/h800_inference_nodes_24h.csv")
}

func deepSeek(fsys fs.FS, file string) ([]Step, error) {
	const layout = "2006-01-02T15:04"
	var steps []Step
	var begin, end time.Time
	err := read(fsys, file, "start_utc8,end_utc8,duration_h,inference_nodes,loaned_nodes", func(r *row) {
		from, err := time.Parse(layout, r.fields[0])
		if err != nil {
			r.fail(0, "a time like 2025-02-27T12:00")
			return
		}
		to, err := time.Parse(layout, r.fields[1])
		if err != nil || !to.After(from) {
			r.fail(1, "a time after start_utc8")
			return
		}
		if begin.IsZero() {
			begin, end = from, from
		}
		if !from.Equal(end) {
			r.fail(0, "the end of the row before")
		}
		end = to
		steps = append(steps, Step{Start: from.Sub(begin), Length: to.Sub(from), Nodes: r.integer(3, 0)})
	})
	return steps, err
}

// Rate is the request rate of a service at an offset from the trace's beginning.
type Rate struct {
	At time.Duration
	// PerMinute is the middle of the published band.
	PerMinute float64
}

// AzureWeek returns one week of requests per minute of an Azure LLM service,
// "code" or "conv", in points of 7.2 minutes in order of time.
func AzureWeek(service string) ([]Rate, error) {
	if service != "code" && service != "conv" {
		return nil, fmt.Errorf("azure week: service is %q, want code or conv", service)
	}
	return azure(files, "data/azure-llm-2024/"+service+"_week_rpm.csv")
}

func azure(fsys fs.FS, file string) ([]Rate, error) {
	var rates []Rate
	err := read(fsys, file, "time_utc,offset_s,rpm_low,rpm_high,rpm_mid", func(r *row) {
		at := time.Duration(r.integer(1, 0)) * time.Second
		if n := len(rates); n > 0 && at <= rates[n-1].At {
			r.fail(1, "more than the row before")
		}
		rates = append(rates, Rate{At: at, PerMinute: r.float(4)})
	})
	return rates, err
}

// Tokens is the size of one request.
type Tokens struct{ Prompt, Output int32 }

// AzureRequests returns the sizes of 4,000 consecutive requests of a chat
// service. Every request has at least one token of each.
func AzureRequests() ([]Tokens, error) {
	return requests(files, "data/azure-llm-2023/conv_tokens.csv")
}

func requests(fsys fs.FS, file string) ([]Tokens, error) {
	var sizes []Tokens
	err := read(fsys, file, "prompt_tokens,output_tokens", func(r *row) {
		sizes = append(sizes, Tokens{Prompt: int32(r.integer(0, 1)), Output: int32(r.integer(1, 1))})
	})
	return sizes, err
}
