package segments

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

// What a tool writes in a month after the newest file's begins no file and seals none, which
// it has no key for; what stands in an older file is not written again.
func TestAmend(t *testing.T) {
	d := twoMonths(t, Options{})
	again := ledger.Entry{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}
	if first, err := d.Amend(again); err != nil || first.Seq != 1 {
		t.Errorf("an operation of the first file: entry %d, %v", first.Seq, err)
	}
	names, checkpoints := d.names(t), checkpointsOf(t, d)
	d.pass(nextMonth * 15)
	d.opts.CheckpointEntries = 1
	d.reopen(t)
	head, _ := d.Head()
	e := ledger.Entry{Kind: ledger.Correction, OpID: "c", Epoch: 1, Corrects: 2, Reason: "Corrected", Message: "it was wrong"}
	for range 2 {
		if written, err := d.Amend(e); err != nil || written.Seq != head+1 {
			t.Errorf("Amend: entry %d after %d, %v", written.Seq, head, err)
		}
	}
	if now := checkpointsOf(t, d); d.names(t) != names || now != checkpoints {
		t.Errorf("there are %d checkpoints instead of %d, and these files:\n%s", now, checkpoints, d.names(t))
	}
}

func checkpointsOf(t *testing.T, d *desk) int {
	t.Helper()
	report, err := d.Verify()
	if err != nil || !report.OK() {
		t.Fatalf("Verify: %v %v", report, err)
	}
	return seal.Check(report.ID, report.Checkpoints, seal.PublicKey{}).Checkpoints
}
