package actuate_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// TestObservedLate: a leader that finds a job running that its predecessor admitted books the
// loan from then on, and not from when it looked.
func TestObservedLate(t *testing.T) {
	w := newWorld(t)
	f := &fuse{left: 5, after: true} // dies when the job is resumed
	b := w.broker(f)
	admitted := w.clock.Now()
	if err := b.apply(b.lending()); err == nil || !f.burnt {
		t.Fatalf("the broker lives: %v", err)
	}
	w.clock.SetTime(admitted.Add(30 * time.Second))
	if err := alive(w).actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if last.Kind != ledger.LendGranted || last.At.Sub(admitted).Abs() > time.Second {
		t.Errorf("%s at %s, want LEND_GRANTED at %s", last.Kind, last.At, admitted)
	}
}

// TestSlowAdmission: what the API server takes to let a job run is the borrower's time, since
// the Loan keeps the units from their lenders already.
func TestSlowAdmission(t *testing.T) {
	w := newWorld(t)
	f := &fuse{left: -1, each: func(what string) {
		if what == "patch tune" {
			w.clock.SetTime(w.clock.Now().Add(3 * time.Second))
		}
	}}
	b := w.broker(f)
	if err := b.apply(b.lending()); err != nil {
		t.Fatal(err)
	}
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if last.Kind != ledger.LendGranted || !last.At.Equal(now) {
		t.Errorf("%s at %s, want LEND_GRANTED at %s; %q", last.Kind, last.At, now, f.writes)
	}
}
