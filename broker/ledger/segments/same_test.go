package segments

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A ledger of many files says the same as one of one file that was told the same.
func TestAgainstOneFile(t *testing.T) {
	base := t.TempDir()
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		clock := clocktesting.NewFakePassiveClock(october)
		opts := ledger.Options{Clock: clock, BootID: "boot"}
		path := filepath.Join(base, fmt.Sprint(round), "ledger.db")
		mkdir(rt, filepath.Dir(path))
		set, err := Open(path, Options{Options: opts, CheckpointEntries: 7})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = set.Close() }()
		one, err := ledger.Open(filepath.Join(base, fmt.Sprint(round), "one.db"), opts)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = one.Close() }()
		kinds := []ledger.Kind{ledger.LendIntent, ledger.LendGranted, ledger.LendAborted, ledger.ReclaimIntent, ledger.ReclaimDone,
			ledger.Released, ledger.Lost, ledger.Recovered, ledger.Stopped, ledger.Quarantined, ledger.Unquarantined}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			clock.SetTime(clock.Now().Add(time.Duration(rapid.IntRange(0, 20*24).Draw(rt, "hours")) * time.Hour))
			n := rapid.IntRange(1, 4).Draw(rt, "loan")
			kind := rapid.SampledFrom(kinds).Draw(rt, "kind")
			e := lend(n)
			if kind != ledger.LendIntent && kind != ledger.Recovered {
				e = later(kind, n)
			}
			e.Kind = kind
			_, errSet := set.Append(e)
			_, errOne := one.Append(e)
			if (errSet == nil) != (errOne == nil) || !sameKindOfError(errSet, errOne) {
				rt.Fatalf("%s of loan %d: %v, and in one file %v", kind, n, errSet, errOne)
			}
		}
		same(rt, set, one)
		if report, err := set.Verify(); err != nil || !report.OK() {
			rt.Fatalf("%v\n%s", err, report)
		}
	})
}

func sameKindOfError(a, b error) bool {
	for _, kind := range []error{ledger.ErrTransition, ledger.ErrOpenLoan, ledger.ErrOpReused, ledger.ErrInvalid} {
		if errors.Is(a, kind) != errors.Is(b, kind) {
			return false
		}
	}
	return true
}

func same(t *rapid.T, set *Set, one *ledger.Ledger) {
	if diff := cmp.Diff(one.Balances(), set.Balances(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("balances (-one +set):\n%s", diff)
	}
	open := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(ledger.OpenLoan{}), cmpopts.IgnoreFields(ledger.OpenLoan{}, "FirstSeq", "LastSeq", "StartSeq")}
	if diff := cmp.Diff(one.OpenLoans(), set.OpenLoans(), open); diff != "" {
		t.Fatalf("open loans (-one +set):\n%s", diff)
	}
	for month := october; month.Before(october.AddDate(3, 0, 0)); month = month.AddDate(0, 1, 0) {
		for _, tenant := range []string{"research", "serving"} {
			want, err := one.Totals(month.Format(monthForm), tenant)
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.Totals(month.Format(monthForm), tenant)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s of %s (-one +set):\n%s", month.Format(monthForm), tenant, diff)
			}
		}
	}
	var want []string
	for from := uint64(1); ; {
		page, err := one.Read(from, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			want = append(want, fmt.Sprintf("%s %s %s", e.Kind, e.Loan, e.Time))
		}
		from = page[len(page)-1].Seq + 1
	}
	var got []string
	var exported bytes.Buffer
	if _, err := set.Export(&exported, 1); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(exported.String()) {
		var e ledger.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case ledger.Checkpoint, ledger.SegmentStart, ledger.Carried:
		default:
			got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Loan, e.Time))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("entries (-one +set):\n%s", diff)
	}
}

// Whoever takes the records of all files, in whatever pages, has the same files.
func TestRawMakesTheSameFiles(t *testing.T) {
	d := twoMonths(t, Options{Signer: newSigner(t)})
	d.pass(31 * 24 * time.Hour)
	d.must(t, later(ledger.Released, 2), later(ledger.Released, 3))
	identity, err := d.Identity()
	if err != nil {
		t.Fatal(err)
	}
	head, hash := d.Head()
	for limit := 1; limit <= 9; limit++ {
		path := filepath.Join(t.TempDir(), "ledger.db")
		if err := ledger.Begin(path, identity); err != nil {
			t.Fatal(err)
		}
		copied, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var all [][]byte
		for from := uint64(1); ; {
			page, err := d.Raw(from, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			if limit < 9 {
				// Some come twice.
				for _, records := range [][][]byte{page, page[:1]} {
					if err := copied.AppendRaw(records); err != nil {
						t.Fatalf("pages of %d, from %d: %v", limit, from, err)
					}
				}
			}
			all = append(all, page...)
			from += uint64(len(page))
		}
		if limit == 9 { // all at once
			if err := copied.AppendRaw(all); err != nil {
				t.Fatal(err)
			}
		}
		if seq, sum := copied.Head(); seq != head || sum != hash {
			t.Errorf("pages of %d: the copy ends with %d %s, want %d %s", limit, seq, sum, head, hash)
		}
		mine := &desk{path: path}
		if got, want := mine.names(t), "ledger-202610.db 400\nledger-202611.db 400\nledger.db 600\n"; got != want {
			t.Errorf("files are\n%s", got)
		}
		if report, err := copied.Verify(); err != nil || !report.OK() {
			t.Errorf("%v\n%s", err, report)
		}
		if err := copied.AppendRaw(all[4:]); err != nil {
			t.Errorf("all of it again: %v", err)
		}
		if err := copied.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Records of another history are refused, also where a file begins.
func TestRawOfAnotherHistory(t *testing.T) {
	d := twoMonths(t, Options{})
	identity, err := d.Identity()
	if err != nil {
		t.Fatal(err)
	}
	records := func(from uint64) [][]byte {
		page, err := d.Raw(from, 0)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	first := records(1)
	second := records(uint64(len(first)) + 1)
	for name, tc := range map[string]struct {
		records [][]byte
		want    error
	}{
		"a hole":                   {append(slices.Clone(first[:3]), first[4]), ledger.ErrHole},
		"a file begins too early":  {append(slices.Clone(first[:3]), second[0]), ledger.ErrHole},
		"without its end":          {append(slices.Clone(first[:len(first)-1]), second...), ledger.ErrHole},
		"a damaged record":         {[][]byte{append(slices.Clone(first[0]), 1)}, ledger.ErrCorrupt},
		"what is carried is wrong": {append(append(slices.Clone(first), second[0]), second[2]), ledger.ErrDiverged},
	} {
		path := filepath.Join(t.TempDir(), "ledger.db")
		if err := ledger.Begin(path, identity); err != nil {
			t.Fatal(err)
		}
		copied, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "what is carried is wrong" {
			// The copy's own turn gives all that is carried; a record that says otherwise has
			// the right number and another content.
			tc.records[len(tc.records)-1] = renumbered(t, tc.records[len(tc.records)-1], second[1])
		}
		if err := copied.AppendRaw(tc.records); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err := copied.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Reading goes on while months pass.
func TestReadersWhileTurning(t *testing.T) {
	d := newDesk(t, Options{})
	d.must(t, lend(1), later(ledger.LendGranted, 1))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := d.ByLoan("research/loan-1"); err != nil {
					t.Error(err)
				}
				if report, err := d.Verify(); err != nil || !report.OK() {
					t.Error(err, report)
				}
			}
		})
	}
	for n := range 6 {
		d.pass(31 * 24 * time.Hour)
		e := later(ledger.Stopped, 1)
		e.OpID = fmt.Sprint("stop ", n)
		d.must(t, e)
	}
	close(stop)
	readers.Wait()
	if len(d.files) != 7 {
		t.Errorf("%d files", len(d.files))
	}
}
