package gather_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestSetbacks: after each failure in a row a job waits twice as long, a minute at
// most, and one that was admitted starts over.
func TestSetbacks(t *testing.T) {
	g, _ := newGatherer(append(cluster(), training("tune", 1, 4), training("other", 1, 4))...)
	g.Setbacks = &gather.Setbacks{}
	problems := func(at time.Time) (tune, other *lend.Problem) {
		t.Helper()
		view, err := g.Gather(t.Context(), at, 1)
		if err != nil {
			t.Fatal(err)
		}
		return view.Snapshot.Jobs[1].Problem, view.Snapshot.Jobs[0].Problem
	}
	at := now
	pauses := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60}
	for i, pause := range pauses {
		pause *= time.Second
		g.Setbacks.Note("tune", at, "create the Loan: refused")
		tune, other := problems(at.Add(pause - time.Millisecond))
		if tune == nil || tune.Reason != gather.ReasonLendAborted || other != nil {
			t.Fatalf("failure %d: %v, %v", i, tune, other)
		}
		want := "its last admission came to nothing: create the Loan: refused; tried again after " + at.Add(pause).Format(time.RFC3339)
		if tune.Message != want {
			t.Errorf("got %q, want %q", tune.Message, want)
		}
		if tune, _ = problems(at.Add(pause)); tune != nil {
			t.Fatalf("failure %d: not tried after %s: %v", i, pause, tune)
		}
		at = at.Add(pause)
	}
	g.Setbacks.Forget("tune")
	g.Setbacks.Note("tune", at, "x")
	if tune, _ := problems(at.Add(time.Second)); tune != nil {
		t.Errorf("an admission did not end the count: %v", tune)
	}
}
