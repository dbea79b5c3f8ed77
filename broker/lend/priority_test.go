package lend

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Priorities only order: what is decided is the same if all are as much lower. The class
// that jobs have if nobody says otherwise is below 0.
func TestPrioritiesOnlyOrder(t *testing.T) {
	took := 0
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		m := drawBazaar(r)
		for range rapid.IntRange(5, 20).Draw(t, "turns") {
			for range r.IntN(3) {
				m.addUrgent(r)
			}
			in, _ := m.turn()
			plan, _ := Decide(in, State{}, m.policy)
			took += len(actions(plan, ActionReclaim))
			low, _ := Decide(lowered(in, 100), State{}, m.policy)
			if diff := cmp.Diff(plan.Actions, low.Actions); diff != "" {
				t.Fatalf("all priorities are lower by 100 (-as they were +lower):\n%s%s", diff, encode(in))
			}
		}
	})
	if took == 0 {
		t.Error("nothing was taken back: little is shown")
	}
}

// lowered has all priorities lower by so much.
func lowered(in Snapshot, by int32) Snapshot {
	in.Jobs, in.Loans = slices.Clone(in.Jobs), slices.Clone(in.Loans)
	for i := range in.Jobs {
		in.Jobs[i].Priority -= by
	}
	for i := range in.Loans {
		in.Loans[i].Priority -= by
	}
	return in
}
