package results

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// published is what DeepSeek lent in its day, in unit-hours, and aim how much of that is to
// be reached.
const published, aim = 9840, 9000

// deepSeek plays the published day.
func (p *plan) deepSeek() error {
	c := p.config()
	t, err := town.DeepSeek(c)
	if err != nil {
		return fmt.Errorf("making DeepSeek's town: %w", err)
	}
	steps, err := town.DeepSeekSteps()
	if err != nil {
		return err
	}
	forecast := p.terms.forecast
	ours := p.add("deepseek: ebbtide", t, p.ours())
	other := p.add("deepseek: ebbtide, forecast otherwise", t, p.ours(func(_ *lend.Policy, o *product.Options) { o.Forecast = !forecast }))
	p.then = append(p.then, func(r *report.Report) {
		r.DeepSeek = day(t, steps, ours)
		r.DeepSeek.OtherForecast, r.DeepSeek.ForecastOff = trial.Six(other.Result.Lent), !forecast
		r.DeepDay, r.DeepZero = ours.Result.Series, t.Start.Add(t.Warmup)
	})
	return nil
}

// day tells what was lent in each step of the day, and when what was wanted back was there.
func day(t *town.Town, steps []town.Step, ours *trial.Trial) report.DeepSeek {
	d := report.DeepSeek{Row: new(trial.Reference).Row(ours), Published: published, Aim: aim}
	d.Met = d.Row.LentGPUHours >= aim
	for _, s := range steps {
		one := report.Step{
			At: t.Start.Add(s.At).Format("15:04"), Nodes: s.Nodes, Change: -s.Less, Until: s.For.Seconds(),
			Idle: float64((town.DeepSeekNodes - s.Nodes) * town.PerNode), LentGPU: trial.Six(mean(ours.Result.Series, t.Warmup+s.At, t.Warmup+s.At+s.For)),
		}
		if s.Less < 0 {
			one.Back = trial.Six((back(ours, t.Warmup+s.At, t.Warmup+s.At+s.For) + town.Reload).Seconds())
			d.Slowest = max(d.Slowest, one.Back)
			d.Met = d.Met && one.Back <= one.Until
		}
		d.Steps = append(d.Steps, one)
	}
	return d
}

// back is how long after a step the last replica that it made had its units.
func back(ours *trial.Trial, from, until time.Duration) (after time.Duration) {
	for since, wait := range ours.Seen.Longest {
		if since >= from && since < until {
			after = max(after, since-from+wait)
		}
	}
	return after
}

// mean lent units from one moment until another.
func mean(bins []sim.Bin, from, until time.Duration) float64 {
	sum, n := 0.0, 0
	for _, b := range bins {
		if b.At >= from && b.At < until {
			sum, n = sum+b.Lent, n+1
		}
	}
	return trial.Ratio(sum, float64(n))
}
