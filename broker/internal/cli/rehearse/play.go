package rehearse

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/baseline"
	"github.com/ebbtide/ebbtide/broker/sim/product"
)

// The product's own policies.
const (
	Ebbtide   = "ebbtide"
	NoLending = "no-lending"
	Oracle    = "oracle"
)

// Policies are the names of all policies.
func Policies() []string { return append([]string{Ebbtide, NoLending}, baseline.Names()...) }

// CheckPolicies says which of the names is no policy's, or there twice.
func CheckPolicies(names []string) error {
	for i, name := range names {
		if !slices.Contains(Policies(), name) {
			return fmt.Errorf("--policy: %q is not one of %s", name, strings.Join(Policies(), ", "))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("--policy: %s is there twice", name)
		}
	}
	return nil
}

// policy makes one for a run.
func (s *Stage) policy(name string) (sim.Policy, error) {
	o := product.Defaults()
	o.Name, o.Quantile = name, s.quantile
	switch name {
	case Ebbtide:
		return product.New(s.rules, o), nil
	case NoLending:
		return product.NoLending(s.rules, o), nil
	}
	p, err := baseline.New(name, baseline.Before(&s.scenario, s.scenario.Warmup))
	if err != nil && s.scenario.Warmup == 0 {
		return nil, fmt.Errorf("--policy: %w; it goes by what was before, which --warmup makes of the first part of what is played", err)
	}
	return p, err
}

// Run is one policy on one stage.
type Run struct {
	*Stage
	Policy string
}

// Play runs each and returns their results in the same order. progress, if not nil, is told
// now and then which share of all is done; calls do not overlap. When ctx ends, Play
// returns its error at once, while runs go on until their process ends.
func Play(ctx context.Context, runs []Run, progress func(share float64)) ([]*sim.Result, error) {
	results, errs := make([]*sim.Result, len(runs)), make([]error, len(runs))
	var mu sync.Mutex
	shares := make([]float64, len(runs))
	tell := func(i int, share float64) {
		mu.Lock()
		defer mu.Unlock()
		shares[i] = share
		if progress != nil && ctx.Err() == nil {
			sum := 0.0
			for _, s := range shares {
				sum += s
			}
			progress(sum / float64(len(runs)))
		}
	}
	slots, done := make(chan struct{}, max(runtime.GOMAXPROCS(0), 1)), make(chan struct{})
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() == nil {
				results[i], errs[i] = runs[i].play(func(share float64) { tell(i, share) })
			}
		})
	}
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-ctx.Done():
	case <-done:
	}
	if ctx.Err() != nil { // also where all have ended: those that had not begun have no result
		mu.Lock() // whoever draws now has drawn, and nobody will
		defer mu.Unlock()
		return nil, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// play one run.
func (r *Run) play(progress func(share float64)) (*sim.Result, error) {
	p, err := r.policy(r.Policy)
	if err != nil {
		return nil, err
	}
	jobs, err := r.jobs.open()
	if err != nil {
		return nil, err
	}
	defer jobs.close()
	s := r.scenario
	s.Jobs = jobs
	return sim.Run(&s, p, progress)
}
