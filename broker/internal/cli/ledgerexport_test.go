package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/ebbtide/ebbtide/broker/internal/cli/export"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// A file has all pages of an export, and nothing is left of one that fails.
func TestExportToAFile(t *testing.T) {
	l, _ := newLedger(t)
	server := newFakeAPIServer(t, &fakeBroker{ledger: l})
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.parquet")
	if _, stderr, code := invoke(t, server.URL, invocation{args: "ledger export --from 2 --format parquet --file " + path}); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	rows, err := parquet.ReadFile[export.Entry](path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := l.Read(2, 0)
	if err != nil || len(rows) != len(entries) {
		t.Fatalf("%d rows of %d entries (%v)", len(rows), len(entries), err)
	}
	for i := range rows {
		if rows[i].Seq != entries[i].Seq || rows[i].Hash != entries[i].Hash.String() {
			t.Errorf("row %d is entry %d with hash %s, want %d with %s", i, rows[i].Seq, rows[i].Hash, entries[i].Seq, entries[i].Hash)
		}
	}
	gone := newFakeAPIServer(t, nil)
	if _, _, code := invoke(t, gone.URL, invocation{args: "ledger export --format csv --file " + filepath.Join(dir, "no.csv")}); code != ExitError {
		t.Errorf("without a broker: exit %d", code)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the folder has %v (%v)", names, err)
	}
}

func TestShowTellsOfCorrections(t *testing.T) {
	l, _ := newLedger(t)
	about, err := l.ByLoan("research/resnet-1")
	if err != nil {
		t.Fatal(err)
	}
	postings := []ledger.Posting{
		{Account: ledger.Account{Side: ledger.BorrowerAccount, Name: "research"}, Flavor: "h100", UnitMS: 60_000},
		{Account: ledger.Account{Side: ledger.LostAccount}, Flavor: "h100", UnitMS: -60_000, Tenant: "research"},
	}
	e, err := ledger.Correct(&about[len(about)-1], "ada", "the node was gone earlier", postings, l.Balances())
	if err != nil {
		t.Fatal(err)
	}
	e.Epoch = 3
	if _, err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	server := newFakeAPIServer(t, &fakeBroker{ledger: l})
	want := "\n11 corrects 7: the node was gone earlier (ada: borrower/research +1m0s of a unit of h100, lost -1m0s of a unit of h100)\n"
	if out, stderr, code := invoke(t, server.URL, invocation{args: "ledger show resnet-1 -n research"}); code != ExitOK || !strings.Contains(out, want) {
		t.Errorf("exit %d %s\n%s\nwant %s", code, stderr, out, want)
	}
	if out, _, _ := invoke(t, server.URL, invocation{args: "ledger statement --tenant research"}); !strings.Contains(out, "Ended   3.983   4.000       0.017") {
		t.Errorf("the statement is\n%s", out)
	}
}
