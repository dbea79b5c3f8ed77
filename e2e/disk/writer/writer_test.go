package writer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

func run(t *testing.T, in string, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = writer.Main(args, strings.NewReader(in), &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Log(stderr.String())
	}
	return code, stdout.String()
}

// What is written goes on from where the ledger ends, and every piece of work is allowed.
func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := writer.Create(path); err != nil {
		t.Fatal(err)
	}
	for _, until := range []int{20, 40} {
		code, out := run(t, "", "append", "-file", path, "-until", fmt.Sprint(until))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if code != 0 || len(lines) != 20 || !strings.HasPrefix(lines[19], fmt.Sprintf("ACK %d ", until)) {
			t.Fatalf("exit %d, %d lines, the last %q", code, len(lines), lines[len(lines)-1])
		}
	}
}

// Work that is there already is not written again, unless its operation is forgotten.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := writer.Create(path); err != nil {
		t.Fatal(err)
	}
	run(t, "", "append", "-file", path, "-until", "10")
	ask := func(r writer.Request) writer.Answer {
		r.File = path
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		_, out := run(t, string(line)+"\n", "open")
		var a writer.Answer
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return a
	}
	first := ask(writer.Request{From: 8, Until: 10})
	if first.Seq != 10 || first.Refused+first.Failed != "" {
		t.Errorf("first %+v", first)
	}
	// Work 10 is of a kind that may be written as often as one likes.
	second := ask(writer.Request{From: 10, Until: 10, Forget: true})
	if second != first {
		t.Errorf("work that was there changed the ledger: %+v, then %+v", first, second)
	}
	if third := ask(writer.Request{}); third.Seq != 11 || third.Content == first.Content {
		t.Errorf("work of a forgotten operation: %+v, before %+v", third, first)
	}
	_, out := run(t, fmt.Sprintf("{\"file\":%q}\n{\"file\":\"/nowhere/at/all\"}\n", path), "open", "-bare")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[0], `"seq":11`) || !strings.Contains(lines[1], "refused") {
		t.Errorf("bbolt alone says %q", out)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"sing"}, {"append", "-loud"}} {
		if code, _ := run(t, "", args...); code != writer.ExitUsage {
			t.Errorf("%v: exit %d", args, code)
		}
	}
	if code, _ := run(t, "", "append", "-file", filepath.Join(t.TempDir(), "no", "ledger"), "-until", "3"); code != writer.ExitRefused {
		t.Errorf("no folder: exit %d", code)
	}
}
