package actuate_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestOldCopyWithAnEarlierLoan: a ledger that was put back from a copy has a loan open that
// ended since, and whose job has another by now. The broker starts, the job that runs on the
// newer loan goes on, and the old one is over when the newer one was made.
func TestOldCopyWithAnEarlierLoan(t *testing.T) {
	w := newWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Close(); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	b = w.restart()
	returning := lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned, Message: "free"}
	err = b.apply(reclaiming("research/tune-1"))
	w.jobController()
	if err = errors.Join(err, b.apply(returning)); err != nil {
		t.Fatal(err)
	}
	w.after(30 * time.Minute)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	pods := len(w.pods())
	if loans := w.loans(); len(loans) != 1 || loans[0].Name != "tune-2" || pods == 0 {
		t.Fatalf("the second loan was not made: %d loans, %d pods", len(loans), pods)
	}

	w.after(time.Hour)
	if err := errors.Join(w.book.Close(), os.WriteFile(w.path, copied, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.open()
	b = w.restart()
	if *w.job().Spec.Suspend || len(w.pods()) != pods {
		t.Error("the job was stopped that has a loan")
	}
	for range 2 {
		b.round()
	}
	agree(t, w)
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil || len(entries) == 0 {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if last.Kind != ledger.Released || !last.At.Equal(w.loans()[0].CreationTimestamp.UTC()) {
		t.Errorf("the loan that the copy had open ended with %s at %s", last.Kind, last.At)
	}
}
