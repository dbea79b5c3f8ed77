package results

import (
	"fmt"

	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// sizes are how many times as large as the main town the towns of other sizes are.
var sizes = []float64{1.1, 3.3, 11, 33}

// small is the pool of these towns, so that there is more to do than it can from the first
// hours on.
const small = 0.1

// scale plays larger towns for a quarter of a day, after half a day to begin.
func (p *plan) scale() error {
	for _, size := range sizes {
		c := p.config()
		c.Pool = small
		c.Times, c.Owned = size, int64(size*float64(c.Owned))/town.PerNode*town.PerNode
		c.Length, c.Warmup, c.Drain = 3*town.Day/4, town.Day/2, 0
		t, err := town.New(c)
		if err != nil {
			return fmt.Errorf("making a town %g times as large: %w", size, err)
		}
		one := p.add(fmt.Sprintf("scale: %d GPUs", t.GPUs()), t, p.ours())
		p.then = append(p.then, func(r *report.Report) { r.Scale = append(r.Scale, sized(t, one)) })
	}
	return nil
}

func sized(t *town.Town, one *trial.Trial) report.Size {
	s := report.Size{
		GPUs: t.GPUs(), Nodes: len(t.Nodes), Jobs: one.Result.Submitted, Lent: trial.Six(one.Result.Lent),
		Evicted: one.Result.Evictions, Decisions: one.Result.Decisions, Seen: one.Seen.Quantile,
	}
	idle := 0.0
	for _, v := range one.Result.Services {
		idle += v.Idle
	}
	s.Idle, s.Share = trial.Six(idle), trial.Six(trial.Ratio(one.Result.Lent, idle))
	return s
}
