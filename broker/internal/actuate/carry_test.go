package actuate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// destroy takes the ledger's volume away.
func (w *world) destroy() {
	w.t.Helper()
	_ = w.book.Close()
	if err := os.Remove(w.path); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	w.epoch--
}

// carriedBy are the hashes of the entries that Loans carry, by number.
func (w *world) carriedBy() map[int64]string {
	w.t.Helper()
	out := map[int64]string{}
	for _, loan := range w.loans() {
		for _, r := range loan.Status.Records {
			out[r.Seq] = r.Hash
			var e ledger.Entry
			if r.Entry == nil {
				w.t.Errorf("entry %d is not carried whole", r.Seq)
			} else if err := json.Unmarshal(r.Entry.Raw, &e); err != nil || e.Hash.String() != r.Hash || int64(e.Seq) != r.Seq {
				w.t.Errorf("entry %d is carried as %s, %v", r.Seq, r.Entry.Raw, err)
			}
		}
	}
	return out
}

// recovered are those that the ledger has from Loans.
func (w *world) recovered() map[int64]string {
	w.t.Helper()
	out := map[int64]string{}
	entries, err := w.book.Read(1, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range entries {
		var said struct {
			Records []v1alpha1.LoanRecord `json:"records"`
		}
		if entries[i].Kind != ledger.Recovered {
			continue
		}
		if err := json.Unmarshal(entries[i].Payload, &said); err != nil {
			w.t.Fatal(err)
		}
		for _, r := range said.Records {
			out[r.Seq] = r.Hash
		}
	}
	return out
}

// TestLoanCarriesItsRecords: soon after they are written the entries of a loan are in the
// Loan, as the ledger has them, and with the epoch of who wrote.
func TestLoanCarriesItsRecords(t *testing.T) {
	w := newWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(); err != nil { // LEND_GRANTED came after the Loan was written
		t.Fatal(err)
	}
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	entries, err := w.book.ByLoan("research/tune-1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]string{}
	for i := range entries[:3] { // and STOPPED, with the next write
		want[int64(entries[i].Seq)] = entries[i].Hash.String()
	}
	if diff := cmp.Diff(want, w.carriedBy()); diff != "" || len(want) != 3 {
		t.Errorf("carried (-ledger +Loan):\n%s", diff)
	}
	if got := w.loans()[0].Status.Epoch; got != w.epoch {
		t.Errorf("the Loan was written in epoch %d, and says %d", w.epoch, got)
	}
}

// TestCrashAndDestroyedDisk is TestCrash with the ledger's volume lost too: the new leader
// gets as far, and what the Loans carried is in its ledger.
func TestCrashAndDestroyedDisk(t *testing.T) {
	for name, op := range operations {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				crashed := true
				t.Run(fmt.Sprintf("%s/%d/after=%t", name, n, after), func(t *testing.T) {
					w := newWorld(t)
					if err := op.prepare(w.broker(&fuse{left: -1})); err != nil {
						t.Fatal(err)
					}
					f := &fuse{left: n, after: after}
					_ = op.act(w.broker(f))
					crashed = f.burnt
					carried := w.carriedBy()
					w.destroy()
					b := w.restart()
					settle(t, b, name)
					have := w.recovered()
					for seq, hash := range carried {
						if have[seq] != hash {
							t.Errorf("entry %d with hash %s was carried, and the new ledger has %q", seq, hash, have[seq])
						}
					}
				})
				if !crashed || t.Failed() {
					break
				}
			}
		}
	}
}

// TestLongRecords: a Loan has room for 64 entries, and says how many it leaves out.
func TestLongRecords(t *testing.T) {
	w := newWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	for i := range 80 {
		_, err := w.book.Append(ledger.Entry{Kind: ledger.ShedIntent, Epoch: w.epoch, Loan: "research/tune-1", OpID: fmt.Sprintf("shed-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	status := w.loans()[0].Status
	first, last := status.Records[0], status.Records[len(status.Records)-1]
	if len(status.Records) != 64 || status.RecordsOmitted != 83-64 || first.Kind != "LEND_INTENT" || last.Kind != "RECLAIM_INTENT" {
		t.Errorf("%d records and %d omitted, from %s to %s", len(status.Records), status.RecordsOmitted, first.Kind, last.Kind)
	}
}

// TestDurable: what is elsewhere too is not carried any more, and a Loan goes no earlier
// than its last entry is there.
func TestDurable(t *testing.T) {
	w := newWorld(t)
	b := w.broker(&fuse{left: -1})
	durable := uint64(0)
	b.actuator.Durable = func() uint64 { return durable }
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	durable = 2 // LEND_INTENT and LEND_GRANTED
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	if status := w.loans()[0].Status; status.DurableSeq != 2 || len(status.Records) != 1 || status.Records[0].Kind != "RECLAIM_INTENT" {
		t.Errorf("with %d durable %d are carried", status.DurableSeq, len(status.Records))
	}
	if err := b.apply(lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReturned}); err != nil {
		t.Fatal(err)
	}
	if len(w.loans()) != 1 {
		t.Fatal("the Loan is gone before its last entry is durable")
	}
	durable, _ = w.book.Head()
	if err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if len(w.loans()) != 0 {
		t.Error("the Loan stays though all is durable")
	}
}

// TestNumbersBeginAnew: in a new ledger the same numbers are other entries. A Loan that
// carried the last of the old one, by chance with the number of the first of the new one,
// carries that then: no number stands for two entries in one place.
func TestNumbersBeginAnew(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(); err != nil {
		t.Fatal(err)
	}
	before := w.loans()[0].Status
	w.destroy()
	w.epoch++
	b = alive(w)
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	if known, _ := w.book.Loan("research/tune-1"); known.LastSeq != uint64(before.LedgerSeq) {
		t.Fatalf("RECOVERED is entry %d, and the Loan's last was %d: they are to be the same", known.LastSeq, before.LedgerSeq)
	}
	for range 2 {
		if err := b.apply(); err != nil {
			t.Fatal(err)
		}
	}
	after := w.loans()[0].Status
	if len(after.Records) != 1 || after.Records[0].Kind != "RECOVERED" || after.Records[0].Seq != before.LedgerSeq {
		t.Errorf("it carries %+v", after.Records)
	}
	version := w.loans()[0].ResourceVersion
	b = alive(w)
	b.actuator.Epoch++ // another leader, and the same ledger
	for range 2 {
		if err := b.apply(); err != nil {
			t.Fatal(err)
		}
	}
	if now := w.loans()[0].ResourceVersion; now != version {
		t.Error("a Loan was written that carries all there is")
	}
}
