package prewarm_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestBeforeReturnOfAReclaim: once for each tide, however many steps it rises in.
func TestBeforeReturnOfAReclaim(t *testing.T) {
	w := newWorld(t)
	w.reclaim(begin, "serving/other")
	w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 8))
	w.count(0) // somebody else's

	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 8))
	if got := w.count(1).GetAnnotations()[prewarm.AnnotationFor]; got != "reclaim" {
		t.Errorf("for %q", got)
	}
	first := w.clock.Now()
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.finish()
	w.reclaim(begin, "serving/chat")
	w.must(w.decide(time.Minute, lend.ReasonAboveHighWater, 4))
	w.count(1)

	w.reclaim(first.Add(time.Second), "serving/chat") // lent since
	w.must(w.decide(time.Minute, lend.ReasonNeedRose, 4))
	w.count(2)
	w.wantSaid("Normal HookBegun before-return: created DataLoad chat-return-N",
		"Normal HookReady before-return: DataLoad chat-return-N became ready",
		"Normal HookBegun before-return: created DataLoad chat-return-N")
}

// TestBeforeReturnOfAWindow: units are asked back three minutes, the notice, before the
// window; the hook has ten minutes before that.
func TestBeforeReturnOfAWindow(t *testing.T) {
	from := begin.Add(time.Hour)
	window := func(w *world) {
		w.lender.Floors = []lend.Floor{{Name: "schedule[0]", Units: 12, From: from, Until: from.Add(8 * time.Hour)}}
	}
	t.Run("in time, once", func(t *testing.T) {
		w := newWorld(t)
		window(w)
		w.must(w.decide(47*time.Minute-1, lend.ReasonBelowLowWater, 8))
		w.count(0)
		w.must(w.decide(1, lend.ReasonBelowLowWater, 8))
		if got := w.count(1).GetAnnotations()[prewarm.AnnotationFor]; got != "2026-03-02T07:00:00Z" {
			t.Errorf("for %q", got)
		}
		w.finish()
		w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 8))
		// The reclaim that it was for.
		w.reclaim(begin, "serving/chat")
		w.must(w.decide(9*time.Minute, lend.ReasonNeedRose, 8))
		w.must(w.decide(3*time.Minute, lend.ReasonNothingLendable, 0))
		w.count(1)
		// The next day.
		from = from.Add(24 * time.Hour)
		window(w)
		w.must(w.decide(23*time.Hour+50*time.Minute, lend.ReasonBelowLowWater, 8))
		if got := w.count(1).GetAnnotations()[prewarm.AnnotationFor]; got != "2026-03-03T07:00:00Z" {
			t.Errorf("for %q", got)
		}
		from = begin.Add(time.Hour)
	})
	t.Run("after a restart", func(t *testing.T) {
		w := newWorld(t)
		window(w)
		w.must(w.decide(50*time.Minute, lend.ReasonBelowLowWater, 8))
		w.finish()
		w.restart()
		w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 8))
		w.count(1)
	})
	t.Run("nothing is asked back", func(t *testing.T) {
		w := newWorld(t)
		window(w)
		w.must(w.decide(50*time.Minute, lend.ReasonBelowLowWater, 4))
		w.must(w.decide(time.Minute, lend.ReasonBelowLowWater, 0))
		w.count(0)
	})
	t.Run("no notice measured yet", func(t *testing.T) {
		w := newWorld(t)
		window(w)
		w.lender.Notice = 0 // so it is MaxGrace, a minute
		w.must(w.decide(49*time.Minute-1, lend.ReasonBelowLowWater, 8))
		w.count(0)
		w.must(w.decide(1, lend.ReasonBelowLowWater, 8))
		w.count(1)
	})
	t.Run("it has begun", func(t *testing.T) {
		w := newWorld(t)
		window(w)
		w.must(w.decide(time.Hour, lend.ReasonBelowLowWater, 8))
		w.count(0)
	})
}

// TestCleansUp: what finished an hour ago goes, and what is more than three.
func TestCleansUp(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.must(w.decide(time.Minute, lend.ReasonPreparing, 0))
		if i < 4 { // the last one is still waited for
			w.finish()
		}
		w.must(w.decide(time.Second, lend.ReasonAboveLowWater, 0))
	}
	w.count(3)
	w.must(w.decide(58*time.Minute, lend.ReasonAboveLowWater, 0))
	w.count(2)
	w.must(w.decide(2*time.Minute, lend.ReasonAboveLowWater, 0))
	w.count(0)
}

// TestUntil: what is waited for.
func TestUntil(t *testing.T) {
	conditions := func(status string) map[string]any {
		return map[string]any{"conditions": []any{
			map[string]any{"type": "Other", "status": "True"}, map[string]any{"type": "Ready", "status": status},
		}}
	}
	for name, c := range map[string]struct {
		until  v1alpha1.HookUntil
		status any
		want   bool
	}{
		"condition":             {v1alpha1.HookUntil{Condition: "Ready"}, conditions("True"), true},
		"condition is false":    {v1alpha1.HookUntil{Condition: "Ready"}, conditions("False"), false},
		"condition is missing":  {v1alpha1.HookUntil{Condition: "Complete"}, conditions("True"), false},
		"conditions is no list": {v1alpha1.HookUntil{Condition: "Ready"}, map[string]any{"conditions": "True"}, false},
		"no status":             {v1alpha1.HookUntil{Condition: "Ready"}, nil, false},
		"field":                 {v1alpha1.HookUntil{Field: ".status.phase", Value: "Bound"}, map[string]any{"phase": "Bound"}, true},
		"another value":         {v1alpha1.HookUntil{Field: ".status.phase", Value: "Bound"}, map[string]any{"phase": "Boundless"}, false},
		"a number":              {v1alpha1.HookUntil{Field: ".status.ready", Value: "3"}, map[string]any{"ready": int64(3)}, true},
		"a truth":               {v1alpha1.HookUntil{Field: ".status.ok", Value: "true"}, map[string]any{"ok": true}, true},
		"no such field":         {v1alpha1.HookUntil{Field: ".status.phase", Value: "<nil>"}, map[string]any{}, false},
		"null":                  {v1alpha1.HookUntil{Field: ".status.phase", Value: "<nil>"}, map[string]any{"phase": nil}, false},
		"through no object":     {v1alpha1.HookUntil{Field: ".status.phase.x", Value: "y"}, map[string]any{"phase": "x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.Spec.Hooks.BeforeLend.Until = c.until
			w.policy.Spec.Hooks.BeforeLend.Timeout = metav1.Duration{} // five minutes
			w.must(w.decide(0, lend.ReasonPreparing, 0))
			o := w.count(1)
			o.Object["status"] = c.status
			w.must(w.api.Update(t.Context(), o))
			w.must(w.decide(5*time.Minute-time.Second, lend.ReasonPreparing, 0))
			w.state(c.want)
			w.must(w.decide(time.Second, lend.ReasonPreparing, 0))
			w.state(true)
		})
	}
}
