package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// newFiles makes a ledger of three months, signed, and the public key's file.
func newFiles(t *testing.T) (path, public string) {
	t.Helper()
	dir := t.TempDir()
	private, written, err := sealtest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := seal.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	public = filepath.Join(dir, "public.pem")
	if err := os.WriteFile(public, written, 0o600); err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 8, 20, 0, 0, 0, 0, time.UTC))
	path = filepath.Join(dir, "ledger.db")
	book, err := segments.Open(path, segments.Options{Options: ledger.Options{Clock: clock}, Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	for epoch := range int64(3) {
		if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: clock.Now().String(), Epoch: epoch}); err != nil {
			t.Fatal(err)
		}
		clock.SetTime(clock.Now().AddDate(0, 1, 0))
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	return path, public
}

func TestFilesOfMonths(t *testing.T) {
	path, public := newFiles(t)
	old := segments.ArchiveName(path, "2026-08")
	_, other := newFiles(t)
	for _, test := range []struct {
		args []string
		want string // in the output; empty: it fails
	}{
		{[]string{"check", path}, "3 files, the oldest of which is ledger-202608.db"},
		{[]string{"check", path}, "compare it with yours, or give it with --public-key"},
		{[]string{"check", path, "--public-key", public}, "2 checkpoints, 2 of them signed"},
		{[]string{"check", path, "--public-key", other}, ""},
		{[]string{"check", path, "--public-key", path}, ""},
		{[]string{"check", path, "--quick"}, "ok"},
		{[]string{"check", old, "--public-key", public}, "1 checkpoints, 1 of them signed"},
		{[]string{"export", path}, `"seq":7,`},
		{[]string{"export", old}, `"kind":"CHECKPOINT"`},
		{[]string{"backup", old, old + ".copy"}, "head 2,"},
	} {
		out, _, err := run("", append([]string{"ledger"}, test.args...)...)
		if (err == nil) != (test.want != "") || !strings.Contains(out, test.want) {
			t.Errorf("%v: %v, want %q\n%s", test.args, err, test.want, out)
		}
	}
}

func TestPrune(t *testing.T) {
	path, _ := newFiles(t)
	if out, _, err := run("", "ledger", "prune", path, "--before", "2026-09", "--actor", "ada"); err != nil || !strings.Contains(out, "removed ledger-202608.db: entries 1 to 2") {
		t.Errorf("prune: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "prune", path, "--before", "2026-09"); err != nil || out != "nothing to remove\n" {
		t.Errorf("prune again: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "export", path); err != nil || !strings.Contains(out, "were removed by ada") || strings.Contains(out, `"seq":1,`) {
		t.Errorf("export: %v\n%s", err, out)
	}
	if out, _, err := run("", "ledger", "check", path); err != nil || !strings.Contains(out, "entries 1 to 2 are in older files that are not here") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if _, _, err := run("", "ledger", "prune", path, "--before", "September"); err == nil {
		t.Error("prune before no month")
	}
}

// Each page is read; damage in any file is found, without a word about what entries say.
func TestQuickCheck(t *testing.T) {
	path, _ := newFiles(t)
	for _, name := range []string{path, segments.ArchiveName(path, "2026-08")} {
		sound := edit(t, name, same)
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		edit(t, name, func(data []byte) []byte { return data[:len(data)/2] })
		out, _, err := run("", "ledger", "check", "--quick", path)
		if err == nil || !strings.Contains(out, "truncated") {
			t.Errorf("half of %s: %v\n%s", filepath.Base(name), err, out)
		}
		edit(t, name, func([]byte) []byte { return []byte(sound) })
	}
	if out, _, err := run("", "ledger", "check", "--quick", path); err != nil || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("check: %v\n%s", err, out)
	}
}
