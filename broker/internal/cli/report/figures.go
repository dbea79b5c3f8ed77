package report

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/internal/cli/rehearse"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/view/chart"
)

// held has a figure for each policy: who held the GPUs.
func held(r *rehearse.Report) []chart.Figure {
	all := int64(0)
	for _, n := range r.Input.Units {
		all += n
	}
	var figures []chart.Figure
	for i := range r.Results {
		o := &r.Results[i]
		figures = append(figures, &chart.Plot{
			Frame: chart.Frame{
				ID: fmt.Sprintf("held-%d", i), Title: o.Policy + ": who held the GPUs",
				Description: fmt.Sprintf("Three areas over time: GPUs held by online services, by jobs on their tenants' own quota, and lent by services to jobs, %.0f GPU-hours in all. A line shows what the services' autoscalers wanted.", o.Lent),
			},
			X:     chart.Axis{Label: "time, UTC", Scale: chart.Time, Start: r.Input.Start},
			Y:     chart.Axis{Label: "GPUs", Max: float64(all)},
			Steps: true,
			Areas: []chart.Series{
				series("online services", o.Series, func(b *sim.Bin) float64 { return b.Online }),
				series("own quota", o.Series, func(b *sim.Bin) float64 { return b.Own }),
				series("lent", o.Series, func(b *sim.Bin) float64 { return b.Lent }),
			},
			Lines: []chart.Series{series("wanted by services", o.Series, func(b *sim.Bin) float64 { return b.Wanted })},
		})
	}
	return figures
}

func series(name string, bins []sim.Bin, of func(*sim.Bin) float64) chart.Series {
	s := chart.Series{Name: name}
	for i := range bins {
		s.Points = append(s.Points, chart.Point{X: bins[i].At.Seconds(), Y: of(&bins[i])})
	}
	return s
}

func waiting(r *rehearse.Report) chart.Figure {
	f := &chart.CDF{
		Frame: chart.Frame{ID: "waiting", Title: "Jobs that had started after some time", Description: "For each policy, the share of jobs that had started after a time. A line further left or higher is better."},
		X:     chart.Axis{Label: "time since submission", Scale: chart.LogSeconds},
	}
	for i := range r.Results {
		wait := &r.Results[i].Queueing
		f.Curves = append(f.Curves, chart.Distribution{
			Name: r.Results[i].Policy, Count: wait.Count(), Quantile: func(q float64) float64 { return wait.Quantile(q).Seconds() },
		})
	}
	return f
}

func evictions(r *rehearse.Report) chart.Figure {
	f := &chart.Bars{
		Frame: chart.Frame{ID: "evictions", Title: "Evictions", Description: "How many times jobs were taken back whole, by policy."},
		X:     chart.Axis{Label: "evictions"}, Parts: []string{"jobs taken back whole"},
	}
	for i := range r.Results {
		f.Bars = append(f.Bars, chart.Bar{Name: r.Results[i].Policy, Parts: []float64{float64(r.Results[i].Evictions)}})
	}
	return f
}

func lost(r *rehearse.Report) chart.Figure {
	f := &chart.Bars{
		Frame: chart.Frame{ID: "lost", Title: "Lost to evictions", Description: "What evictions cost in GPU-hours, by policy."},
		X:     chart.Axis{Label: "GPU-hours"}, Parts: []string{"work done again", "starting again", "stopping"},
	}
	for i := range r.Results {
		o := &r.Results[i]
		f.Bars = append(f.Bars, chart.Bar{Name: o.Policy, Parts: []float64{o.RolledBack, o.Restarting, o.Stopping}})
	}
	return f
}
