package lend

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCycles: who was stopped often enough within the day goes round, is reported, and
// costs most to all but pods that wait; the budget of an hour knows only the last hour.
func TestCycles(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pol := DefaultPolicy()
	pol.CycleLimit, pol.EvictionBudget = 3, 2
	ago := func(hours ...int) (out []time.Time) {
		for _, h := range hours {
			out = append(out, now.Add(-time.Duration(h)*time.Hour))
		}
		return out
	}
	in := Snapshot{Now: now}
	d := begin(in, State{At: now.Add(-time.Second), Jobs: []JobState{
		{UID: "calm", Evictions: ago(3, 2)}, {UID: "old", Evictions: ago(30, 28, 2)}, {UID: "round", Evictions: ago(20, 5, 2)},
	}}, pol)
	if diff := cmp.Diff([]Cycle{{"round", 3}}, d.cycling()); diff != "" {
		t.Errorf("who goes round (-want +got):\n%s", diff)
	}
	if until, spent := d.history.spent("round", now, pol); spent {
		t.Errorf("the budget of an hour is spent until %s", until)
	}
	r := &round{d: d}
	l := &loan{Loan: &Loan{JobUID: "round"}, units: 8}
	for c, want := range map[class]float64{classPending: 0, classHigh: 8 * 86400, classHeadroom: 8 * 86400} {
		if got := r.spares(c, l); got != want {
			t.Errorf("class %d: %v is added to the cost, want %v", c, got, want)
		}
	}
	pol.CycleLimit = 0
	if d := begin(in, State{At: now.Add(-time.Second), Jobs: []JobState{{UID: "round", Evictions: ago(3, 2, 1)}}}, pol); len(d.cycling()) > 0 {
		t.Error("a job goes round although that is off")
	}
}
