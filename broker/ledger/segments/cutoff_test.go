package segments

import (
	"os"
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

// A check does not take the second name that a turn gave the newest file, before it was cut
// off, for another file.
func TestCheckOfATurnThatWasCutOff(t *testing.T) {
	d := twoMonths(t, Options{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(d.path, ArchiveName(d.path, "2026-11")); err != nil {
		t.Fatal(err)
	}
	report, err := Check(d.path, seal.PublicKey{})
	if err != nil || !report.OK() {
		t.Errorf("Check: %v\n%v", err, report)
	}
	d.open(t)
}
