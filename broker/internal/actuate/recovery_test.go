package actuate_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// lives is how many brokers in a row die while they recover.
const lives = 3

// deaths are at which of its writes each of them dies.
type deaths [lives]int

// next is the one after, given which of the brokers died: an odometer whose wheels are as
// long as a broker has writes. ok is false if there is none.
func (d deaths) next(died [lives]bool) (deaths, bool) {
	for i := lives - 1; i >= 0; i-- {
		if died[i] {
			d[i]++
			return d, true
		}
		d[i] = 1
	}
	return d, false
}

// TestCrashInRecovery kills the broker at writes of every operation, and three more in
// a row at every write with which they recover from that, before and after its effect, with
// the ledger's volume and without it: the next one gets to where it would have got at once.
func TestCrashInRecovery(t *testing.T) {
	tried, step := 0, 3 // every third write of the operations; each with LONG=1
	if os.Getenv("LONG") != "" {
		step = 1
	}
	for name, op := range operations {
		for _, after := range []bool{false, true} {
			for n := 1; ; n += step {
				crashed := false
				for _, destroyed := range []bool{false, true}[:1+n/step%2] { // what is done to the volume does not depend on it
					t.Run(fmt.Sprintf("%s/%d/after=%t/destroyed=%t", name, n, after, destroyed), func(t *testing.T) {
						crashed = dieInRecovery(t, name, op, &fuse{left: n, after: after}, destroyed, &tried)
					})
				}
				if !crashed || t.Failed() {
					break
				}
			}
		}
	}
	t.Logf("%d recoveries that were interrupted up to %d times", tried, lives)
	if tried < 80 {
		t.Error("those are too few: the brokers did not write")
	}
}

// dieInRecovery goes through all the ways for the next brokers to die after the fuse has
// burnt, and reports whether it has.
func dieInRecovery(t *testing.T, name string, op operation, first *fuse, destroyed bool, tried *int) (crashed bool) {
	t.Helper()
	at, more := deaths{1, 1, 1}, true
	for more && !t.Failed() {
		w := newWorld(t)
		if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
			t.Fatal(err)
		}
		f := &fuse{left: first.left, after: first.after}
		_ = op.act(w.broker(f))
		crashed = f.burnt
		if destroyed {
			w.destroy()
		}
		var died [lives]bool
		for i := range lives {
			died[i] = w.dieAt(at[i], first.after)
			if !died[i] {
				break // it has recovered
			}
		}
		*tried++
		w.counted = true
		restart(t, w, name)
		once(t, w)
		if t.Failed() {
			t.Logf("the brokers that recovered died at their writes %v: %v", at, died)
		}
		at, more = at.next(died)
	}
	return crashed
}

// dieAt lets a broker recover that dies at its n-th write, and reports whether it got there.
func (w *world) dieAt(n int, after bool) bool {
	w.t.Helper()
	w.jobController()
	if err := w.book.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	f := &fuse{left: n, after: after}
	b := w.broker(f)
	if err := b.actuator.Start(b.context()); err != nil && !f.burnt {
		w.t.Fatal(err)
	}
	return f.burnt
}

// once checks that the ledger has each kind of entry about a loan once, and each epoch.
func once(t *testing.T, w *world) {
	t.Helper()
	entries, err := w.book.Read(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		what := fmt.Sprintf("%s of %s", e.Kind, e.Loan)
		if e.Kind == ledger.EpochStart {
			what = fmt.Sprintf("%s %d", e.Kind, e.Epoch)
		}
		if seen[what] && e.Kind != ledger.Stopped && e.Kind != ledger.Killed {
			t.Errorf("the ledger has %s twice", what)
		}
		seen[what] = true
	}
}
