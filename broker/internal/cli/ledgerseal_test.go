package cli

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/web"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

func newKey(t *testing.T) (*seal.Signer, string) {
	t.Helper()
	private, _, err := sealtest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := seal.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(signer.Public().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return signer, path
}

// A check tells who signed, of the broker's ledger and of files alike, and believes only the
// key that it was given.
func TestLedgerCheckTellsWhoSigned(t *testing.T) {
	signer, public := newKey(t)
	_, other := newKey(t)
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC))
	write := func(signer *seal.Signer) (*segments.Set, string) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		set, err := segments.Open(path, segments.Options{Options: ledger.Options{Clock: clock}, Signer: signer})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "e", Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		clock.SetTime(clock.Now().AddDate(0, 1, 0))
		if _, err := set.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "f", Epoch: 2}); err != nil {
			t.Fatal(err)
		}
		return set, path
	}
	signed, signedPath := write(signer)
	plain, plainPath := write(nil)
	empty, _ := newLedger(t)
	serve := func(book web.Ledger) string {
		handler, err := guardOf("").Handler(web.Routes(&fakeSource{ledger: book}, http.NotFoundHandler()))
		if err != nil {
			t.Fatal(err)
		}
		return newBrokerServer(t, handler)
	}
	check := func(args string, code int, want string) {
		t.Helper()
		stdout, stderr, got := invoke(t, "http://127.0.0.1:1", invocation{args: "ledger check " + args})
		if got != code || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%s: exit %d, want %d with %q\nstdout: %s\nstderr: %s", args, got, code, want, stdout, stderr)
		}
	}
	at := " --broker " + serve(signed)
	check(at, ExitOK, "signed by key "+signer.Public().String())
	check("--public-key "+public+at, ExitOK, "1 checkpoints, 1 of them signed")
	check("--public-key "+other+at, ExitBroken, "signed by another key")
	check("--public-key "+os.DevNull+at, ExitError, "neither PEM nor")
	at = " --broker " + serve(plain)
	check(at, ExitOK, "1 checkpoints are not signed")
	check("--public-key "+public+at, ExitBroken, "the checkpoint is not signed")
	check("--public-key "+public+" --broker "+serve(empty), ExitBroken, "there are no checkpoints yet")

	if err := errors.Join(signed.Close(), plain.Close()); err != nil {
		t.Fatal(err)
	}
	at = " --file " + signedPath
	check(at, ExitOK, "2 files, the oldest of which is ledger-202610.db")
	check("--public-key "+public+at, ExitOK, "1 of them signed")
	check("--public-key "+other+at, ExitBroken, "signed by another key")
	check("--file "+plainPath, ExitOK, "1 checkpoints are not signed")
	check("--public-key "+public+" --file "+plainPath, ExitBroken, "no checkpoint is signed by the key")
}
