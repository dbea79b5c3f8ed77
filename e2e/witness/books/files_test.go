package books_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// months writes a story over several months, and returns the files' names, oldest first.
func months(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	clock := clocktesting.NewFakePassiveClock(began)
	book, err := segments.Open(path, segments.Options{Options: ledger.Options{ClusterUID: "cluster", Clock: clock}, CheckpointEntries: 9})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range story(24) {
		if i == 20 || i == 41 || i == 60 {
			clock.SetTime(clock.Now().AddDate(0, 1, 5))
		}
		if e.Kind == ledger.LendIntent {
			e.Payload = []byte(`{"lenders":{"serving/chat":"online"}}`)
		}
		if i == 10 {
			aside := later(ledger.Quarantined, 3, 2)
			reshape := ledger.Entry{Kind: ledger.ReshapeIntent, OpID: "reshape", Epoch: 3, Payload: []byte(`{"node":"gpu-1"}`)}
			if _, err := book.AppendAll([]ledger.Entry{aside, reshape}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := book.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := segments.Files(path)
	if err != nil || len(names) != 4 {
		t.Fatalf("files %v, %v", names, err)
	}
	return names
}

func readAll(t *testing.T, names []string) (files [][]byte) {
	t.Helper()
	for _, name := range names {
		files = append(files, read(t, name))
	}
	return files
}

// The witness follows a ledger from file to file, and finds files that do not belong
// together although each of them is sound.
func TestFiles(t *testing.T) {
	names := months(t)
	files := readAll(t, names)
	f := books.JudgeFiles(files)
	if !f.Sound() || f.Base != 0 || len(f.Records) != int(f.Head) || len(f.Open) == 0 {
		t.Fatalf("base %d, %d records of %d, %d open: %v", f.Base, len(f.Records), f.Head, len(f.Open), f.Err())
	}
	if last := f.Records[30]; !f.Holds(last.Seq, last.Hash) {
		t.Errorf("an entry of a file before is not held: %v", f.Verdicts)
	}
	other := readAll(t, months(t))
	alone := func(name string, entries ...ledger.Entry) []byte { // written as one file, which knows no other
		path := filepath.Join(t.TempDir(), "ledger.db")
		if err := os.WriteFile(path, read(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := ledger.Open(path, ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, e := range entries {
			if _, err := l.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		return read(t, path)
	}
	again := loan(2)
	again.OpID = "another"
	for name, tc := range map[string]struct {
		files [][]byte
		law   books.Law
		want  string
	}{
		"one is missing":        {[][]byte{files[0], files[2], files[3]}, books.Chain, "is what the file says that it follows"},
		"another order":         {[][]byte{files[1], files[0], files[2], files[3]}, books.Chain, "is what the file says that it follows"},
		"of another ledger":     {[][]byte{files[0], files[1], other[2], other[3]}, books.Chain, "the file is of ledger"},
		"written on":            {[][]byte{alone(names[0], ledger.Entry{Kind: ledger.EpochStart, OpID: "x", Epoch: 3, Time: began}), files[1]}, books.Chain, "is what the file says"},
		"an operation repeated": {[][]byte{files[0], files[1], files[2], alone(names[3], ledger.Entry{Kind: ledger.EpochStart, OpID: "start", Epoch: 3})}, books.Operations, `operation "start" again`},
		"a loan opened again":   {[][]byte{files[0], files[1], files[2], alone(names[3], again)}, books.States, `opens loan "research/loan-002" again`},
	} {
		f := books.JudgeFiles(tc.files)
		found := false
		for _, v := range f.Verdicts {
			found = found || v.Law == tc.law && strings.Contains(v.What, tc.want)
		}
		if !found {
			t.Errorf("%s: %v, want %s: %q", name, f.Verdicts, tc.law, tc.want)
		}
	}
}

// What is carried is compared, each part of it.
func TestForgedCarrying(t *testing.T) {
	names := months(t)
	first := read(t, names[0])
	forge := func(change func(string) string) []byte {
		dir := t.TempDir()
		old := filepath.Join(dir, "old.db")
		if err := os.WriteFile(old, first, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := ledger.OpenArchive(old, ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		next, err := before.Continue(filepath.Join(dir, "next.db"), "2026-05")
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		identity, err := next.Identity()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "forged.db")
		if err := ledger.Begin(path, identity); err != nil {
			t.Fatal(err)
		}
		forged, err := ledger.Open(path, ledger.Options{Clock: clocktesting.NewFakePassiveClock(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		defer forged.Close()
		entries, err := next.Read(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			e.Payload = []byte(change(string(e.Payload)))
			if _, err := forged.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		return read(t, path)
	}
	if f := books.JudgeFiles([][]byte{first, forge(func(s string) string { return s })}); !f.Sound() {
		t.Fatalf("as it was: %v", f.Verdicts)
	}
	for name, change := range map[string]struct{ old, new, want string }{
		"a grant":          {`"count":4`, `"count":5`, "is carried as"},
		"a state":          {`"State":5`, `"State":2`, "is carried as"},
		"a start":          {`"mono":4000000000`, `"mono":4000000001`, "is carried as"},
		"a lender's owner": {`"Tenant":"online"`, `"Tenant":"other"`, "is carried as"},
		"a reshape":        {`"ID":"reshape"`, `"ID":"another"`, "are carried"},
		"an account":       {`lender/serving/chat`, `lender/serving/mail`, "are carried"},
		"where it follows": {`"of":"`, `"of":"1`, "says that it follows"},
	} {
		changed := false
		f := books.JudgeFiles([][]byte{first, forge(func(s string) string {
			out := strings.ReplaceAll(s, change.old, change.new)
			changed = changed || out != s
			return out
		})})
		if !changed || !strings.Contains(verdicts(f), change.want) {
			t.Errorf("%s (changed: %v): %s", name, changed, verdicts(f))
		}
	}
}

func verdicts(f *books.Finding) string {
	var lines []string
	for _, v := range f.Verdicts {
		lines = append(lines, v.String())
	}
	return strings.Join(lines, "\n")
}
