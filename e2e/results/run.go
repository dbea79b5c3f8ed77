package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/baseline"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// Config says what is done with the results.
type Config struct {
	// Dir is the folder of what is published.
	Dir string
	// Check compares the folder with what is computed, instead of writing it.
	Check bool
	Seed  uint64
	// Out gets the comparison and, as its last line, the answer as JSON; Log what is being
	// done and how long it took.
	Out, Log io.Writer
}

// Default is what `make results` does.
func Default() Config { return Config{Dir: "docs/results", Seed: 1} }

// Run plays all experiments and publishes what came of them. It fails if a target is missed
// that is declared as met, with Check if what is published is not what was computed, or when
// ctx ends.
func Run(ctx context.Context, c Config) error {
	p := &plan{seed: c.Seed, log: c.Log}
	r := &report.Report{Seed: c.Seed}
	terms, err := p.tune(ctx, r)
	if err != nil {
		return err
	}
	p.terms = terms
	for _, experiment := range []func() error{p.main, p.pools, p.assumptions, p.ablations, p.deepSeek, p.scale} {
		if err := experiment(); err != nil {
			return err
		}
	}
	if err := p.play(ctx, r); err != nil {
		return err
	}
	missed := r.Judge()
	pages, err := r.Files()
	if err != nil {
		return fmt.Errorf("writing pages: %w", err)
	}
	if err := r.Print(c.Out); err != nil {
		return fmt.Errorf("printing results: %w", err)
	}
	if c.Check {
		return errors.Join(missed, pages.Compare(c.Dir))
	}
	return errors.Join(missed, pages.Write(c.Dir))
}

// plan is what is to be played, and what is made of it then.
type plan struct {
	seed   uint64
	terms  terms
	log    io.Writer
	saying sync.Mutex

	trials []*trial.Trial
	then   []func(*report.Report)
}

func (p *plan) say(format string, args ...any) {
	p.saying.Lock()
	defer p.saying.Unlock()
	fmt.Fprintf(p.log, format+"\n", args...)
}

// play plays what was planned, and forgets it.
func (p *plan) play(ctx context.Context, r *report.Report) error {
	if err := trial.Play(ctx, p.trials, p.say); err != nil {
		return err
	}
	for _, then := range p.then {
		then(r)
	}
	p.trials, p.then = nil, nil
	return nil
}

// add plans a trial.
func (p *plan) add(name string, t *town.Town, policy func(*sim.Scenario) (sim.Policy, error)) *trial.Trial {
	one := &trial.Trial{Name: name, Town: t, Policy: policy}
	p.trials = append(p.trials, one)
	return one
}

// config is the main town with the chosen terms.
func (p *plan) config() town.Config {
	c := town.Default()
	c.Seed, c.Terms = p.seed, p.terms.Terms
	return c
}

// every is how long the broker sleeps at most, and how far apart decisions are at least:
// the time between two looks at the loads.
const every = town.Look

// rules of the broker: what services are sized for is known, and no tenant's jobs are
// stopped for another's fair share, as none of those compared stops any.
func rules(t terms) lend.Policy {
	r := lend.DefaultPolicy()
	r.TargetUtilization = town.Target
	r.FairPreemption = nil
	r.MinimumLoan, r.StopCost = t.minimumLoan, t.stopCost
	return r
}

// ours is Ebbtide.
func (p *plan) ours(change ...func(*lend.Policy, *product.Options)) func(*sim.Scenario) (sim.Policy, error) {
	t := p.terms
	return func(*sim.Scenario) (sim.Policy, error) {
		r, o := t.broker()
		for _, c := range change {
			c(&r, &o)
		}
		return product.New(r, o), nil
	}
}

// alone is Ebbtide's scheduler without lending.
func (p *plan) alone() func(*sim.Scenario) (sim.Policy, error) {
	t := p.terms
	return func(*sim.Scenario) (sim.Policy, error) {
		r, o := t.broker()
		return product.NoLending(r, o), nil
	}
}

// theirs is a policy of others, which knows the past up to the end of the warm-up.
func theirs(name string) func(*sim.Scenario) (sim.Policy, error) {
	return func(s *sim.Scenario) (sim.Policy, error) { return baseline.New(name, baseline.Before(s, s.Warmup)) }
}
