package controller_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// lastMonth gives a broker that was never started a ledger that ends 40 days ago, and a key
// to sign the next checkpoint with.
func lastMonth(dir string) error {
	path := filepath.Join(dir, "ledger.db")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	private, _, err := sealtest.NewKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint.key"), private, 0o600); err != nil {
		return err
	}
	clock := clocktesting.NewFakePassiveClock(time.Now().AddDate(0, 0, -40))
	book, err := segments.Open(path, segments.Options{Options: ledger.Options{Clock: clock}})
	if err != nil {
		return err
	}
	_, err = book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-1", Epoch: 1})
	return errors.Join(err, book.Close())
}

// checkFiles: the broker has begun a file for this month, ended the one before with a signed
// checkpoint, and both are one ledger, to the product and to who reads it by other code.
func checkFiles(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := seal.NewSigner(text)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger.db")
	report, err := segments.Check(path, signer.Public())
	if err != nil || !report.OK() || len(report.Checkpoints) != 1 {
		t.Fatalf("%v\n%s", err, report)
	}
	names, err := segments.Files(path)
	if err != nil || len(names) != 2 {
		t.Fatalf("files %v, %v", names, err)
	}
	var files [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if f := books.JudgeFiles(files); !f.Sound() {
		t.Errorf("the witness says %v", f.Verdicts)
	}
}
