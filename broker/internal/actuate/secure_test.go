package actuate_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// kindsOf are the ledger's, in order.
func (w *world) kindsOf() (kinds []ledger.Kind) {
	w.t.Helper()
	entries, err := w.book.Read(1, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range entries {
		kinds = append(kinds, entries[i].Kind)
	}
	return kinds
}

// TestSecuredBeforeLent: nothing follows on an intent that nobody else has in time, and the
// next decision closes it; what gives units back asks nobody.
func TestSecuredBeforeLent(t *testing.T) {
	errLate := errors.New("no follower has it")
	w := newWorld(t)
	w.withCard()
	b := w.broker(&fuse{left: -1})
	var asked []uint64
	var late error = errLate
	b.actuator.Secure = func(_ context.Context, seq uint64) error {
		if w.lent() != 0 || len(w.loans()) != 0 || len(w.card().Spec.Reshapes) != 0 {
			t.Error("something was lent before it was secured")
		}
		asked = append(asked, seq)
		return late
	}
	if err := b.apply(b.lending()); !errors.Is(err, errLate) {
		t.Errorf("lending ends with %v", err)
	}
	if err := b.reshape(made()); !errors.Is(err, errLate) {
		t.Errorf("reshaping ends with %v", err)
	}
	if len(w.loans()) != 0 || w.lent() != 0 || len(w.card().Spec.Reshapes) != 0 || len(asked) != 2 || asked[0] != 1 {
		t.Errorf("%d Loans, %d lent, %d reshapes, asked for %v; want nothing", len(w.loans()), w.lent(), len(w.card().Spec.Reshapes), asked)
	}
	if err := b.apply(); err != nil { // what was intended is closed
		t.Fatal(err)
	}
	if kinds := w.kindsOf(); !slices.Contains(kinds, ledger.LendAborted) || len(w.book.OpenLoans()) != 0 {
		t.Errorf("the ledger has %v", kinds)
	}

	late, asked = nil, nil
	w = newWorld(t)
	b = w.broker(&fuse{left: -1})
	b.actuator.Secure = func(_ context.Context, seq uint64) error { asked = append(asked, seq); return late }
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	if len(w.loans()) != 1 || len(asked) != 1 || asked[0] != 1 {
		t.Errorf("%d Loans, asked for %v", len(w.loans()), asked)
	}
	late, asked = errLate, nil
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Errorf("taking back ends with %v", err)
	}
	w.jobController()
	if err := b.apply(lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned}); err != nil {
		t.Errorf("giving back ends with %v", err)
	}
	if len(w.loans()) != 0 || w.lent() != 0 || len(asked) != 0 {
		t.Errorf("%d Loans and %d lent are left; asked for %v", len(w.loans()), w.lent(), asked)
	}
}
