package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// newLedger makes a ledger of three epochs.
func newLedger(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, op := range []string{"epoch-1", "epoch-2", "epoch-3"} {
		if _, err := l.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: op, Epoch: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// edit changes a ledger behind its back, and returns what it is then.
func edit(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = change(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func same(data []byte) []byte { return data }

func TestCheckAndExport(t *testing.T) {
	path := newLedger(t)
	if out, _, err := run("", "ledger", "check", path); err != nil || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "export", path); err != nil || strings.Count(out, `"kind":"EPOCH_START"`) != 3 {
		t.Errorf("export: %v\n%s", err, out)
	}
	edit(t, path, func(data []byte) []byte { return data[:len(data)/2] })
	out, _, err := run("", "ledger", "check", path)
	if err == nil || !strings.Contains(out, "restore a copy") {
		t.Errorf("check of half a file: %v\n%s", err, out)
	}
}

func TestLedgerCommandsMakeNoLedger(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.db")
	for _, args := range [][]string{{"check"}, {"export"}, {"backup", missing + ".copy"}, {"reindex"}, {"recover", "--known=0"}} {
		args = append([]string{"ledger", args[0], missing}, args[1:]...)
		if _, _, err := run("", args...); err == nil {
			t.Errorf("%v: want an error", args)
		}
		if left, err := filepath.Glob(missing + "*"); err != nil || len(left) > 0 {
			t.Errorf("%v made %v", args, left)
		}
	}
}

func TestBackup(t *testing.T) {
	path := newLedger(t)
	dest := filepath.Join(t.TempDir(), "copy.db")
	out, _, err := run("", "ledger", "backup", path, dest)
	if err != nil || !strings.Contains(out, dest) || !strings.Contains(out, "head 3,") {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	want, _, _ := run("", "ledger", "export", path)
	if got, _, err := run("", "ledger", "export", dest); err != nil || got != want {
		t.Errorf("the copy exports %v\n%s\nnot\n%s", err, got, want)
	}
	before := edit(t, dest, same)
	if _, _, err := run("", "ledger", "backup", path, dest); err == nil || edit(t, dest, same) != before {
		t.Errorf("a second backup to the same place: %v", err)
	}
}

func TestReindex(t *testing.T) {
	path := newLedger(t)
	want, _, _ := run("", "ledger", "export", path)
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("by_op")) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// The check's advice is the command that helps.
	out, _, err := run("", "ledger", "check", path)
	if err == nil || !strings.Contains(out, `run "ebbtide-broker ledger reindex FILE"`) {
		t.Errorf("check: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "reindex", path); err != nil || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("reindex: %v\n%s", err, out)
	}
	if got, _, err := run("", "ledger", "export", path); err != nil || got != want {
		t.Errorf("afterwards: %v\n%s\nnot\n%s", err, got, want)
	}
}

func TestRecover(t *testing.T) {
	path := newLedger(t)
	if _, _, err := run("", "ledger", "recover", path, "--known=3"); err == nil || !strings.Contains(err.Error(), "nothing to recover") {
		t.Errorf("recover of a sound file: %v", err)
	}
	// Creation and three entries are transactions 2 to 5 (bbolt's own are 0 and 1),
	// and the second header page has the odd ones.
	broken := edit(t, path, func(data []byte) []byte {
		data[os.Getpagesize()+40] ^= 1
		return data
	})
	out, _, err := run("", "ledger", "check", path)
	if err == nil || !strings.Contains(out, `"ebbtide-broker ledger recover FILE --known SEQ"`) {
		t.Errorf("check: %v\n%s", err, out)
	}
	if _, _, err := run("", "ledger", "recover", path); err == nil || !strings.Contains(err.Error(), "known") {
		t.Errorf("recover without --known: %v", err)
	}
	if _, _, err := run("", "ledger", "recover", path, "--known=3"); err == nil || !strings.Contains(err.Error(), "entry 3 is known elsewhere") {
		t.Errorf("recover with the lost entry known: %v", err)
	}
	if edit(t, path, same) != broken {
		t.Error("a refused file was changed")
	}
	out, _, err = run("", "ledger", "recover", path, "--known=2")
	if err != nil || !strings.HasSuffix(out, "ok\ngiven up: entry 3, if there was one\n") {
		t.Errorf("recover: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "check", path); err != nil || !strings.Contains(out, "head 2,") {
		t.Errorf("check afterwards: %v\n%s", err, out)
	}
}
