package results

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// terms are what an operator sets: the lending policies' terms and the broker's.
type terms struct {
	town.Terms
	minimumLoan time.Duration
	// stopCost is what a stopped job counts beside what it loses, as a time of one unit.
	stopCost time.Duration
	forecast bool
}

// broker with these terms.
func (t terms) broker() (lend.Policy, product.Options) {
	o := product.Defaults()
	o.Every, o.Quantile, o.Forecast = every, t.Quantile, t.forecast
	return rules(t), o
}

func defaults() terms {
	return terms{Terms: town.DefaultTerms(), minimumLoan: lend.DefaultPolicy().MinimumLoan, forecast: true}
}

// knob is one of the terms, and what it may be set to instead of its default.
type knob struct {
	name string
	to   []setting
}

type setting struct {
	name string
	set  func(*terms)
}

// knobs are turned in this order, one after the other.
func knobs() []knob {
	return []knob{
		{"forecast", []setting{
			{"off", func(t *terms) { t.forecast = false }},
		}},
		{"water marks", []setting{
			{"70 % and 85 %", func(t *terms) { t.LowWater, t.HighWater = 0.70, 0.85 }},
			{"80 % and 95 %", func(t *terms) { t.LowWater, t.HighWater = 0.80, 0.95 }},
		}},
		{"dwell and cooldown", []setting{
			{"1m", func(t *terms) { t.Dwell, t.Cooldown = time.Minute, time.Minute }},
		}},
		{"step", []setting{
			{"all at once", func(t *terms) { t.Step, t.Every = 1, time.Minute }},
		}},
		{"headroom is refilled", []setting{
			{"when used", func(t *terms) { t.Refill = lend.RefillWhenUsed }},
		}},
		{"warm units", []setting{
			{"4", func(t *terms) { t.Warm = 4 }},
			{"8", func(t *terms) { t.Warm = 8 }},
			{"16", func(t *terms) { t.Warm = 16 }},
		}},
		{"least loan", []setting{
			{"1h", func(t *terms) { t.minimumLoan = time.Hour }},
			{"12h", func(t *terms) { t.minimumLoan = 12 * time.Hour }},
		}},
		{"a stop counts as a GPU for", []setting{
			{"1h", func(t *terms) { t.stopCost = time.Hour }},
			{"4h", func(t *terms) { t.stopCost = 4 * time.Hour }},
		}},
	}
}

// slack is which part of the most training may be given up for fewer evictions.
const slack = 0.02

// tune chooses the terms on the fourth to the sixth day of the first week, knob by knob. Of
// all settings of one, those are left under which no more than a thousandth of the
// services' time is short, 99 of 100 replicas wait no longer than the longest grace, and at
// most a twentieth of what is lent is lost; of these those with the most hours of training,
// give or take slack; and of these the one with the fewest evictions.
func (p *plan) tune(ctx context.Context, r *report.Report) (terms, error) {
	c := town.Default()
	c.Seed, c.Length, c.Warmup, c.Drain = p.seed, 6*town.Day, 3*town.Day, 0
	best := defaults()
	var known trial.Row // of best
	for i, k := range knobs() {
		settings := k.to
		if i == 0 {
			settings = append([]setting{{"as it is", func(*terms) {}}}, settings...)
		}
		tries, rows, err := p.try(ctx, r, &c, best, k.name, settings)
		if err != nil {
			return best, err
		}
		if i > 0 {
			tries, rows = append([]terms{best}, tries...), append([]trial.Row{known}, rows...)
		}
		chosen := choose(rows, best.MaxGrace)
		told := r.Tuning.Tried[len(r.Tuning.Tried)-len(settings):]
		if at := chosen - (len(rows) - len(settings)); at >= 0 {
			told[at].Chosen = true
		}
		best, known = tries[chosen], rows[chosen]
	}
	r.Tuning.Chosen = strings.Split(best.String(), "; ")
	return best, nil
}

// try plays settings of one knob.
func (p *plan) try(ctx context.Context, r *report.Report, c *town.Config, from terms, knob string, settings []setting) (tries []terms, rows []trial.Row, err error) {
	var trials []*trial.Trial
	for _, s := range settings {
		one := from
		s.set(&one)
		c.Terms = one.Terms
		t, err := town.New(*c)
		if err != nil {
			return nil, nil, fmt.Errorf("making the town of the first week: %w", err)
		}
		p.terms = one
		tries, trials = append(tries, one), append(trials, p.add("first week: "+knob+" "+s.name, t, p.ours()))
	}
	if err := p.play(ctx, r); err != nil {
		return nil, nil, err
	}
	for i, t := range trials {
		rows = append(rows, new(trial.Reference).Row(t))
		r.Tuning.Tried = append(r.Tuning.Tried, report.Tried{Terms: knob + " " + settings[i].name, Row: rows[i]})
	}
	return tries, rows, nil
}

// choose is the rule by which tune does.
func choose(rows []trial.Row, grace time.Duration) int {
	most := 0.0
	for i := range rows {
		if allowed(&rows[i], grace) {
			most = max(most, rows[i].TrainingGPUHours)
		}
	}
	good := func(r *trial.Row) bool { return allowed(r, grace) && r.TrainingGPUHours >= (1-slack)*most }
	best := 0
	for i := range rows {
		if r := &rows[i]; good(r) && (!good(&rows[best]) || r.Evictions < rows[best].Evictions) {
			best = i
		}
	}
	return best
}

func allowed(r *trial.Row, grace time.Duration) bool {
	return r.ShortShare <= 0.001 && r.OnlineWaitP99 <= grace.Seconds() && r.WasteShare <= 0.05
}

// String tells all terms.
func (t terms) String() string {
	refill, forecast := "always", "listened to"
	if t.Refill == lend.RefillWhenUsed {
		refill = "when used"
	}
	if !t.forecast {
		forecast = "off"
	}
	return fmt.Sprintf("low water %g %%; high water %g %%; dwell %s; cooldown %s; at most %g %% of what is owned more every %s; %d warm units, refilled %s; growth quantile %g; least loan %s; a stop counts as a GPU for %s; longest grace %s; forecast %s",
		100*t.LowWater, 100*t.HighWater, brief(t.Dwell), brief(t.Cooldown), 100*t.Step, brief(t.Every), t.Warm, refill, t.Quantile, brief(t.minimumLoan), brief(t.stopCost), brief(t.MaxGrace), forecast)
}

// brief is a duration without the minutes and seconds that it does not have.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
