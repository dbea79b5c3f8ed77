package report

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/view/chart"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// figures are all, by the name of their file.
func (r *Report) figures() map[string]chart.Figure {
	return map[string]chart.Figure{
		"harvest.svg":  r.harvest(),
		"waiting.svg":  r.waiting(),
		"lent.svg":     r.lent(),
		"lost.svg":     r.lost(),
		"deepseek.svg": r.day(),
	}
}

// harvest shows who held the cluster's GPUs in the second week.
func (r *Report) harvest() chart.Figure {
	bins := r.Series[product]
	p := &chart.Plot{
		Frame: chart.Frame{
			Title:       "Who held the GPUs, second week",
			Description: "Three areas over seven days: replicas of the five services by day, lent units above them that fill most of each trough, and the training pool's own jobs. A line shows what the services' autoscalers want.",
		},
		X: chart.Axis{Scale: chart.Time, Start: r.Start}, Y: chart.Axis{Label: "GPUs", Max: float64(r.Town.GPUs)}, Steps: true,
		Areas: []chart.Series{
			series("services", bins, func(b *sim.Bin) float64 { return b.Online }),
			series("lent", bins, func(b *sim.Bin) float64 { return b.Lent }),
			series("training pool", bins, func(b *sim.Bin) float64 { return b.Own }),
		},
		Lines: []chart.Series{series("wanted by the services", bins, func(b *sim.Bin) float64 { return b.Wanted })},
		Marks: []chart.Mark{{Name: "services' own", At: float64(r.Town.GPUs - r.Town.Pool)}},
	}
	return p
}

// waiting shows how long jobs wait under each policy.
func (r *Report) waiting() chart.Figure {
	f := &chart.CDF{
		Frame: chart.Frame{
			Title:       "Time until a job first starts, second week",
			Description: "The share of jobs that started within a time, for five policies.",
		},
		X: chart.Axis{Scale: chart.LogSeconds},
	}
	for _, name := range []string{none, "static", "lyra", product, oracle} {
		if s := r.Waits[name]; s != nil {
			f.Curves = append(f.Curves, chart.Distribution{Name: name, Count: s.Count(), Quantile: func(q float64) float64 { return s.Quantile(q).Seconds() }})
		}
	}
	return f
}

// lent shows what each policy lends.
func (r *Report) lent() chart.Figure {
	return r.bars("lent", chart.Frame{Title: "GPU-hours lent in the second week", Description: "One bar for each policy."},
		func(row *trial.Row) (float64, string) { return row.LentGPUHours, percent(row.ShareOfOracle) })
}

// lost shows what evictions cost.
func (r *Report) lost() chart.Figure {
	return r.bars("lost", chart.Frame{Title: "GPU-hours lost for each 1,000 lent", Description: "One bar for each policy that lends: work done again, restarts, and units held while pods stopped."},
		func(row *trial.Row) (float64, string) {
			return 1000 * trial.Ratio(row.LostGPUHours, row.LentGPUHours), fmt.Sprintf("%d evictions", row.Evictions)
		})
}

// bars has one bar in GPU-hours for each policy that lends.
func (r *Report) bars(part string, frame chart.Frame, of func(*trial.Row) (hours float64, note string)) chart.Figure {
	f := &chart.Bars{Frame: frame, X: chart.Axis{Label: "GPU-hours"}, Parts: []string{part}}
	for i := range r.Main {
		if row := &r.Main[i]; row.LentGPUHours > 0 {
			hours, note := of(row)
			f.Bars = append(f.Bars, chart.Bar{Name: row.Policy, Parts: []float64{hours}, Note: note})
		}
	}
	return f
}

// day shows DeepSeek's.
func (r *Report) day() chart.Figure {
	return &chart.Plot{
		Frame: chart.Frame{
			Title:       "DeepSeek's published day",
			Description: "Two areas over 24 hours from noon: what the service held, which goes down in steps after midnight and comes back from half past six, and what was lent above it. A line shows what the service wanted.",
		},
		X: chart.Axis{Scale: chart.Time, Start: r.DeepZero}, Y: chart.Axis{Label: "GPUs"}, Steps: true,
		Areas: []chart.Series{
			series("service", r.DeepDay, func(b *sim.Bin) float64 { return b.Online }),
			series("lent", r.DeepDay, func(b *sim.Bin) float64 { return b.Lent }),
		},
		Lines: []chart.Series{series("wanted by the service", r.DeepDay, func(b *sim.Bin) float64 { return b.Wanted })},
	}
}

// series is one value of each bin.
func series(name string, bins []sim.Bin, value func(*sim.Bin) float64) chart.Series {
	s := chart.Series{Name: name}
	var zero time.Duration
	for i := range bins {
		if i == 0 {
			zero = bins[0].At
		}
		s.Points = append(s.Points, chart.Point{X: (bins[i].At - zero).Seconds(), Y: value(&bins[i])})
	}
	return s
}
