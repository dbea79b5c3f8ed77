package results

import (
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim/baseline"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// change is a town and a broker of which something is otherwise.
type change struct {
	name   string
	town   func(*town.Config)
	broker func(*lend.Policy, *product.Options)
}

// ablations leave parts out or change them, in the main town, three days of whose second
// week count.
func (p *plan) ablations() error {
	for _, a := range []struct {
		title, asks, notes string
		changes            []change
	}{
		{"Forecast", "What does listening to the past change?", "", []change{
			{name: "on", broker: func(_ *lend.Policy, o *product.Options) { o.Forecast = true }},
			{name: "off", broker: func(_ *lend.Policy, o *product.Options) { o.Forecast = false }},
		}},
		{"Grace", "What do jobs get to save their work, and what does the owner pay?", "The longest grace that the services allow is the same as the jobs'.", graces(0, 30*time.Second, 2*time.Minute)},
		{"Checkpoints", "What does it change how often jobs save their work?", "", checkpoints(5*time.Minute, 15*time.Minute, time.Hour)},
		{"Reservations", "What does it change that room is kept for jobs that have waited for long?", "", []change{
			{name: "after 10m"},
			{name: "never", broker: func(r *lend.Policy, _ *product.Options) { r.ReserveAfter = 0 }},
		}},
		{"Stops", "What does it change that a stop counts for something besides what it loses?", "", stops(0, time.Hour, 4*time.Hour, 24*time.Hour)},
		{"Slices", "If half of the jobs of one GPU need a third of it at most: what do slices change?",
			"The GPUs of m-small are cut into three each, in a fixed layout, and told as three units by its nodes: no cards are played here, whose layouts could change. Its replicas take one slice each, and so do those jobs, which run nowhere else then. A slice counts as a unit, so GPU-hours of the two rows do not compare: waiting and completion do. What changes of layouts are worth, `make bench-mig` measures.", []change{
				{name: "whole GPUs", town: func(c *town.Config) { c.Small = 0.5 }},
				{name: "thirds", town: func(c *town.Config) { c.Small, c.Slices = 0.5, true }},
			}},
	} {
		if err := p.ablate(report.Ablation{Title: a.title, Asks: a.asks, Notes: a.notes}, a.changes); err != nil {
			return err
		}
	}
	return p.victims()
}

// rules of choosing victims, all with the same lending: what is idle less the headroom.
var victimRules = []string{"random", "fewest-jobs", "exhaustive", "lyra-victims", "gfs-victims", "least-loss"}

// victims compares rules of choosing victims in the short town.
func (p *plan) victims() error {
	c := p.short()
	t, err := town.New(c)
	if err != nil {
		return fmt.Errorf("making a town for rules of victims: %w", err)
	}
	var trials []*trial.Trial
	for _, rule := range victimRules {
		if slices.Contains(baseline.Names(), rule) {
			trials = append(trials, p.add("Victims: "+rule, t, theirs(rule)))
		}
	}
	p.then = append(p.then, func(r *report.Report) {
		a := report.Ablation{Title: "Victims", Asks: "Who is to stop, where all else is the same?",
			Notes: "Not Ebbtide, but a plain policy that lends what is idle less the headroom and takes back when a replica waits, with six rules of choosing victims: at random, the node with the fewest jobs, every set of them, Lyra's cost, GFS's score, and what Ebbtide does where a stop counts for nothing but what it loses. Every set is tried only where no more than 20 jobs could stop; where there are more, as nearly always here, `exhaustive` is Ebbtide's choice without shrinking any. How far each is from the best there is, on instances small enough to try everything: `make bench-victims`."}
		for _, one := range trials {
			a.Rows = append(a.Rows, report.Variant{Name: one.Result.Policy, Rows: []trial.Row{new(trial.Reference).Row(one)}})
		}
		r.Ablations = append(r.Ablations, a)
	})
	return nil
}

func graces(of ...time.Duration) (changes []change) {
	for _, g := range of {
		changes = append(changes, change{name: brief(g), town: func(c *town.Config) { c.Costs.Grace, c.Terms.MaxGrace = g, g }})
	}
	return changes
}

func checkpoints(of ...time.Duration) (changes []change) {
	for _, d := range of {
		changes = append(changes, change{name: brief(d), town: func(c *town.Config) { c.Costs.CheckpointEvery = d }})
	}
	return changes
}

func stops(of ...time.Duration) (changes []change) {
	for _, d := range of {
		changes = append(changes, change{name: "as a GPU for " + brief(d), broker: func(r *lend.Policy, _ *product.Options) { r.StopCost = d }})
	}
	return changes
}

func (p *plan) ablate(a report.Ablation, changes []change) error {
	var trials []*trial.Trial
	for _, change := range changes {
		c := p.short()
		if change.town != nil {
			change.town(&c)
		}
		t, err := town.New(c)
		if err != nil {
			return fmt.Errorf("making a town for %s %s: %w", a.Title, change.name, err)
		}
		var brokers []func(*lend.Policy, *product.Options)
		if change.broker != nil {
			brokers = append(brokers, change.broker)
		}
		trials = append(trials, p.add(a.Title+": "+change.name, t, p.ours(brokers...)))
	}
	p.then = append(p.then, func(r *report.Report) {
		for i, one := range trials {
			a.Rows = append(a.Rows, report.Variant{Name: changes[i].name, Rows: []trial.Row{new(trial.Reference).Row(one)}})
		}
		r.Ablations = append(r.Ablations, a)
	})
	return nil
}

// short is the main town of which the first three days of the second week count, as do all
// jobs that were submitted in them and end within three days more.
func (p *plan) short() town.Config {
	c := p.config()
	c.Length, c.Drain = c.Warmup+3*town.Day, 3*town.Day
	return c
}
