package traces

import (
	"fmt"
	"io/fs"
	"strconv"
	"time"
)

// Bin is the mean request rate of a service over ten minutes.
type Bin struct {
	At        time.Duration // its start, from the trace's beginning
	PerSecond float64
	// Gap: the recording has a hole here. PerSecond is what was published all the same.
	Gap bool
}

// models are the services of the ServeGen trace, and below which rate the recording has
// a hole: hours of almost nothing in services of a thousand requests per second.
var models = map[string]struct {
	column int
	gap    float64
}{
	"m-mid": {1, 100}, "m-small": {2, 50}, "deepseek-r1": {3, 0}, "mm-image": {4, 0},
}

// ModelRates returns the request rate of a service of Alibaba Model Studio, "m-mid",
// "m-small" (14 days each), "deepseek-r1" or "mm-image" (one day each), in bins of ten
// minutes in order of time, from midnight local time.
func ModelRates(service string) ([]Bin, error) {
	return modelRates(files, "data/servegen/model_rps_10min.csv", service)
}

func modelRates(fsys fs.FS, file, service string) ([]Bin, error) {
	model, ok := models[service]
	if !ok {
		return nil, fmt.Errorf("model rates: service is %q, want m-mid, m-small, deepseek-r1 or mm-image", service)
	}
	var bins []Bin
	next := time.Duration(0)
	err := read(fsys, file, "t_s,m_mid,m_small,deepseek_r1,mm_image", func(r *row) {
		at := time.Duration(r.integer(0, 0)) * time.Second
		if at != next {
			r.fail(0, strconv.Itoa(int(next/time.Second)))
		}
		next = at + 10*time.Minute
		if r.fields[model.column] == "" {
			return // outside of what was recorded of this service
		}
		if n := len(bins); n > 0 && bins[n-1].At != at-10*time.Minute {
			r.fail(model.column, "empty, as in the row before")
		}
		rate := r.float(model.column)
		bins = append(bins, Bin{At: at, PerSecond: rate, Gap: rate < model.gap})
	})
	return bins, err
}
