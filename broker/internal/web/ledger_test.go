package web

import (
	"fmt"
	"net/http"
	"path/filepath"
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
			l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}()
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
