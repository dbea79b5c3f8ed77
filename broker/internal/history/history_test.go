package history_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

const halfLife = 24 * time.Hour

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// book is a ledger in memory.
type book []ledger.Entry

func (b *book) add(at time.Time, kind ledger.Kind, loan string, grants ...ledger.Grant) {
	e := ledger.Entry{Seq: uint64(len(*b) + 1), Time: at, Kind: kind, Loan: loan, Borrower: "research", Grants: grants}
	if kind == ledger.LendIntent || kind == ledger.Recovered {
		e.Payload, _ = json.Marshal(history.Opening{Queue: "research/default"})
	}
	*b = append(*b, e)
}

// lend adds a whole loan; one that ends at the zero time does not end.
func (b *book) lend(loan string, from, to time.Time, grants ...ledger.Grant) {
	b.add(from, ledger.LendIntent, loan, grants...)
	b.add(from, ledger.LendGranted, loan, grants...)
	if !to.IsZero() {
		b.add(to, ledger.Released, loan, grants...)
	}
}

func (b book) Read(from uint64, limit int) ([]ledger.Entry, error) {
	rest := b[min(int(from)-1, len(b)):]
	return rest[:min(limit, len(rest))], nil
}

func follow(t *testing.T, b book) *history.History {
	t.Helper()
	h := history.New(halfLife)
	if err := h.Follow(b); err != nil {
		t.Fatal(err)
	}
	return h
}

func lent(n int64) ledger.Grant {
	return ledger.Grant{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: n}
}

func own(n int64) ledger.Grant { return ledger.Grant{Node: "gpu-0", Flavor: "h100", Count: n} }

func ofCohort(n int64) ledger.Grant {
	return ledger.Grant{Lender: "cohort:lab", Node: "gpu-0", Flavor: "h100", Count: n}
}

func total(h *history.History, at time.Time) int64 {
	var sum int64
	for _, b := range h.Borrowed(at) {
		sum += b.Milli
	}
	return sum
}

// TestHalfLife: what was held for ever counts in full, and for half after each
// half-life; what is held now for one half-life counts for half.
func TestHalfLife(t *testing.T) {
	end := start.Add(100 * halfLife)
	var past book
	past.lend("a", start, end, lent(8), own(3))
	h := follow(t, past)
	for n, want := range map[int]int64{0: 8000, 1: 4000, 2: 2000, 3: 1000, 10: 7} {
		if got := total(h, end.Add(time.Duration(n)*halfLife)); got != want && got != want-1 {
			t.Errorf("after %d half-lives: %d, want %d", n, got, want)
		}
	}
	if got := h.Borrowed(end.Add(50 * halfLife)); got != nil {
		t.Errorf("never forgotten: %v", got)
	}
	var now book
	now.lend("a", start, time.Time{}, lent(8))
	h = follow(t, now)
	for n, want := range map[int]int64{0: 0, 1: 4000, 2: 6000, 3: 7000, 60: 8000} {
		if got := total(h, start.Add(time.Duration(n)*halfLife)); got != want && got != want-1 {
			t.Errorf("held for %d half-lives: %d, want %d", n, got, want)
		}
	}
}

// TestWhoAndWhere: lenders' namespaces are kept apart, the own quota is not
// borrowed, and a queue uses all of it.
func TestWhoAndWhere(t *testing.T) {
	var b book
	b.lend("a", start, time.Time{}, lent(4), own(2), ofCohort(1))
	b.add(start, ledger.LendIntent, "b", lent(64)) // never took effect
	b.lend("c", start, time.Time{}, lent(2))
	b.add(start, ledger.LendIntent, "d", lent(64))
	b.add(start, ledger.LendAborted, "d", lent(64))
	h := follow(t, b)
	at := start.Add(60 * halfLife)
	want := []history.Borrowed{
		{history.Borrowing{Tenant: "research", Flavor: "h100"}, 1000},
		{history.Borrowing{Tenant: "research", Flavor: "h100", Namespace: "serving"}, 6000},
	}
	got := h.Borrowed(at)
	for i := range got {
		got[i].Milli = (got[i].Milli + 5) / 10 * 10
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("borrowed (-want +got):\n%s", diff)
	}
	if used := h.Used(at)["research/default"]; used < 8999 || used > 9000 {
		t.Errorf("the queue used %d", used)
	}
}

// random is a ledger of overlapping loans.
func random(r *rand.Rand, loans int) book {
	var b book
	for i := range loans {
		from := start.Add(time.Duration(r.Int64N(int64(10 * halfLife))))
		to := from.Add(time.Duration(r.Int64N(int64(3 * halfLife))))
		if r.IntN(4) == 0 {
			to = time.Time{}
		}
		b.lend(fmt.Sprint(i), from, to, lent(1+r.Int64N(64)), ofCohort(1+r.Int64N(8)))
	}
	return b
}

// TestOrder: neither the order of the loans, nor who asked in between, nor a
// restart changes a number.
func TestOrder(t *testing.T) {
	for seed := range uint64(50) {
		b := random(rand.New(rand.NewPCG(seed, 1)), 40)
		at := start.Add(14 * halfLife)
		restarted := follow(t, b)

		asked := history.New(halfLife)
		for n := range b {
			if err := asked.Follow(b[:n]); err != nil {
				t.Fatal(err)
			}
			asked.Borrowed(start.Add(time.Duration(n) * time.Hour))
			asked.Freed(start.Add(time.Duration(n) * time.Hour))
		}
		if err := asked.Follow(b); err != nil {
			t.Fatal(err)
		}
		var shuffled book
		for _, i := range rand.New(rand.NewPCG(seed, 2)).Perm(len(b)) {
			shuffled = append(shuffled, b[i])
		}
		rank := map[ledger.Kind]int{ledger.LendIntent: 0, ledger.LendGranted: 1, ledger.Released: 2}
		var ordered book // intents, grants and ends, each in another order
		for want := range 3 {
			for _, e := range shuffled {
				if rank[e.Kind] == want {
					e.Seq = uint64(len(ordered) + 1)
					ordered = append(ordered, e)
				}
			}
		}
		for name, other := range map[string]*history.History{"asked in between": asked, "in another order": follow(t, ordered)} {
			if diff := cmp.Diff(restarted.Borrowed(at), other.Borrowed(at)); diff != "" {
				t.Errorf("seed %d, %s:\n%s", seed, name, diff)
			}
			if diff := cmp.Diff(restarted.Used(at), other.Used(at)); diff != "" {
				t.Errorf("seed %d, %s, queues:\n%s", seed, name, diff)
			}
		}
	}
}

// TestFormula compares with the definition, the integral of units over the past
// times 2^(-age/halfLife), in floating point.
func TestFormula(t *testing.T) {
	for seed := range uint64(20) {
		b := random(rand.New(rand.NewPCG(seed, 3)), 10)
		at := start.Add(13*halfLife + 7*time.Hour)
		power := func(t time.Time) float64 { return math.Exp2(-at.Sub(t).Hours() / halfLife.Hours()) }
		ends := map[string]time.Time{}
		for _, e := range b {
			if e.Kind == ledger.Released {
				ends[e.Loan] = e.Time
			}
		}
		want := 0.0
		for _, e := range b {
			if e.Kind != ledger.LendGranted {
				continue
			}
			to, ended := ends[e.Loan]
			if !ended {
				to = at
			}
			for _, g := range e.Grants {
				want += 1000 * float64(g.Count) * (power(to) - power(e.Time))
			}
		}
		if got := total(follow(t, b), at); math.Abs(float64(got)-want) > 2 {
			t.Errorf("seed %d: got %d, want %.3f", seed, got, want)
		}
	}
}

// TestSplit: two loans on end are as one.
func TestSplit(t *testing.T) {
	var whole, parts book
	mid, end := start.Add(31*time.Hour), start.Add(77*time.Hour)
	whole.lend("a", start, end, lent(7))
	parts.lend("a", start, mid, lent(7))
	parts.lend("b", mid, end, lent(7))
	at := end.Add(5 * time.Hour)
	if a, b := total(follow(t, whole), at), total(follow(t, parts), at); a-b > 1 || b-a > 1 {
		t.Errorf("whole %d, in parts %d", a, b)
	}
}

// TestShed: what an elastic loan gives back early counts as if it had been a loan of
// its own.
func TestShed(t *testing.T) {
	end := start.Add(10 * time.Hour)
	var elastic, two book
	elastic.add(start, ledger.LendIntent, "a", lent(8), own(2))
	elastic.add(start, ledger.LendGranted, "a", lent(8), own(2))
	elastic.add(start.Add(4*time.Hour), ledger.Shed, "a", lent(5), own(2))
	elastic.add(end, ledger.Released, "a", lent(5), own(2))
	two.lend("a", start, end, lent(5), own(2))
	two.lend("b", start, start.Add(4*time.Hour), lent(3))
	got, want := follow(t, elastic), follow(t, two)
	if diff := cmp.Diff(want.Borrowed(end), got.Borrowed(end)); diff != "" {
		t.Errorf("borrowed (-two loans +shed):\n%s", diff)
	}
	if diff := cmp.Diff(want.Used(end), got.Used(end)); diff != "" {
		t.Errorf("used (-two loans +shed):\n%s", diff)
	}
	if got := follow(t, elastic[:3]).Freed(start.Add(4*time.Hour + time.Minute))["h100"]; got != 3 {
		t.Errorf("%d units came free, want 3", got)
	}
}

func TestFreed(t *testing.T) {
	var b book
	b.lend("old", start, start.Add(time.Hour), lent(64))
	b.lend("a", start, start.Add(3*time.Hour), lent(8), own(2))
	b.lend("b", start, start.Add(3*time.Hour+30*time.Minute), own(4))
	b.lend("runs", start, time.Time{}, lent(16))
	for _, h := range []*history.History{follow(t, b), history.New(0)} {
		if err := h.Follow(b); err != nil {
			t.Fatal(err)
		}
		for after, want := range map[time.Duration]int64{3*time.Hour + 45*time.Minute: 14, 4*time.Hour + 15*time.Minute: 4} {
			if got := h.Freed(start.Add(after))["h100"]; got != want {
				t.Errorf("after %s: %d units, want %d", after, got, want)
			}
		}
	}
	if h := history.New(0); h.Borrowed(start) != nil || h.Used(start) != nil {
		t.Error("a history that is off remembers")
	}
	var off *history.History
	if off.Borrowed(start) != nil || off.Used(start) != nil || off.Freed(start) != nil || off.Follow(b) != nil {
		t.Error("no history is not a history")
	}
}

// TestQuarantineIsNobodysUse: from then on a tenant's share does not grow, and its end gives
// units back once.
func TestQuarantineIsNobodysUse(t *testing.T) {
	var stuck, ended book
	for _, b := range []*book{&stuck, &ended} {
		b.add(start, ledger.LendIntent, "a", lent(4))
		b.add(start, ledger.LendGranted, "a", lent(4))
	}
	stuck.add(start.Add(time.Hour), ledger.Quarantined, "a", lent(4))
	ended.add(start.Add(time.Hour), ledger.ReclaimDone, "a", lent(4))
	at := start.Add(3 * time.Hour)
	if got, want := total(follow(t, stuck), at), total(follow(t, ended), at); got != want || want == 0 {
		t.Errorf("a loan in quarantine since an hour after it began counts %d, want %d as one that ended then", got, want)
	}
	stuck.add(at, ledger.Unquarantined, "a", lent(4))
	h := follow(t, stuck)
	if got, want := total(h, at), total(follow(t, ended), at); got != want {
		t.Errorf("after its end it counts %d, want %d", got, want)
	}
	if diff := cmp.Diff(map[string]int64{"h100": 4}, h.Freed(at)); diff != "" {
		t.Errorf("freed (-want +got):\n%s", diff)
	}
}
