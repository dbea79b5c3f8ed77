package gains

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/statement"
)

var start = time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC)

// book is a ledger with a clock of its own.
type book struct {
	*ledger.Ledger
	clock *clocktesting.FakePassiveClock
}

func newBook(t *testing.T) *book {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(start)
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &book{l, clock}
}

func (b *book) pass(d time.Duration) { b.clock.SetTime(b.clock.Now().Add(d)) }

// add is an entry about loan n, which is refused where it does not follow.
func (b *book) add(kind ledger.Kind, n int, change func(*ledger.Entry)) error {
	head, _ := b.Head()
	e := ledger.Entry{Kind: kind, OpID: fmt.Sprint(head), Epoch: 1, Loan: fmt.Sprintf("research/j-%d", n)}
	if kind == ledger.LendIntent {
		e.Job, e.JobUID, e.Borrower = e.Loan, e.Loan, "research"
		e.Payload = []byte(`{"lenders":{"serving/chat":"serving"}}`)
	}
	if change != nil {
		change(&e)
	}
	_, err := b.Append(e)
	return err
}

func having(counts ...int64) func(*ledger.Entry) {
	return func(e *ledger.Entry) {
		for i, n := range counts {
			lender := []string{"serving/chat", "", "cohort:lab"}[i]
			if n > 0 {
				e.Grants = append(e.Grants, ledger.Grant{Lender: lender, Node: fmt.Sprintf("gpu-%d", i), Flavor: []string{"h100", "h100", "a100"}[i], Count: n})
			}
		}
	}
}

func asked(id string, by time.Time) func(*ledger.Entry) {
	return func(e *ledger.Entry) {
		e.ReclaimID = id
		e.Payload, _ = json.Marshal(map[string]any{"reclaimBy": by, "shed": []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}})
	}
}

func (b *book) must(t *testing.T, kind ledger.Kind, n int, change func(*ledger.Entry)) {
	t.Helper()
	if err := b.add(kind, n, change); err != nil {
		t.Fatalf("%s of %d: %v", kind, n, err)
	}
}

// tally is what all entries come to since a time.
func (b *book) tally(t *testing.T, since time.Time) Gained {
	t.Helper()
	tally := New(since)
	for from := uint64(1); ; {
		entries, err := b.Read(from, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return tally.Gained(b.clock.Now())
		}
		for i := range entries {
			tally.Add(&entries[i])
			tally.Add(&entries[i]) // none counts twice
			from = entries[i].Seq + 1
		}
	}
}

const hour = statement.Hours(3_600_000)

func TestGained(t *testing.T) {
	b := newBook(t)
	b.must(t, ledger.LendIntent, 1, having(8, 3, 2)) // on loan for an hour, then asked back, and late
	b.must(t, ledger.LendIntent, 2, having(4))       // shrinks after two hours, and goes on
	b.must(t, ledger.LendIntent, 3, having(0, 5))    // its tenant's own quota
	b.pass(time.Minute)                              // which counts for nobody
	for n := range 3 {
		b.must(t, ledger.LendGranted, n+1, nil)
	}
	b.pass(time.Hour)
	deadline := b.clock.Now().Add(30 * time.Second)
	b.must(t, ledger.ReclaimIntent, 1, asked("r-1", deadline))
	b.must(t, ledger.ReclaimIntent, 3, asked("r-2", deadline))
	b.pass(40 * time.Second)
	b.must(t, ledger.Killed, 1, nil)
	b.must(t, ledger.ReclaimDone, 1, nil)
	b.must(t, ledger.ReclaimDone, 3, nil)
	between := b.clock.Now()
	b.pass(time.Hour - 40*time.Second)
	b.must(t, ledger.ShedIntent, 2, asked("r-3", b.clock.Now().Add(time.Minute)))
	b.pass(6 * time.Second)
	b.must(t, ledger.Shed, 2, having(3))
	b.pass(time.Hour - 6*time.Second)
	want := Gained{
		Since: start, Until: b.clock.Now(), Lent: 20*hour + 2*hour + 10*40*1000 + 6*1000 - 9*hour, Loans: 2, Reclaims: 2, Evictions: 1, Killed: 1, Late: 1,
		SlowestReturn: 40, SlowestBound: 30, SlowestLoan: "research/j-1",
		Flavors: []Flavor{{Flavor: "a100", Lent: 2*hour + 2*40*1000}, {Flavor: "h100", Lent: 8*hour + 8*40*1000 + 4*2*hour + 3*hour + 6*1000, Open: 3}},
	}
	want.Lent = want.Flavors[0].Lent + want.Flavors[1].Lent
	if diff := cmp.Diff(want, b.tally(t, start)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	late := Gained{
		Since: between, Until: b.clock.Now(), Reclaims: 1, SlowestReturn: 6, SlowestBound: 60, SlowestLoan: "research/j-2",
		Flavors: []Flavor{{Flavor: "h100", Lent: 4*2*hour + 3*hour + 6*1000 - 4*hour - 4*40*1000, Open: 3}},
	}
	late.Lent = late.Flavors[0].Lent
	if diff := cmp.Diff(late, b.tally(t, between)); diff != "" {
		t.Errorf("since then (-want +got):\n%s", diff)
	}
}

// Whatever happened, all that was lent is what the accounts say, and it does not matter when
// the counting began: what was before and what was after add up.
func TestGainedIsWhatTheAccountsSay(t *testing.T) {
	kinds := []ledger.Kind{
		ledger.LendIntent, ledger.LendIntent, ledger.LendGranted, ledger.LendGranted, ledger.Shed, ledger.ShedIntent, ledger.ReclaimIntent, ledger.Killed,
		ledger.ReclaimDone, ledger.Released, ledger.Preempted, ledger.Quarantined, ledger.Unquarantined, ledger.Lost, ledger.Stopped, ledger.LendAborted,
	}
	lent := statement.Hours(0)
	for seed := range uint64(20) {
		b, r := newBook(t), rand.New(rand.NewPCG(seed, 1))
		var middle time.Time
		for i := range 150 {
			if i == 75 {
				middle = b.clock.Now()
			}
			b.pass(time.Duration(r.IntN(90)) * time.Minute)
			kind := kinds[r.IntN(len(kinds))]
			var change func(*ledger.Entry)
			switch kind {
			case ledger.LendIntent, ledger.Shed:
				change = having(r.Int64N(6), r.Int64N(3), r.Int64N(3))
			case ledger.ReclaimIntent, ledger.ShedIntent:
				change = asked(fmt.Sprint("r-", i), b.clock.Now().Add(time.Hour))
			}
			_ = b.add(kind, r.IntN(12), change) // what does not follow is not written
		}
		want := b.accounts(t)
		all := b.tally(t, time.Time{})
		if all.Lent != want {
			t.Errorf("seed %d: %s hours, and the accounts say %s", seed, all.Lent, want)
		}
		before, after := b.until(t, middle), b.tally(t, middle)
		if before.Lent+after.Lent != all.Lent {
			t.Errorf("seed %d: %s before and %s after, of %s", seed, before.Lent, after.Lent, all.Lent)
		}
		lent += all.Lent
	}
	if lent == 0 {
		t.Error("nothing was lent")
	}
}

// accounts is what all tenants' services, and those of which the tenant is not known, have
// lent in all months by now.
func (b *book) accounts(t *testing.T) (sum statement.Hours) {
	t.Helper()
	seen := map[string]bool{}
	for day := start; !day.After(b.clock.Now().AddDate(0, 0, 1)); day = day.AddDate(0, 0, 1) {
		month := day.Format("2006-01")
		if seen[month] {
			continue
		}
		seen[month] = true
		for _, tenant := range []string{"", "serving"} {
			totals, err := b.Totals(month, tenant)
			if err != nil {
				t.Fatal(err)
			}
			for _, total := range totals {
				sum += statement.Hours(total.Lent.UnitMS + total.OpenLent.UnitMS)
			}
		}
	}
	return sum
}

// until is what the entries before a time come to at that time.
func (b *book) until(t *testing.T, end time.Time) Gained {
	t.Helper()
	tally := New(time.Time{})
	for from := uint64(1); ; from++ {
		entries, err := b.Read(from, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 || !entries[0].Time.Before(end) {
			return tally.Gained(end)
		}
		tally.Add(&entries[0])
	}
}
