package segments

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

// TestMain is a writer that dies within a turn, if it is told to.
func TestMain(m *testing.M) {
	if path, step := os.Getenv("SEGMENTS_PATH"), os.Getenv("SEGMENTS_STEP"); path != "" {
		if err := dieAt(path, step); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dieAt fills a ledger and turns over.
func dieAt(path, step string) error {
	clock := clocktesting.NewFakePassiveClock(october)
	opts := Options{Options: ledger.Options{Clock: clock, BootID: "boot"}}
	opts.step = func(name string) error {
		if name == step {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	s, err := Open(path, opts)
	if err != nil {
		return err
	}
	for _, e := range []ledger.Entry{{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}, lend(1), later(ledger.LendGranted, 1), lend(2)} {
		if _, err := s.Append(e); err != nil {
			return err
		}
	}
	clock.SetTime(october.Add(nextMonth))
	if _, err := s.Append(later(ledger.LendGranted, 2)); err != nil {
		return err
	}
	return s.Close()
}

// A writer that dies at any step of a turn leaves a ledger that goes on as one does whose
// writer did not die: the same entries with the same hashes, and the same files.
func TestDeathWithinATurn(t *testing.T) {
	type outcome struct {
		Seq   uint64
		Files string
		Kinds string
	}
	finish := func(t *testing.T, path string) outcome {
		d := &desk{clock: clocktesting.NewFakePassiveClock(october.Add(nextMonth)), path: path}
		d.opts.Clock = d.clock
		d.open(t)
		defer d.Close()
		d.must(t, later(ledger.LendGranted, 2)) // which the writer may not have heard of
		d.must(t, later(ledger.Released, 1))
		var kinds []string
		for _, e := range entries(t, d.Set) {
			kinds = append(kinds, e.Kind.String())
		}
		d.sound(t)
		seq, _ := d.Head()
		return outcome{seq, d.names(t), strings.Join(kinds, " ")}
	}
	run := func(t *testing.T, step string) string {
		path := filepath.Join(t.TempDir(), "ledger.db")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SEGMENTS_PATH="+path, "SEGMENTS_STEP="+step)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		died := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if died != (step != "") {
			t.Fatalf("the writer ended with %v\n%s", err, out)
		}
		return path
	}
	want := finish(t, run(t, ""))
	if !strings.Contains(want.Files, "ledger-202610.db 400") || !strings.Contains(want.Kinds, "CHECKPOINT SEGMENT_START CARRIED CARRIED LEND_GRANTED") {
		t.Fatalf("undisturbed it is %+v", want)
	}
	for _, step := range []string{stepSealed, stepMade, stepKept, stepTaken} {
		t.Run(step, func(t *testing.T) {
			if diff := cmp.Diff(want, finish(t, run(t, step))); diff != "" {
				t.Errorf("after a death (-undisturbed +dead):\n%s", diff)
			}
		})
	}
}

// The file that follows another is the same whenever it is made.
func TestSameFileAgain(t *testing.T) {
	d := twoMonths(t, Options{})
	want, err := d.Raw(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	base := uint64(len(want))
	second, err := d.Raw(base+1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	d.open(t)
	again, err := d.Raw(base+1, 0)
	if err != nil || len(again) == 0 {
		t.Fatalf("%d records, %v", len(again), err)
	}
	if diff := cmp.Diff(second[:len(again)], again); diff != "" {
		t.Errorf("what is carried differs:\n%s", diff)
	}
	d.sound(t)
}

// Where the newest file is missing and the one before does not end as one does that another
// follows, nothing is begun.
func TestMissingNewestFile(t *testing.T) {
	d := newDesk(t, Options{})
	d.must(t, lend(1))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.path, ArchiveName(d.path, "2026-10")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.path, d.opts); !errors.Is(err, ledger.ErrTransition) || !strings.Contains(err.Error(), "does not end as a file") {
		t.Errorf("Open: %v", err)
	}
	if _, err := os.Stat(d.path); err == nil {
		t.Error("a file was begun")
	}
}

func TestTurn(t *testing.T) {
	d := twoMonths(t, Options{})
	if got, want := d.names(t), "ledger-202610.db 400\nledger.db 600\n"; got != want {
		t.Errorf("files are\n%swant\n%s", got, want)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			d.reopen(t)
		}
		all := entries(t, d.Set)
		if seq, _ := d.Head(); len(all) != int(seq) {
			t.Errorf("%d entries of %d", len(all), seq)
		}
		var loans []string
		for _, l := range d.OpenLoans() {
			loans = append(loans, fmt.Sprintf("%s %s %d", l.Loan, l.State, l.FirstSeq))
		}
		if diff := cmp.Diff([]string{"research/loan-2 Granted 4", "research/loan-3 Granted 6", "research/loan-4 Intended 16"}, loans); diff != "" {
			t.Errorf("open loans:\n%s", diff)
		}
		if r, ok := d.Reshape("r1"); !ok || string(r.Payload) != `{"node":"gpu-1"}` {
			t.Errorf("reshape %+v, %v", r, ok)
		}
		if past, err := d.ByLoan("research/loan-3"); err != nil || len(past) != 2 {
			t.Errorf("loan 3 has %d entries, %v", len(past), err)
		}
		if page, err := d.ByTenant("serving", 9, 0); err != nil || len(page) != 2 || page[0].Loan != "research/loan-4" {
			t.Errorf("the lender's tenant sees %+v, %v", page, err)
		}
		d.sound(t)
	}
	// What went over ends as it would have in one file: two days of 4 GPUs and an hour.
	d.must(t, later(ledger.Released, 2))
	ms := (nextMonth + time.Hour).Milliseconds()
	first := (12 + 24) * time.Hour.Milliseconds() // until midnight of 31 October
	for month, want := range map[string]int64{"2026-10": 4*first + 4*time.Hour.Milliseconds(), "2026-11": 4 * (ms - first)} {
		totals, err := d.Totals(month, "research")
		if err != nil || len(totals) != 1 || totals[0].Borrowed.UnitMS != want {
			t.Errorf("%s: %+v, %v; want %d", month, totals, err, want)
		}
	}
}

// Operations of the files before are looked up, and a loan that was closed in one is not
// opened again.
func TestOperationsOfTheMonthBefore(t *testing.T) {
	d := twoMonths(t, Options{})
	before, _ := d.Head()
	first, err := d.Append(lend(1))
	if err != nil || first.Seq != 2 {
		t.Errorf("a repeated operation is entry %d, %v", first.Seq, err)
	}
	if out, err := d.AppendAll([]ledger.Entry{later(ledger.Released, 1), lend(2)}); err != nil || out[0].Seq != 8 || out[1].Seq != 4 {
		t.Errorf("repeated operations are %+v, %v", out, err)
	}
	e := later(ledger.LendGranted, 1)
	e.Loan = "research/loan-2"
	if _, err := d.Append(e); !errors.Is(err, ledger.ErrOpReused) {
		t.Errorf("an operation about another loan: %v", err)
	}
	e = lend(1)
	e.OpID = "another"
	if _, err := d.Append(e); !errors.Is(err, ledger.ErrTransition) {
		t.Errorf("a closed loan was opened again: %v", err)
	}
	if after, _ := d.Head(); after != before {
		t.Errorf("%d entries were written", after-before)
	}
	d.must(t, later(ledger.Released, 2))
	if again, err := d.Append(lend(2)); err != nil || again.Seq != 4 {
		t.Errorf("the first entry of a loan that ended since: %+v, %v", again, err)
	}
}

// A clock that goes back never makes an old month again.
func TestClockGoesBack(t *testing.T) {
	d := twoMonths(t, Options{})
	names := d.names(t)
	d.pass(-40 * 24 * time.Hour) // September
	for range 2 {
		d.must(t, later(ledger.Stopped, 2))
		d.reopen(t)
	}
	if got := d.names(t); got != names {
		t.Errorf("files are\n%s", got)
	}
	d.pass(70 * 24 * time.Hour) // December
	d.must(t, later(ledger.Released, 2))
	if got, want := d.names(t), "ledger-202610.db 400\nledger-202611.db 400\nledger.db 600\n"; got != want {
		t.Errorf("files are\n%swant\n%s", got, want)
	}
	d.sound(t)
}

// A turn that cannot be made does not stop anything, and is tried again.
func TestTurnThatFails(t *testing.T) {
	d := newDesk(t, Options{})
	d.must(t, lend(1), later(ledger.LendGranted, 1))
	taken := ArchiveName(d.path, "2026-10")
	if err := os.WriteFile(taken, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.pass(nextMonth)
	d.must(t, later(ledger.ReclaimIntent, 1), later(ledger.ReclaimDone, 1))
	if len(d.put) != 1 || !strings.Contains(d.put[0].Error(), "ledger-202610.db") {
		t.Errorf("put off: %v", d.put)
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	d.must(t, lend(2))
	if len(d.files) != 1 {
		t.Error("it was tried again at once")
	}
	d.pass(turnRetry)
	d.must(t, later(ledger.LendGranted, 2))
	if got, want := d.names(t), "ledger-202610.db 400\nledger.db 600\n"; got != want || len(d.put) != 1 {
		t.Errorf("files are\n%swant\n%s%v", got, want, d.put)
	}
	d.reopen(t)
	d.sound(t)
}

// An error at each step: before the new file has the name, the old one is written on; after
// that, the outcome is unknown.
func TestErrorWithinATurn(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, step := range []string{stepSealed, stepMade, stepKept, stepTaken} {
		t.Run(step, func(t *testing.T) {
			fail := true
			d := newDesk(t, Options{step: func(name string) error {
				if fail && name == step {
					return broken
				}
				return nil
			}})
			d.must(t, lend(1))
			d.pass(nextMonth)
			_, err := d.Append(later(ledger.LendGranted, 1))
			if unknown := errors.Is(err, ledger.ErrUnknownOutcome); unknown != (step == stepTaken) || err != nil && !unknown {
				t.Fatalf("Append: %v", err)
			}
			if _, again := d.Append(lend(2)); (again == nil) != (err == nil) {
				t.Errorf("the next entry: %v", again)
			}
			fail = false
			d.reopen(t)
			d.pass(turnRetry)
			d.must(t, later(ledger.LendGranted, 1), later(ledger.Released, 1))
			if got, want := d.names(t), "ledger-202610.db 400\nledger.db 600\n"; got != want {
				t.Errorf("files are\n%swant\n%s", got, want)
			}
			d.sound(t)
		})
	}
}

// What a writer left that died while it wrote the new file is removed.
func TestHalfAFile(t *testing.T) {
	d := newDesk(t, Options{})
	d.must(t, lend(1))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".ledger.db.next", "..ledger.db.next.new-123"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(d.path), name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.open(t)
	if got, want := d.names(t), "ledger.db 600\n"; got != want {
		t.Errorf("files are\n%s", got)
	}
	d.sound(t)
}

// The file of a release that knew no months is of the month in which it was begun.
func TestFileWithoutMonths(t *testing.T) {
	d := newDesk(t, Options{})
	d.must(t, lend(1))
	d.pass(-400 * 24 * time.Hour)
	d.must(t, later(ledger.LendGranted, 1))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	one, err := ledger.Open(d.path, ledger.Options{Clock: d.clock, BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	e := lend(2)
	e.Time = october.AddDate(0, 4, 0)
	if _, err := one.Append(e); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	d.clock.SetTime(october.AddDate(0, 5, 0))
	d.open(t)
	d.must(t, later(ledger.LendGranted, 2))
	if got, want := d.names(t), "ledger-202610.db 400\nledger.db 600\n"; got != want {
		t.Errorf("files are\n%swant\n%s", got, want)
	}
	if report := d.checkClosed(t, seal.PublicKey{}); !report.OK() {
		t.Error(report)
	}
}
