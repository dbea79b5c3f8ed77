package sim

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The agenda gives events in order, and of those that were overtaken it keeps no more than it
// may, whatever is added, taken and overtaken.
func TestAgenda(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a agenda
		var model []event // in order
		jobs := make([]JobState, 100)
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			if len(model) > 0 && rapid.IntRange(0, 3).Draw(t, "pop") == 0 {
				e := a.pop()
				for e.stale() {
					a.overdue--
					e = a.pop()
				}
				if e != model[0] {
					t.Fatalf("%+v comes, want %+v", e, model[0])
				}
				e.job.due = 0
				model = model[1:]
				continue
			}
			j := &jobs[rapid.IntRange(0, len(jobs)-1).Draw(t, "job")]
			e := event{
				at:   time.Duration(rapid.IntRange(0, 5).Draw(t, "at")),
				kind: rapid.SampledFrom([]eventKind{evJobEnd, evJobStopped}).Draw(t, "kind"), job: j,
			}
			overtaken := j.due
			e.seq = a.add(e)
			if j.due = e.seq; overtaken != 0 {
				a.overtaken(1)
				model = slices.DeleteFunc(model, func(e event) bool { return e.seq == overtaken })
			}
			i, _ := slices.BinarySearchFunc(model, e, func(x, y event) int {
				if x.before(&y) {
					return -1
				}
				return 1
			})
			model = slices.Insert(model, i, e)
			if err := lawAgenda(&World{agenda: a}); err != nil || len(a.events) != len(model)+a.overdue {
				t.Fatalf("%d events, %d of them live, %d overdue: %v", len(a.events), len(model), a.overdue, err)
			}
		}
	})
}
