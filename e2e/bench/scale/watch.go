package scale

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
	bench "github.com/ebbtide/ebbtide/e2e/bench/sim"
)

// watcher decides on every snapshot that the simulator's broker decides on, and notes how
// long that takes from some moment on.
type watcher struct {
	decider *lend.Decider
	state   lend.State
	rules   lend.Policy
	from    time.Time

	clock, cpu   []time.Duration
	loans, jobs  int
	lenders      int
	acted, asked int
	last         lend.Snapshot
	plan         lend.Plan
	err          error
}

// rules are the broker's. Where it finds that nothing would be decided, the simulator asks
// the core about lenders alone, which no one else sees; that is no gap in what is known.
func rules() lend.Policy {
	pol := lend.DefaultPolicy()
	pol.StaleAfter = 24 * time.Hour
	return pol
}

// watch plays a town and returns what was measured in its second half.
func watch(t bench.Town) (*watcher, error) {
	s, err := t.Scenario()
	if err != nil {
		return nil, fmt.Errorf("making the town: %w", err)
	}
	w := &watcher{decider: new(lend.Decider), rules: rules(), from: s.Start.Add(s.Length / 2)}
	o := product.Defaults()
	o.Every, o.Seen = t.Every, w.see
	if _, err := sim.Run(s, product.New(rules(), o), nil); err != nil {
		return nil, fmt.Errorf("playing the town: %w", err)
	}
	if w.err == nil && len(w.clock) == 0 {
		return nil, fmt.Errorf("playing the town: nothing was decided from %s on", w.from)
	}
	return w, w.err
}

func (w *watcher) see(in lend.Snapshot, _ lend.Plan) {
	used, err := bench.Processor()
	began := time.Now()
	plan, next := w.decider.Decide(in, w.state, w.rules)
	took := time.Since(began)
	now, err2 := bench.Processor()
	if err := errors.Join(err, err2); err != nil {
		w.err = fmt.Errorf("reading what a decision took: %w", err)
	}
	w.state, w.plan, w.last = next, plan, in
	if in.Now.Before(w.from) {
		return
	}
	w.clock, w.cpu = append(w.clock, took), append(w.cpu, now-used)
	w.asked++
	if len(plan.Actions) > 0 {
		w.acted++
	}
	w.loans, w.jobs, w.lenders = w.loans+len(in.Loans), w.jobs+len(in.Jobs), len(in.Lenders)
}

// quantile is in milliseconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[int(q*float64(len(sorted)-1)+0.5)].Nanoseconds()) / 1e6
}
