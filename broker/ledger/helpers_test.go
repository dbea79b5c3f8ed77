package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

// openAt opens a ledger and closes it at the end of the test.
func openAt(t testing.TB, path string, opts Options) *Ledger {
	t.Helper()
	l, err := Open(path, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func tempPath(t testing.TB) string { return filepath.Join(t.TempDir(), "ledger.db") }

func mustAppend(t testing.TB, l *Ledger, e Entry) Entry {
	t.Helper()
	out, err := l.Append(e)
	if err != nil {
		t.Fatalf("Append %s %s: %v", e.Kind, e.Loan, err)
	}
	return out
}

func mustClose(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// lent is an entry that opens a loan of 8 GPUs on two nodes, 3 of them the
// borrower's own.
func lent(kind Kind, n int) Entry {
	return Entry{
		Kind: kind, OpID: fmt.Sprintf("op-%d", n), Epoch: 1, BootID: "boot", MonoNS: int64(n) * int64(time.Second),
		Time: t0.Add(time.Duration(n) * time.Second),
		Loan: fmt.Sprintf("research/loan-%d", n), Job: fmt.Sprintf("research/job-%d", n), JobUID: fmt.Sprintf("uid-%d", n),
		Borrower: "research",
		Grants: []Grant{
			{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4},
			{Lender: "serving/embed", Node: "gpu-2", Flavor: "h100", Count: 1},
			{Node: "gpu-2", Flavor: "h100", Count: 3},
		},
		Reason: "BelowLowWater", Message: "chat at 20% (< 30%) for 5m0s",
		Signals: []Value{{"load", 0.2}, {"waiting", 0}},
		Payload: []byte(`{"owed":[{"pods":1,"unitsPerPod":8}]}`),
	}
}

// follow is a later entry of the loan that lent(…, n) opened, after more seconds.
func follow(kind Kind, n, after int) Entry {
	return Entry{
		Kind: kind, OpID: fmt.Sprintf("op-%d-%s", n, kind), Epoch: 1, BootID: "boot",
		MonoNS: int64(n+after) * int64(time.Second), Time: t0.Add(time.Duration(n+after) * time.Second),
		Loan: fmt.Sprintf("research/loan-%d", n),
	}
}

// fill writes loans in all states: four entries for each n divisible by 3, two
// or three for the others.
func fill(t testing.TB, l *Ledger, loans int) {
	t.Helper()
	mustAppend(t, l, Entry{Kind: EpochStart, OpID: "start", Epoch: 1, Time: t0})
	for n := 1; n <= loans; n++ {
		mustAppend(t, l, lent(LendIntent, n))
		mustAppend(t, l, follow(LendGranted, n, 1))
		switch n % 3 {
		case 0:
			reclaim := follow(ReclaimIntent, n, 60)
			reclaim.ReclaimID = "r-" + fmt.Sprint(n/6)
			mustAppend(t, l, reclaim)
			mustAppend(t, l, follow(ReclaimDone, n, 90))
		case 1:
			mustAppend(t, l, follow(Preempted, n, 45))
		}
	}
}

// filled returns the bytes of a closed ledger of some loans.
func filled(t testing.TB, loans int) (path string, data []byte) {
	t.Helper()
	path = tempPath(t)
	l := openAt(t, path, Options{})
	fill(t, l, loans)
	mustClose(t, l)
	return path, readFile(t, path)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// allEntries reads the whole log in small pages.
func allEntries(t testing.TB, l *Ledger) []Entry {
	t.Helper()
	var all []Entry
	for from := uint64(0); ; {
		page, err := l.Read(from, 7)
		if err != nil {
			t.Fatalf("Read from %d: %v", from, err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		from = page[len(page)-1].Seq + 1
	}
}

func exampleDir() (dir string, cleanup func()) {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// balances of all accounts, in order.
func balances(l *Ledger) []Balance {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.sortedBalances()
}
