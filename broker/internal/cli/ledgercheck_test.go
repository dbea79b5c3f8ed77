package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLedgerCheckFile(t *testing.T) {
	l, path := newLedger(t)
	seq, hash := l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// One letter of a recorded reason, as a careless or a clever hand would.
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tampered := filepath.Join(t.TempDir(), "tampered.db")
	if err := os.WriteFile(tampered, bytes.ReplaceAll(sound, []byte("AboveHighWater"), []byte("AboveHighWaTer")), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file       string
		code       int
		out, errIs string
	}{
		"sound":    {file: path, code: ExitOK, out: "\nok\n"},
		"tampered": {file: tampered, code: ExitBroken, out: "fault "},
		"missing":  {file: path + ".none", code: ExitError, errIs: "no such file"},
		"known":    {file: fmt.Sprintf("%s --against %d:%s", path, seq, hash), code: ExitOK, out: "\nok\n"},
		"old copy": {file: fmt.Sprintf("%s --against %d:%s", path, seq+1, hash), code: ExitBroken, out: "it is an old copy"},
		"anew":     {file: fmt.Sprintf("%s --against %d:%s", path, seq-1, hash), code: ExitBroken, out: "this is another history"},
		"not read": {file: path + " --against 7:abc", code: ExitError, errIs: "--against: \"7:abc\" is not SEQ:HASH"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := invoke(t, "http://127.0.0.1:1", invocation{args: "ledger check --file " + tt.file})
			if code != tt.code || !strings.Contains(stdout, tt.out) || !strings.Contains(stderr, tt.errIs) {
				t.Errorf("exit %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, stdout, stderr)
			}
		})
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sound, after) {
		t.Error("the check changed the file")
	}
}

func TestExportIsWhatTheLedgerHas(t *testing.T) {
	l, _ := newLedger(t)
	var want bytes.Buffer
	if _, err := l.Export(&want, 1); err != nil {
		t.Fatal(err)
	}
	server := newFakeAPIServer(t, &fakeBroker{ledger: l})
	got, stderr, code := invoke(t, server.URL, invocation{args: "ledger export"})
	if code != ExitOK || got != want.String() {
		t.Errorf("exit %d %s\ngot:\n%s\nwant:\n%s", code, stderr, got, want.String())
	}
}

func TestBrokerFlagAndEnvironment(t *testing.T) {
	l, _ := newLedger(t)
	broker := newFakeAPIServer(t, nil) // stands for an unreachable cluster
	direct := newBrokerServer(t, &fakeBroker{ledger: l})
	for name, in := range map[string]invocation{
		"flag":        {args: "ledger check --broker " + direct},
		"environment": {args: "ledger check", env: map[string]string{"EBBTIDE_BROKER": direct}},
		"flag first":  {args: "ledger check --broker " + direct, env: map[string]string{"EBBTIDE_BROKER": "http://127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := invoke(t, broker.URL, in)
			if code != ExitOK || !strings.HasSuffix(stdout, "\nok\n") {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s", code, stdout, stderr)
			}
		})
	}
}

func TestCompletionSuggestsNames(t *testing.T) {
	server := newFakeAPIServer(t, nil)
	for args, want := range map[string]string{
		"__complete loans -n research": "gpt-mini-1\nbert-large-1\nresnet-2\n:4\n",
		"__complete queue -n research": "default\nnightly\n:4\n",
		"__complete explain -n solo":   "finetune\nloan/eval-1\n:4\n",
		"__complete queue -n sandbox":  ":4\n",
	} {
		// The word to complete comes last, and is empty.
		stdout, stderr, code := invokeWith(t, server.URL, args)
		if code != ExitOK || stdout != want {
			t.Errorf("%s: exit %d, got %q, want %q; stderr: %s", args, code, stdout, want, stderr)
		}
	}
}
