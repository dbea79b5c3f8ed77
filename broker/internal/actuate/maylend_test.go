package actuate_test

import (
	"errors"
	"testing"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestMayNotLend: while something is in the way nothing is lent or cut anew, the job is
// told to wait, and what was lent is taken back as ever.
func TestMayNotLend(t *testing.T) {
	errNo := errors.New("an admission policy is gone")
	w := newWorld(t)
	w.withCard()
	f := &fuse{left: -1}
	b := w.broker(f)
	b.actuator.MayLend = func() error { return errNo }
	if err := b.apply(b.lending()); !errors.Is(err, errNo) {
		t.Errorf("lending ends with %v", err)
	}
	if err := b.reshape(made()); !errors.Is(err, errNo) {
		t.Errorf("reshaping ends with %v", err)
	}
	if seq, _ := w.book.Head(); seq != 0 || len(w.loans()) != 0 || w.lent() != 0 || len(w.card().Spec.Reshapes) != 0 {
		t.Errorf("%d entries, %d Loans, %d lent, %d reshapes; want nothing", seq, len(w.loans()), w.lent(), len(w.card().Spec.Reshapes))
	}
	b.actuator.MayLend = func() error { return nil }
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	b.actuator.MayLend = func() error { return errNo }
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Errorf("taking back ends with %v", err)
	}
	w.jobController()
	if err := b.apply(lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned}); err != nil {
		t.Errorf("giving back ends with %v", err)
	}
	if len(w.loans()) != 0 || w.lent() != 0 {
		t.Errorf("%d Loans and %d lent are left", len(w.loans()), w.lent())
	}
}

// What came to be in the way between the intent and the Loan ends the lend.
func TestMayNotLendAnyMore(t *testing.T) {
	errNo := errors.New("an admission policy is gone")
	w := newWorld(t)
	b := w.broker(&fuse{left: -1})
	asked := 0
	b.actuator.MayLend = func() error {
		if asked++; asked > 1 {
			return errNo
		}
		return nil
	}
	if err := b.apply(b.lending()); !errors.Is(err, errNo) {
		t.Errorf("lending ends with %v", err)
	}
	if err := b.apply(); err != nil { // the lender counts anew
		t.Error(err)
	}
	if asked < 2 || len(w.loans()) != 0 || w.lent() != 0 || len(w.book.OpenLoans()) != 0 {
		t.Errorf("asked %d times; %d Loans, %d lent, %d open in the ledger; want none", asked, len(w.loans()), w.lent(), len(w.book.OpenLoans()))
	}
}
