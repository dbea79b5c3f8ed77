package trial

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/results/town"
)

// Trial is one policy in one town, and what came of it.
type Trial struct {
	Name string
	Town *town.Town
	// Policy makes what decides in it.
	Policy func(*sim.Scenario) (sim.Policy, error)

	// Result and Seen are there when it was played.
	Result *sim.Result
	Seen   Seen
}

// Seen is what a policy did, as far as results do not tell it.
type Seen struct {
	// Loans is how often a job was started on units of a service's, in the measured time.
	Loans int64
	// Decisions is what each took, for the eyes of who runs this: no file has it.
	Decisions []time.Duration
	// Longest is for how long a replica waited at most, by when it began to.
	Longest map[time.Duration]time.Duration
}

// Quantile is what a share q of the decisions took at most.
func (s *Seen) Quantile(q float64) time.Duration {
	if len(s.Decisions) == 0 {
		return 0
	}
	slices.Sort(s.Decisions)
	return s.Decisions[int(q*float64(len(s.Decisions)-1))]
}

// watcher is a policy that is watched.
type watcher struct {
	sim.Policy
	ctx  context.Context
	seen *Seen
	wait map[int32]time.Duration // by service: since when the first of its replicas waits
}

// Decide as the policy does, for as long as somebody wants to know.
func (w *watcher) Decide(world *sim.World) time.Duration {
	if w.ctx.Err() != nil {
		return world.Scenario().Length // nothing more is decided, so that the rest takes no time
	}
	w.replicas(world)
	begin := time.Now()
	again := w.Policy.Decide(world)
	w.seen.Decisions = append(w.seen.Decisions, time.Since(begin))
	if s := world.Scenario(); world.Now() < s.Warmup || world.Now() >= s.Length {
		return again
	}
	for _, j := range world.Running() {
		if j.Since == world.Now() && slices.ContainsFunc(j.Places, func(p sim.Place) bool { return p.Lender != sim.Nobody }) {
			w.seen.Loans++
		}
	}
	return again
}

// replicas notes for how long they have waited. Whatever frees units is followed by a
// decision, so that none is over before it was seen.
func (w *watcher) replicas(world *sim.World) {
	for _, s := range world.Services() {
		since, waits := w.wait[s.Index]
		if waits && (len(s.Pending) == 0 || s.Pending[0] != since) {
			w.seen.Longest[since] = max(w.seen.Longest[since], world.Now()-since)
			delete(w.wait, s.Index)
		}
		if len(s.Pending) > 0 {
			w.wait[s.Index] = s.Pending[0]
		}
	}
}

// Play runs trials, as many at once as there are processors, and says of each what it took.
// When ctx ends, so do they, within a second or so, with its error.
func Play(ctx context.Context, trials []*Trial, say func(format string, args ...any)) error {
	var running sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	errs := make([]error, len(trials))
	for i, t := range trials {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			begin := time.Now()
			if errs[i] = t.Play(ctx); errs[i] == nil {
				say("%-44s %6.1f s, %7d decisions of %.2f ms, p99 %.2f ms", t.Name, time.Since(begin).Seconds(),
					len(t.Seen.Decisions), milliseconds(t.Seen.Quantile(0.5)), milliseconds(t.Seen.Quantile(0.99)))
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Play runs the trial, until ctx ends.
func (t *Trial) Play(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("playing %s: %w", t.Name, err)
	}
	scenario := t.Town.Play()
	policy, err := t.Policy(scenario)
	if err != nil {
		return fmt.Errorf("making the policy of %s: %w", t.Name, err)
	}
	t.Seen.Longest = map[time.Duration]time.Duration{}
	t.Result, err = sim.Run(scenario, &watcher{Policy: policy, ctx: ctx, seen: &t.Seen, wait: map[int32]time.Duration{}}, nil)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return fmt.Errorf("playing %s: %w", t.Name, err)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
