package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// TestEveryEntryIsReachable: following next from page to page gives all entries
// once, also where a page is full at the greatest limit, or cut short because its
// entries are large.
func TestEveryEntryIsReachable(t *testing.T) {
	for name, test := range map[string]struct {
		loans   int
		message int // bytes
		limit   string
		pages   int
	}{
		"the greatest limit": {loans: 505, limit: "1000", pages: 2},
		"exactly a page":     {loans: 10, limit: "20", pages: 1},
		"one each":           {loans: 3, limit: "1", pages: 6},
		"large entries":      {loans: 300, message: 32 << 10, limit: "1000", pages: 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLedger(t, nil)
			lendAndReturn(t, l, test.loans, test.message)
			want := 2 * test.loans
			for filter, all := range map[string]int{"tenant=research&": want, "": want + 1} {
				seen, pages := map[any]bool{}, 0
				for from := 1.0; from != 0; pages++ {
					status, body, _ := get(t, &fixture{ledger: l}, fmt.Sprintf("/ledger?%sfrom=%.0f&limit=%s", filter, from, test.limit))
					if status != http.StatusOK {
						t.Fatalf("status %d", status)
					}
					for _, seq := range strings.Fields(column(body, "entries", "seq")) {
						if seen[seq] {
							t.Errorf("entry %s comes twice", seq)
						}
						seen[seq] = true
					}
					from, _ = body["next"].(float64)
				}
				if len(seen) != all || (filter != "" && pages != test.pages) {
					t.Errorf("%q: %d entries on %d pages, want %d on %d", filter, len(seen), pages, all, test.pages)
				}
			}
		})
	}
}

// TestReclaims: each is told once and as a whole, however its entries are spread over
// pages.
func TestReclaims(t *testing.T) {
	l := openLedger(t, nil)
	add := func(kind ledger.Kind, loan string) {
		e := ledger.Entry{Kind: kind, OpID: loan, Epoch: 1, Loan: loan}
		if kind == ledger.Recovered {
			e.Job, e.JobUID, e.Borrower = loan, loan, strings.Split(loan, "/")[0]
			e.Grants = []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}}
		}
		if kind == ledger.ReclaimIntent {
			e.ReclaimID = "r-1"
		}
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	loans := []string{"a/x-1", "b/x-1", "a/y-1", "b/y-1", "a/z-1"}
	for _, kind := range []ledger.Kind{ledger.Recovered, ledger.ReclaimIntent, ledger.Stopped, ledger.ReclaimDone} {
		for _, loan := range loans {
			if kind != ledger.ReclaimDone || loan != "b/y-1" { // one is not over
				add(kind, loan)
			}
		}
	}
	ask := func(query string) (loans, ends string, next float64) {
		t.Helper()
		status, body, _ := get(t, &fixture{ledger: l}, "/ledger/reclaims?"+query)
		if status != http.StatusOK {
			t.Fatalf("%s: status %d", query, status)
		}
		next, _ = body["next"].(float64)
		return column(body, "reclaims", "loan"), column(body, "reclaims", "end"), next
	}
	for _, limit := range []int{1, 2, 3, 7, 19, 100} {
		var loansSeen, ends []string
		pages := 0
		for from := 1.0; from != 0; pages++ {
			var seen, how string
			seen, how, from = ask(fmt.Sprintf("from=%.0f&limit=%d", from, limit))
			loansSeen, ends = append(loansSeen, strings.Fields(seen)...), append(ends, strings.Fields(how)...)
		}
		if got := strings.Join(loansSeen, " "); got != strings.Join(loans, " ") {
			t.Errorf("by %d: reclaims of %s", limit, got)
		}
		if n := strings.Count(strings.Join(ends, " "), "RECLAIM_DONE"); n != 4 {
			t.Errorf("by %d: %d of them are over, want 4 (%v)", limit, n, ends)
		}
		if want := (19 + limit - 1) / limit; pages != want {
			t.Errorf("by %d: %d pages, want %d", limit, pages, want)
		}
	}
	if loans, _, _ := ask("tenant=b"); loans != "b/x-1 b/y-1" {
		t.Errorf("of tenant b: %q", loans)
	}
	if loans, _, _ := ask("loan=a/y-1"); loans != "a/y-1" {
		t.Errorf("of loan a/y-1: %q", loans)
	}
	if status, _, _ := get(t, &fixture{ledger: l}, "/ledger/reclaims?limit=10001"); status != http.StatusBadRequest {
		t.Errorf("a limit above the greatest: status %d", status)
	}
}

func lendAndReturn(t *testing.T, l *ledger.Ledger, loans, message int) {
	t.Helper()
	add := func(e ledger.Entry) {
		e.Epoch = 1
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	add(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1"})
	for i := range loans {
		loan := fmt.Sprintf("research/x-%d", i)
		add(ledger.Entry{
			Kind: ledger.LendIntent, OpID: loan, Loan: loan, Job: loan, JobUID: loan, Borrower: "research",
			Message: strings.Repeat("m", message),
			Grants:  []ledger.Grant{{Lender: "serving/chat", Node: "gpu-0", Flavor: "h100", Count: 1}},
		})
		add(ledger.Entry{Kind: ledger.LendAborted, OpID: loan, Loan: loan})
	}
}
