package prewarm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestLooksSeldom: ten decisions a second for a minute cost a request in five seconds,
// whether what runs is waited for or what should run cannot be created.
func TestLooksSeldom(t *testing.T) {
	for name, c := range map[string]struct {
		fails, broken error
		verb          string
	}{
		"it is waited for":     {verb: "get"},
		"it cannot be read":    {broken: errors.New("connection refused"), verb: "get"},
		"it cannot be created": {fails: errors.New("connection refused"), verb: "create"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fails, w.broken = c.fails, c.broken
			w.must(w.decide(0, lend.ReasonDwellNotMet, 0))
			w.requests = map[string]int{}
			for range 600 {
				_ = w.decide(100*time.Millisecond, lend.ReasonPreparing, 0) // an error now and then, in two of them
			}
			if got := w.requests[c.verb]; got < 11 || got > 12 {
				t.Errorf("%d requests to %s in a minute", got, c.verb)
			}
			if got := w.requests["list"]; got > 2*12 { // of two kinds
				t.Errorf("%d requests to list", got)
			}
		})
	}
}

// TestTimeoutIsLookedAt: what is ready at the last moment is not said to have timed out.
func TestTimeoutIsLookedAt(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonPreparing, 0))
	w.must(w.decide(10*time.Minute-time.Second, lend.ReasonPreparing, 0))
	w.finish()
	w.must(w.decide(time.Second, lend.ReasonPreparing, 0))
	w.wantSaid("Normal HookBegun before-lend: created DataLoad chat-lend-N", "Normal HookReady before-lend: DataLoad chat-lend-N became ready")
}

// TestClockWentBack: a clock that was far ahead stops nothing until it has caught up.
func TestClockWentBack(t *testing.T) {
	w := newWorld(t)
	w.must(w.decide(0, lend.ReasonPreparing, 0))
	w.must(w.decide(9*time.Minute, lend.ReasonPreparing, 0))
	w.finish()
	w.must(w.decide(-8*time.Minute, lend.ReasonPreparing, 0))
	w.state(true)

	w = newWorld(t)
	w.fails = errors.New("connection refused")
	if err := w.decide(time.Hour, lend.ReasonPreparing, 0); err == nil {
		t.Fatal("nothing failed")
	}
	w.fails = nil
	w.must(w.decide(-time.Hour, lend.ReasonPreparing, 0))
	w.count(1)
}

// TestUnreadable: hooks that cannot run, since it cannot be known whether they have, are
// given up like others.
func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	w.runner.Live = listing{w.api, func(context.Context, client.MatchingLabels) error { return errors.New("conversion webhook failed") }}
	for range 10 {
		if err := w.decide(time.Minute, lend.ReasonPreparing, 0); err == nil || strings.Count(err.Error(), "conversion webhook") != 1 {
			t.Fatalf("Reconcile: %v", err)
		}
		w.state(false)
	}
	_ = w.decide(time.Minute, lend.ReasonPreparing, 0)
	w.state(true)
	w.count(0)
	w.wantSaid("Warning HookFailed before-lend: look for DataLoad of data.fluid.io/v1alpha1 of the hooks of serving/chat: conversion webhook failed; lending went on without")
}

// TestOlderRunIsNoAnswer: that an earlier hook ran does not mean that one did whose
// creation failed.
func TestOlderRunIsNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.finish()
	w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 4))
	w.reclaim(w.clock.Now(), "serving/chat")
	w.fails = errors.New("connection refused")
	if err := w.decide(time.Minute, lend.ReasonAboveHighWater, 4); err == nil {
		t.Fatal("nothing failed")
	}
	w.fails = nil
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(2)
}

// TestAskedBackMeanwhile: units that are lent and asked back while a hook runs have one
// of their own after it.
func TestAskedBackMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.reclaim(w.clock.Now().Add(time.Second), "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(1)
	w.finish()
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 0))
	w.count(2)
	w.finish()
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 0))
	w.count(2)
}

// several makes policies of the given names, and a decision about all of them.
func (w *world) several(names ...string) (decide func(plan *lend.Plan) error, of map[string]*v1alpha1.LendingPolicy) {
	of = map[string]*v1alpha1.LendingPolicy{}
	policies := map[string]*v1alpha1.LendingPolicy{}
	for _, name := range names {
		p := w.policy.DeepCopy()
		p.Name, p.UID = name, types.UID(name)
		of[name], policies["serving/"+name] = p, p
	}
	return func(plan *lend.Plan) error {
		w.t.Helper()
		w.clock.SetTime(w.clock.Now().Add(15 * time.Second))
		return w.runner.Reconcile(w.t.Context(), policies, &lend.Snapshot{Now: w.clock.Now()}, plan)
	}, of
}

func preparing(lenders ...string) *lend.Plan {
	plan := &lend.Plan{}
	for _, name := range lenders {
		plan.Verdicts = append(plan.Verdicts, lend.Verdict{Kind: lend.SubjectLender, Subject: name, Reason: lend.ReasonPreparing})
	}
	return plan
}

// listing is an API server whose lists take what they take.
type listing struct {
	client.Reader
	list func(ctx context.Context, labels client.MatchingLabels) error
}

func (l listing) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	for _, o := range opts {
		if labels, ok := o.(client.MatchingLabels); ok {
			if err := l.list(ctx, labels); err != nil {
				return err
			}
		}
	}
	return l.Reader.List(ctx, list, opts...)
}

// slowly makes lists take so long by policy, and notes whose were asked for.
func (w *world) slowly(long map[string]time.Duration) (asked *[]string) {
	asked = &[]string{}
	w.runner.Live = listing{w.api, func(ctx context.Context, labels client.MatchingLabels) error {
		name := labels[prewarm.LabelPolicy]
		*asked = append(*asked, name)
		return wait(ctx, long[name])
	}}
	return asked
}

// TestBudget: an API server that hangs holds a decision up no longer than the budget and
// one request, and everybody's turn comes.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		decide, _ := w.several("a", "b", "c")
		w.runner.Budget = 500 * time.Millisecond
		asked := w.slowly(map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Hour})
		for range 4 {
			began := time.Now()
			if err := decide(preparing("serving/a", "serving/b", "serving/c")); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Reconcile: %v", err)
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("took %s", took)
			}
		}
		if want := []string{"a", "b", "c", "a"}; !slices.Equal(*asked, want) {
			t.Errorf("asked about %v, want %v", *asked, want)
		}
	})
}

// TestCutOffIsFirst: who has yet to make a request when the budget is used up is first
// the next time, and goes on where it was; who was first and used it all up comes after
// those that were cut off.
func TestCutOffIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		decide, _ := w.several("a", "b", "c")
		w.runner.Budget = 500 * time.Millisecond
		asked := w.slowly(map[string]time.Duration{"a": 100 * time.Millisecond, "b": 700 * time.Millisecond})
		rounds := [][]string{
			{"a", "a", "b"}, // two kinds are listed for each
			{"b"},           // first, but alone with the budget
			{"c", "c"},      // whose turn did not come
			{}, {},
		}
		for i, want := range rounds {
			*asked = nil
			w.must(decide(&lend.Plan{}))
			if !slices.Equal(*asked, want) {
				t.Errorf("round %d: asked about %v, want %v", i, *asked, want)
			}
		}
	})
}

// TestBudgetIsNoFailure: what the budget cuts off is not what the hook failed at.
func TestBudgetIsNoFailure(t *testing.T) {
	t.Run("a request has its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.runner.Budget, w.slow = 10*time.Millisecond, 900*time.Millisecond
			w.must(w.decide(0, lend.ReasonPreparing, 0))
			w.count(1)
		})
	})
	t.Run("not tried is not failed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			decide, of := w.several("a", "b")
			w.runner.Budget = 500 * time.Millisecond
			w.must(decide(&lend.Plan{})) // both are read
			w.slow = 600 * time.Millisecond
			w.fails = errors.New("connection refused")
			// a was first and failed; b was cut off, and is first in the next decision,
			// which comes after all the time that its hook may take.
			if err := decide(preparing("serving/a", "serving/b")); err == nil || strings.Contains(err.Error(), "serving/b") {
				t.Fatalf("Reconcile: %v", err)
			}
			w.clock.SetTime(w.clock.Now().Add(time.Hour))
			err := decide(preparing("serving/b"))
			if err == nil || !strings.Contains(err.Error(), "run the hook before-lend of serving/b") {
				t.Fatalf("Reconcile: %v", err)
			}
			if w.runner.State(of["b"]).Done {
				t.Error("given up after its first failure")
			}
		})
	})
	t.Run("what was asked back is remembered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			decide, _ := w.several("a", "chat")
			w.runner.Budget = 500 * time.Millisecond
			w.slowly(map[string]time.Duration{"a": 600 * time.Millisecond})
			w.must(decide(&lend.Plan{Actions: []lend.Action{
				{Kind: lend.ActionReclaim, Loan: "research/a", Owed: []lend.Owed{{Lender: "serving/chat"}}},
			}}))
			w.count(0)
			w.must(decide(&lend.Plan{})) // which says nothing of it
			if o := w.count(1); o.GetLabels()[prewarm.LabelPolicy] != "chat" {
				t.Errorf("created %s", o.GetName())
			}
		})
	})
}
