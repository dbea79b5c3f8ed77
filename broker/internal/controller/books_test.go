package controller

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// What becomes of the process that reads the files first decides whether they are opened.
func TestLookInAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	look := func(script string) error {
		c := LedgerConfig{Path: path, CheckCommand: []string{"/bin/sh", "-c", script, "check"}}
		return c.look(t.Context())
	}
	if err := look("exit 1"); err != nil {
		t.Errorf("there is no file yet: %v", err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFAIL_HTTP", "127.0.0.1:1")
	for script, want := range map[string]string{
		`test "$1" = "` + path + `"`:     "",
		"test -z \"$GOFAIL_HTTP\"":       "",
		"echo page 7 is damaged; exit 1": "page 7 is damaged",
		"echo so far; kill -BUS $$":      "the disk cannot deliver a part of it",
		"kill -KILL $$":                  "was ended (signal: killed)",
	} {
		err := look(script)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
	if err := look("kill -BUS $$"); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("a page that cannot be read is no damage: %v", err)
	}
	c := LedgerConfig{Path: path, CheckCommand: []string{filepath.Join(t.TempDir(), "none")}}
	if err := c.look(t.Context()); err == nil {
		t.Error("nobody looked, and the files count as looked at")
	}
}

func TestSigningKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, _, err := sealtest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		file   string
		signer bool
		want   string
	}{
		"absent":  {"", false, ""},
		"a key":   {write("key.pem", private), true, ""},
		"no key":  {write("no.pem", []byte("x")), false, "is no PEM"},
		"no file": {filepath.Join(dir, "none"), false, "read ledger.signingKeyFile"},
	} {
		c := LedgerConfig{SigningKeyFile: tc.file}
		signer, err := c.signer()
		if (signer != nil) != tc.signer || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, %v; want %q", name, signer, err, tc.want)
		}
	}
}

// A ledger that is damaged while it is used is found within the hour, and nothing is lent
// from then on.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		book, err := segments.Open(path, segments.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer book.Close()
		if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		said := events.NewFakeRecorder(10)
		s := &scrub{
			book: book, namespace: "ebbtide-system", clock: clock.RealClock{}, events: said, log: logr.Discard(),
			shown: newScrubMetrics(prometheus.NewRegistry()),
		}
		mayLend := both(func() error { return nil }, s.mayLend)
		go s.run(t.Context())
		time.Sleep(scrubEvery + time.Second)
		synctest.Wait()
		if err := mayLend(); err != nil || testutil.ToFloat64(s.shown.checked) == 0 || testutil.ToFloat64(s.shown.faults) != 0 {
			t.Fatalf("a sound ledger: %v, checked %v", err, testutil.ToFloat64(s.shown.checked))
		}
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := strings.Replace(string(sound), "log", "lag", 1)
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(scrubEvery)
		synctest.Wait()
		if err := mayLend(); err == nil || !strings.Contains(err.Error(), "is not sound") {
			t.Errorf("a damaged ledger: %v", err)
		}
		if testutil.ToFloat64(s.shown.faults) == 0 || len(said.Events) != 1 {
			t.Errorf("%v faults are shown, and %d events", testutil.ToFloat64(s.shown.faults), len(said.Events))
		}
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(scrubEvery)
		synctest.Wait()
		if mayLend() == nil {
			t.Error("damage that is not seen any more is forgotten")
		}
	})
	if err := both(func() error { return errors.New("first") }, func() error { return errors.New("second") })(); err == nil || err.Error() != "first" {
		t.Errorf("of two reasons: %v", err)
	}
}

// A head that was published before the month ended is not missing after, and one that is
// missing is missed in whatever file it would be.
func TestPublishedHeadOfTheMonthBefore(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC))
	book, err := segments.Open(filepath.Join(t.TempDir(), "ledger.db"), segments.Options{Options: ledger.Options{Clock: clock}})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	var heads []published.Head
	for epoch := range int64(3) {
		if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: clock.Now().String(), Epoch: epoch}); err != nil {
			t.Fatal(err)
		}
		head, err := published.HeadOf(book)
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, head)
		clock.SetTime(clock.Now().AddDate(0, 1, 0))
	}
	for _, head := range heads {
		if missing, err := published.Compare(book, head); err != nil || missing != nil {
			t.Errorf("entry %d: %+v, %v", head.Seq, missing, err)
		}
		head.Hash[0] ^= 1
		if missing, err := published.Compare(book, head); err != nil || missing == nil || missing.From != head.Seq {
			t.Errorf("entry %d with another hash: %+v, %v", head.Seq, missing, err)
		}
	}
}

// A decision after an hour with entries leaves a checkpoint, and one that finds the ledger
// closed stops the process.
func TestDecisionsWriteCheckpoints(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(now)
	book, err := segments.Open(filepath.Join(t.TempDir(), "ledger.db"), segments.Options{Options: ledger.Options{Clock: clock}})
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	l := &loop{ledger: book}
	for _, want := range []uint64{1, 2, 2} {
		if err := l.checkpoint(); err != nil {
			t.Fatal(err)
		}
		if seq, _ := book.Head(); seq != want {
			t.Errorf("the ledger has %d entries, want %d", seq, want)
		}
		clock.SetTime(clock.Now().Add(time.Hour))
	}
	if _, err := book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "f", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	clock.SetTime(clock.Now().Add(time.Hour))
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.checkpoint(); !errors.Is(err, actuate.ErrStop) {
		t.Errorf("of a closed ledger: %v", err)
	}
}
