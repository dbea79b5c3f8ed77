package recorded

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Rate is the request rate of a service at an offset from the recording's beginning.
type Rate struct {
	At time.Duration
	// Low and High bound the published band, in requests per minute; PerMinute is its
	// middle.
	Low, High, PerMinute float64
}

// AzureWeekColumns of a week of an Azure LLM service, May 2024, digitised from a published
// plot.
var AzureWeekColumns = []string{"time_utc", "offset_s", "rpm_low", "rpm_high", "rpm_mid"}

// AzureWeek reads such a week, whose first moment begin is: the first row's time less its
// offset, to the minute.
func AzureWeek(f *rows.File) (rates []Rate, begin time.Time, err error) {
	if err := f.Expect(AzureWeekColumns, nil); err != nil {
		return nil, time.Time{}, err
	}
	err = f.Each(func(r *rows.Row) {
		one := Rate{
			At:  time.Duration(r.Whole("offset_s", 0)) * time.Second,
			Low: r.Number("rpm_low"), High: r.Number("rpm_high"), PerMinute: r.Number("rpm_mid"),
		}
		at := r.Stamp("time_utc", time.RFC3339, time.UTC)
		if n := len(rates); n > 0 && one.At <= rates[n-1].At {
			r.Fail("offset_s", "more than the row before")
		} else if n == 0 {
			begin = at.Add(-one.At).Round(time.Minute).UTC()
		}
		rates = append(rates, one)
	})
	return rates, begin, err
}

// AzureCurve is a week in requests per second: of is which number of a row counts.
func AzureCurve(rates []Rate, of func(Rate) float64) sim.Curve {
	var c sim.Curve
	for _, r := range rates {
		c = append(c, sim.Point{At: r.At, Value: of(r) / 60})
	}
	step := time.Minute
	if n := len(c); n > 1 {
		step = c[n-1].At - c[n-2].At
	}
	return ended(c, step)
}

// Mid and High are for AzureCurve: the middle of the band, which keeps the number of
// requests, and its upper end, which a service must be able to serve.
func Mid(r Rate) float64  { return r.PerMinute }
func High(r Rate) float64 { return r.High }

// Request is one request to a service.
type Request struct {
	At             time.Time
	Prompt, Output int64 // tokens
}

// AzureRequestColumns of the requests of an Azure LLM service, November 2023.
var AzureRequestColumns = []string{"TIMESTAMP", "ContextTokens", "GeneratedTokens"}

// longest is how long requests may be recorded for: of a curve of them each step takes memory.
const longest = 400 * 24 * time.Hour

// AzureRequests reads such requests, in the order in which they came.
func AzureRequests(f *rows.File) ([]Request, error) {
	if err := f.Expect(AzureRequestColumns, nil); err != nil {
		return nil, err
	}
	var all []Request
	err := f.Each(func(r *rows.Row) {
		one := Request{
			At:     r.Stamp("TIMESTAMP", "2006-01-02 15:04:05.0000000", time.UTC),
			Prompt: r.Whole("ContextTokens", 0), Output: r.Whole("GeneratedTokens", 0),
		}
		if n := len(all); n > 0 && one.At.Before(all[n-1].At) {
			r.Fail("TIMESTAMP", "no earlier than the row before")
		} else if n > 0 && one.At.Sub(all[0].At) > longest {
			r.Fail("TIMESTAMP", "at most 400 days after the first row")
		}
		all = append(all, one)
	})
	return all, err
}

// ArrivalCurve is how many requests a second came in each step, since the first one.
func ArrivalCurve(all []Request, step time.Duration) sim.Curve {
	return binned(all, step, func(bins []float64, at time.Duration, _ Request) {
		bins[at/step] += 1 / step.Seconds()
	})
}

// ConcurrencyCurve is how many requests were in flight on average in each step, since the
// first one, if each takes as long as takes says.
func ConcurrencyCurve(all []Request, step time.Duration, takes func(Request) time.Duration) sim.Curve {
	return binned(all, step, func(bins []float64, from time.Duration, one Request) {
		to := from + takes(one)
		for i := from / step; i < time.Duration(len(bins)) && i*step < to; i++ {
			bins[i] += float64(min(to, (i+1)*step)-max(from, i*step)) / float64(step)
		}
	})
}

// binned is a curve of steps into which add puts each request. What goes on after the
// step of the last request is left out.
func binned(all []Request, step time.Duration, add func(bins []float64, at time.Duration, one Request)) sim.Curve {
	if len(all) == 0 || step <= 0 {
		return nil
	}
	begin := all[0].At
	bins := make([]float64, all[len(all)-1].At.Sub(begin)/step+1)
	for _, one := range all {
		add(bins, one.At.Sub(begin), one)
	}
	var c sim.Curve
	for i, v := range bins {
		c = append(c, sim.Point{At: time.Duration(i) * step, Value: v})
	}
	return ended(c, step)
}
