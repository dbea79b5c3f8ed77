package actuate_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// operation is what the broker does in a cluster in which it is due, and what it writes.
type operation struct {
	prepare func(b *broker) error
	act     func(b *broker) error
	writes  []string
}

var operations = map[string]operation{
	"lend": {
		prepare: func(*broker) error { return nil },
		act:     func(b *broker) error { return b.apply(b.lending()) },
		writes: []string{
			"ledger LEND_INTENT", "status chat", "create tune-1", "status tune-1", "patch tune", "ledger LEND_GRANTED",
		},
	},
	"reclaim": {
		prepare: func(b *broker) error { return admit(b) },
		act:     func(b *broker) error { return b.apply(reclaiming("research/tune-1")) },
		writes:  []string{"ledger RECLAIM_INTENT", "status tune-1", "patch tune-0", "patch tune", "patch status tune-0", "delete tune-0", "ledger STOPPED"},
	},
	"return": {
		prepare: func(b *broker) error {
			err := errors.Join(admit(b), b.apply(reclaiming("research/tune-1")))
			b.jobController()
			return err
		},
		act: func(b *broker) error {
			return b.apply(lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned, Message: "free"})
		},
		writes: []string{"status tune-1", "ledger RECLAIM_DONE", "status chat", "patch tune-1", "delete tune-1"},
	},
}

func admit(b *broker) error {
	err := b.apply(b.lending())
	b.jobController()
	return err
}

// TestOrder pins law 8: the ledger first when taking, last when giving back.
func TestOrder(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
				t.Fatal(err)
			}
			f := &fuse{left: -1}
			if err := op.act(w.broker(f)); err != nil {
				t.Fatal(err)
			}
			// Statuses that only inform come after, and are not part of the law.
			f.writes = slices.DeleteFunc(f.writes, func(s string) bool {
				return s == "status default" || s == "status research" || s == "status serving"
			})
			if name == "reclaim" { // the lender's numbers come in any case
				f.writes = slices.DeleteFunc(f.writes, func(s string) bool { return s == "status chat" })
			}
			if diff := cmp.Diff(op.writes, f.writes); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCrash kills the broker at every write, before and after its effect. The
// next one must find its way to a state in which ledger, Loans, status.lent and
// jobs agree, and from which the job can be lent to again.
func TestCrash(t *testing.T) {
	for name, op := range operations {
		op.crash(t, name, newWorld, func(t *testing.T, w *world) { restart(t, w, name) })
	}
}

// crash carries the operation out once for each of its writes, which kills the broker,
// each time in a new world, and looks at that afterwards.
func (op operation) crash(t *testing.T, name string, newWorld func(testing.TB) *world, look func(*testing.T, *world)) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			crashed := true
			t.Run(fmt.Sprintf("%s/%d/after=%t", name, n, after), func(t *testing.T) {
				w := newWorld(t)
				if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
					t.Fatal(err)
				}
				f := &fuse{left: n, after: after}
				err := op.act(w.broker(f))
				if crashed = f.burnt; !crashed && err != nil {
					t.Fatal(err)
				}
				look(t, w)
			})
			if !crashed || t.Failed() {
				break
			}
		}
	}
}

// TestHiccup lets one write to the API fail, before and after its effect, and the
// same broker go on.
func TestHiccup(t *testing.T) {
	for name, op := range operations {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				failed := true
				t.Run(fmt.Sprintf("%s/%d/after=%t", name, n, after), func(t *testing.T) {
					w := newWorld(t)
					if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
						t.Fatal(err)
					}
					f := &fuse{left: n, after: after, hiccup: true}
					b := w.broker(f)
					err := op.act(b)
					if failed = f.burnt; !failed && err != nil {
						t.Fatal(err)
					}
					f.left = -1 // at most one, and only in the operation
					if errors.Is(err, actuate.ErrStop) {
						t.Fatalf("the broker stops: %v", err)
					}
					w.jobController()
					settle(t, b, name)
				})
				if !failed || t.Failed() {
					break
				}
			}
		}
	}
}

// restart lets a new leader go on, and checks where it gets to.
func restart(t *testing.T, w *world, operation string) {
	t.Helper()
	settle(t, w.restart(), operation)
}

// restart begins the next broker's life.
func (w *world) restart() *broker {
	w.t.Helper()
	w.jobController()
	if err := w.book.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	b := w.broker(&fuse{left: -1})
	for range 2 { // reconciling is idempotent
		if err := b.actuator.Start(b.context()); err != nil {
			w.t.Fatal(err)
		}
	}
	return b
}

// settle decides until nothing changes, and checks what that is.
func settle(t *testing.T, b *broker, operation string) {
	t.Helper()
	w := b.world
	for range 4 {
		b.round()
	}
	agree(t, w)
	if loans := w.loans(); operation != "lend" && len(loans) == 1 {
		// The core still wants it back: it had not come as far as the Loan.
		if err := b.apply(reclaiming("research/" + loans[0].Name)); err != nil {
			t.Fatal(err)
		}
		w.jobController()
		for range 3 {
			b.round()
		}
		agree(t, w)
	}
	if operation != "lend" && len(w.loans()) > 0 {
		t.Errorf("the loan was not returned")
	}
	if len(w.loans()) > 0 {
		return
	}
	err := b.apply(b.lending())
	if err != nil && w.counted {
		err = b.apply(b.lending())
	}
	if err != nil {
		t.Errorf("lend again: %v", err)
	}
	w.jobController()
	agree(t, w)
	if len(w.loans()) != 1 {
		t.Errorf("the job was not lent to again")
	}
}

// agree checks that ledger, Loans, status.lent and the job say the same.
func agree(t *testing.T, w *world) {
	t.Helper()
	open := map[string]ledger.LoanState{}
	for _, l := range w.book.OpenLoans() {
		open[l.Loan] = l.State
	}
	var lent int64
	loans := w.loans()
	for i := range loans {
		name := loans[i].Namespace + "/" + loans[i].Name
		if gather.Returned(&loans[i]) {
			t.Errorf("Loan %s is over and still there", name)
		}
		if !meta.IsStatusConditionTrue(loans[i].Status.Conditions, v1alpha1.LoanActive) {
			t.Errorf("Loan %s is not active", name)
		}
		if state := open[name]; state != ledger.Granted && state != ledger.Reclaiming {
			t.Errorf("Loan %s is %s in the ledger", name, state)
		}
		delete(open, name)
		lent += loans[i].Spec.Grants[0].Count
	}
	if len(open) > 0 {
		t.Errorf("the ledger has open loans without a Loan: %v", open)
	}
	if got := w.lent(); got != lent {
		t.Errorf("status.lent is %d, the Loans say %d", got, lent)
	}
	if suspended := *w.job().Spec.Suspend; suspended != (len(loans) == 0) {
		t.Errorf("the job is suspended: %t, with %d Loans", suspended, len(loans))
	}
	report, err := w.book.Verify()
	if err != nil || !report.OK() {
		t.Errorf("the ledger is not sound: %v %v", err, report)
	}
}
