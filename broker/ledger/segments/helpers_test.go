package segments

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

var october = time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC)

const nextMonth = 48 * time.Hour // after october

// desk has a ledger and its clock.
type desk struct {
	*Set
	clock *clocktesting.FakePassiveClock
	path  string
	opts  Options
	opens int
	put   []error // what was put off
}

func newDesk(t *testing.T, opts Options) *desk {
	t.Helper()
	d := &desk{clock: clocktesting.NewFakePassiveClock(october), path: filepath.Join(t.TempDir(), "ledger.db"), opts: opts}
	d.opts.Clock = d.clock
	d.opts.Failed = func(err error) { d.put = append(d.put, err) }
	d.open(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

func (d *desk) open(t *testing.T) {
	t.Helper()
	var err error
	d.opens++
	d.opts.BootID = fmt.Sprintf("boot-%d", d.opens) // a process of its own
	if d.Set, err = Open(d.path, d.opts); err != nil {
		t.Fatalf("Open: %v", err)
	}
}

func (d *desk) reopen(t *testing.T) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.open(t)
}

func (d *desk) pass(by time.Duration) { d.clock.SetTime(d.clock.Now().Add(by)) }

func (d *desk) must(t *testing.T, entries ...ledger.Entry) {
	t.Helper()
	for _, e := range entries {
		if _, err := d.Append(e); err != nil {
			t.Fatalf("Append %s %s: %v", e.Kind, e.Loan, err)
		}
	}
}

// lend opens loan n of 4 lent GPUs and 3 of the borrower's own.
func lend(n int) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.LendIntent, OpID: fmt.Sprintf("op-%d", n), Epoch: 1,
		Loan: fmt.Sprintf("research/loan-%d", n), Job: fmt.Sprintf("research/job-%d", n), JobUID: fmt.Sprintf("uid-%d", n), Borrower: "research",
		Grants: []ledger.Grant{
			{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4},
			{Node: "gpu-2", Flavor: "h100", Count: 3},
		},
		Payload: []byte(`{"lenders":{"serving/chat":"serving"}}`),
	}
}

func later(kind ledger.Kind, n int) ledger.Entry {
	return ledger.Entry{Kind: kind, OpID: fmt.Sprintf("op-%d-%s", n, kind), Epoch: 1, Loan: fmt.Sprintf("research/loan-%d", n)}
}

// twoMonths is a ledger of two files: loan 1 ended in the first, 2 and 3 went over into the
// second, and 4 began there.
func twoMonths(t *testing.T, opts Options) *desk {
	t.Helper()
	d := newDesk(t, opts)
	d.must(t, ledger.Entry{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}, lend(1), later(ledger.LendGranted, 1), lend(2), later(ledger.LendGranted, 2), lend(3))
	d.must(t, ledger.Entry{Kind: ledger.ReshapeIntent, OpID: "r1", Epoch: 1, Payload: []byte(`{"node":"gpu-1"}`)})
	d.pass(time.Hour)
	d.must(t, later(ledger.Released, 1))
	d.pass(nextMonth)
	d.must(t, lend(4), later(ledger.LendGranted, 3))
	return d
}

// names of the files in a ledger's folder.
func (d *desk) names(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(d.path))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %o\n", e.Name(), info.Mode().Perm())
	}
	return out.String()
}

// entries of a ledger, read in small pages; the chain is followed from file to file.
func entries(t *testing.T, s *Set) []ledger.Entry {
	t.Helper()
	var all []ledger.Entry
	for from := uint64(1); ; from = all[len(all)-1].Seq + 1 {
		page, err := s.Read(from, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		for _, e := range page {
			if n := len(all); n > 0 && e.Seq != all[n-1].Seq+1 {
				t.Fatalf("entry %d follows %d", e.Seq, all[n-1].Seq)
			}
			all = append(all, e)
		}
	}
}

// sound checks the open ledger, and a closed copy of its files.
func (d *desk) sound(t *testing.T) *ledger.Report {
	t.Helper()
	report, err := d.Verify()
	if err != nil || !report.OK() {
		t.Fatalf("Verify: %v\n%s", err, report)
	}
	return report
}

// checkClosed closes the ledger, checks its files and opens it again.
func (d *desk) checkClosed(t *testing.T, by seal.PublicKey) *ledger.Report {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	defer d.open(t)
	report, err := Check(d.path, by)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mkdir(t interface{ Fatal(...any) }, dir string) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// renumbered is a record with its number, and the hash it follows, taken from another one.
func renumbered(t *testing.T, record, like []byte) []byte {
	t.Helper()
	out := bytes.Clone(record)
	copy(out[2:10], like[2:10])
	copy(out[len(out)-36:len(out)-4], like[len(like)-36:len(like)-4])
	sum := crc32.Checksum(out[:len(out)-4], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(out[len(out)-4:], sum)
	return out
}
