package books_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// The kinds by their numbers: a release from before them refuses to write them.
const (
	kindCheckpoint    ledger.Kind = 23
	kindQuarantined   ledger.Kind = 26
	kindUnquarantined ledger.Kind = 27
)

// apart writes loans whose time is not all the borrower's, over the end of a month, with the
// tenants of their lenders, and corrections.
func apart(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(e ledger.Entry) ledger.Entry {
		t.Helper()
		out, err := l.Append(e)
		if errors.Is(err, ledger.ErrInvalid) && e.Kind > ledger.ReshapeFailed {
			t.Skipf("this release does not write kind %d: %v", e.Kind, err)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", e.Kind, e.OpID, err)
		}
		return out
	}
	const month = 40 * 24 * 3600
	for n := 1; n <= 8; n++ {
		first := loan(n)
		first.Payload = json.RawMessage(`{"lenders":{"serving/chat":"serving","serving/embed":"research"}}`)
		must(first)
		must(later(ledger.LendGranted, n, 1))
		end := later(ledger.Lost, n, month)
		heard := began.Add((month - 1000) * time.Second).Format(time.RFC3339Nano)
		switch n % 4 {
		case 0:
			must(later(kindQuarantined, n, 500))
			end = later(kindUnquarantined, n, month)
		case 1:
			end.Payload = json.RawMessage(fmt.Sprintf(`{"lastHeard":%q}`, heard))
		case 2:
			must(later(kindQuarantined, n, 500))
			end.Payload = json.RawMessage(fmt.Sprintf(`{"lastHeard":%q}`, heard))
		case 3:
			less := later(ledger.ShedLost, n, month/2)
			less.Grants = []ledger.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 2}}
			less.Payload = json.RawMessage(fmt.Sprintf(`{"lastHeard":%q}`, began.Format(time.RFC3339Nano)))
			must(less)
		}
		must(end)
	}
	head := must(ledger.Entry{
		Kind: ledger.Correction, OpID: "correct", Epoch: 3, Corrects: 2, Message: "the node was gone earlier", Time: began.Add(month * time.Second),
		Payload: json.RawMessage(`{"actor":"ada","postings":[{"account":"borrower/research","flavor":"h100","unitMS":7},` +
			`{"account":"lost","flavor":"h100","unitMS":-4,"tenant":"research"},{"account":"lender/serving/chat","flavor":"h100","unitMS":-3,"tenant":"serving"}]}`),
	})
	must(ledger.Entry{
		Kind: kindCheckpoint, OpID: "check", Epoch: 3,
		Payload: json.RawMessage(fmt.Sprintf(`{"seq":%d,"hash":%q}`, head.Seq, head.Hash)),
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Time that is not the borrower's goes to accounts of its own, and both agree on all of them.
func TestQuarantineAndLost(t *testing.T) {
	path := apart(t)
	report, err := ledger.Check(path)
	if err != nil || !report.OK() {
		t.Fatalf("the product refuses its own file: %v, %v", err, report)
	}
	f := books.Judge(read(t, path))
	if !f.Sound() {
		t.Fatalf("verdicts on a sound file: %v", f.Verdicts)
	}
	sameBalances(t, f, report)
	for _, side := range []string{"quarantine", "lost"} {
		if f.Balances[books.Account{Side: side, Flavor: "h100"}] >= 0 {
			t.Errorf("the account %s has nothing: %v", side, f.Balances)
		}
	}
}

// What a month's statement reads, and what a correction posts, is judged too.
func TestForgeriesOfMonths(t *testing.T) {
	path := apart(t)
	f := edit(t, path, func(tx *bolt.Tx) error {
		k, v := tx.Bucket([]byte("month")).Cursor().First()
		v = bytes.Clone(v)
		v[len(v)-1] += 2
		return tx.Bucket([]byte("month")).Put(bytes.Clone(k), v)
	})
	if !has(f, books.Derived, 0) {
		t.Errorf("a month's row is changed: %v", f.Verdicts)
	}
	last := books.Judge(read(t, path)).Head
	for name, forge := range map[string]struct {
		law      books.Law
		seq      uint64
		old, new string
	}{
		"postings that do not add up":      {books.Balances, last - 1, `"unitMS":7`, `"unitMS":8`},
		"a checkpoint of another head":     {books.Head, last, `{"seq":`, `{"seq":1`},
		"an account that owns all of it":   {books.Balances, last - 1, `"flavor":"h100"`, `"flavor":"a100"`},
		"a payload that is not to be read": {books.Form, last - 1, `"postings":[`, `"postings":{`},
	} {
		t.Run(name, func(t *testing.T) {
			f := edit(t, path, func(tx *bolt.Tx) error { return replacePayload(tx, forge.seq, forge.old, forge.new) })
			if !has(f, forge.law, forge.seq) {
				t.Errorf("no verdict %q on %d, only %v", forge.law, forge.seq, f.Verdicts)
			}
		})
	}
}
