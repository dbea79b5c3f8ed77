// Package dcgm reads how busy GPUs and slices are from a Prometheus that has the metrics
// of NVIDIA's dcgm-exporter. Drivers of Ampere do not say it of slices.
//
// It promises that a number is of the instance itself and not of its GPU, which says
// little about a slice, and no older than two minutes. It refuses to fill gaps: the
// exporter finds instances when it starts, and of those that are newer nothing is known.
package dcgm

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
)

// timeout of one question, age of the oldest answer, and how many series an answer may
// have: a node has no more than 16 GPUs with 7 instances, each maybe on several exporters.
const (
	timeout   = 5 * time.Second
	age       = "2m"
	maxSeries = 1024
)

// Source asks a Prometheus.
type Source struct {
	api promv1.API
}

// New returns a source that asks the server at url.
func New(url string) (*Source, error) {
	c, err := api.NewClient(api.Config{Address: url, RoundTripper: http.DefaultTransport})
	if err != nil {
		return nil, fmt.Errorf("read prometheus url %q: %w", url, err)
	}
	return &Source{promv1.NewAPI(c)}, nil
}

// fields are DCGM's profiling metrics, shares from 0 to 1.
var fields = map[string]func(*device.Activity) **float64{
	"DCGM_FI_PROF_GR_ENGINE_ACTIVE":   func(a *device.Activity) **float64 { return &a.Graphics },
	"DCGM_FI_PROF_SM_ACTIVE":          func(a *device.Activity) **float64 { return &a.SM },
	"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": func(a *device.Activity) **float64 { return &a.Tensor },
	"DCGM_FI_PROF_DRAM_ACTIVE":        func(a *device.Activity) **float64 { return &a.DRAM },
}

// Activity asks for all of a node's GPUs.
func (s *Source) Activity(ctx context.Context, gpus []string) (map[agent.ActivityKey]device.Activity, error) {
	found := map[agent.ActivityKey]device.Activity{}
	for field, of := range fields {
		vector, err := s.ask(ctx, fmt.Sprintf(`last_over_time(%s{UUID=~"%s"}[%s])`, field, strings.Join(gpus, "|"), age))
		if err != nil {
			return nil, fmt.Errorf("ask Prometheus for %s: %w", field, err)
		}
		for _, sample := range vector {
			key, ok := keyOf(sample.Metric)
			value := float64(sample.Value)
			if !ok || math.IsNaN(value) || value < 0 {
				continue
			}
			a := found[key]
			a.Source = "dcgm"
			// Several exporters may say it: the busiest counts.
			if slot := of(&a); *slot == nil || **slot < value {
				*slot = &value
			}
			found[key] = a
		}
	}
	return found, nil
}

func (s *Source) ask(ctx context.Context, query string) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, warnings, err := s.api.Query(ctx, query, time.Time{}, promv1.WithLimit(maxSeries))
	if err != nil {
		return nil, err
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("the answer may be partial: %s", strings.Join(warnings, "; "))
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("the answer is a %s", value.Type())
	}
	return vector, nil
}

func keyOf(labels model.Metric) (agent.ActivityKey, bool) {
	key := agent.ActivityKey{GPU: string(labels["UUID"]), GI: -1}
	if id := string(labels["GPU_I_ID"]); id != "" {
		gi, err := strconv.Atoi(id)
		if err != nil {
			return key, false
		}
		key.GI = gi
	}
	return key, key.GPU != ""
}
