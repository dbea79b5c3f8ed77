package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// newLoan makes a ledger in which research borrowed two units for an hour.
func newLoan(t *testing.T) (path string, end time.Time) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	end = time.Now().UTC()
	for i, e := range []ledger.Entry{
		{Kind: ledger.EpochStart, OpID: "epoch-7"},
		{
			Kind: ledger.Recovered, OpID: "a", Loan: "research/a", Job: "research/job", JobUID: "u", Borrower: "research",
			Payload: []byte(`{"lenders":{"serving/chat":"online"}}`),
			Grants:  []ledger.Grant{{Lender: "serving/chat", Node: "n", Flavor: "h100", Count: 2}},
		},
		{Kind: ledger.Lost, OpID: "a", Loan: "research/a"},
	} {
		e.Epoch, e.Time, e.BootID, e.MonoNS = 7, end.Add(time.Duration(i-2)*time.Hour), "boot", int64(i)*int64(time.Hour)
		if _, err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path, end
}

func correctArgs(path string, change ...string) []string {
	args := []string{
		"ledger", "correct", path, "--corrects=3", "--actor=ada", "--reason=the node was gone earlier",
		"--posting=borrower/research:h100:3600000", "--posting=lost:h100:-3600000:research",
	}
	for i := 0; i+1 < len(change); i += 2 {
		for j, arg := range args {
			if strings.HasPrefix(arg, change[i]) {
				args[j] = change[i+1]
			}
		}
	}
	return args
}

func TestCorrect(t *testing.T) {
	path, _ := newLoan(t)
	for range 2 { // the second time it is there
		out, _, err := run("", correctArgs(path)...)
		want := "\nthe node was gone earlier (ada: borrower/research +1h0m0s of a unit of h100, lost -1h0m0s of a unit of h100)\n"
		if err != nil || !strings.HasPrefix(out, "entry 4 ") || !strings.HasSuffix(out, want) {
			t.Fatalf("correct: %v\n%s", err, out)
		}
	}
	out, _, err := run("", "ledger", "check", path)
	if err != nil || !strings.Contains(out, "borrower research h100 -3600000 unit-ms") || !strings.Contains(out, "lost      h100 -3600000 unit-ms") {
		t.Errorf("check: %v\n%s", err, out)
	}
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	entries, err := l.ByLoan("research/a")
	if err != nil || len(entries) != 3 || entries[2].Corrects != 3 || entries[2].Epoch != 7 || entries[2].Borrower != "research" {
		t.Errorf("the loan's entries are %+v (%v)", entries, err)
	}
	totals, err := l.Totals(entries[2].Time.Format("2006-01"), "research")
	if err != nil || len(totals) != 1 || totals[0].Lost.UnitMS != 3600000 {
		t.Errorf("the month has %+v (%v)", totals, err)
	}
}

func TestCorrectionsThatAreRefused(t *testing.T) {
	path, _ := newLoan(t)
	for want, change := range map[string][]string{
		"there is no entry 9":    {"--corrects", "--corrects=9"},
		"there is no entry 0":    {"--corrects", "--corrects=0"},
		"actor: is required":     {"--actor", "--actor= "},
		"reason: is required":    {"--reason", "--reason="},
		"of h100 add up to 1":    {"--posting=lost", "--posting=lost:h100:-3599999:research"},
		"add up to":              {"--posting=lost", "--posting=lost:a100:-3600000:research"},
		"moves nothing":          {"--posting=lost", "--posting=lost:h100:0:research"},
		"nobody has no balance":  {"--posting=borrower", "--posting=borrower/nobody:h100:3600000"},
		"has no balance of a100": {"--posting=borrower", "--posting=borrower/research:a100:3600000"},
		"is none of lender/NAME": {"--posting=lost", "--posting=gone:h100:-3600000:research"},
		"must end with :TENANT":  {"--posting=lost", "--posting=lost:h100:-3600000"},
		"is its own tenant":      {"--posting=borrower", "--posting=borrower/research:h100:3600000:research"},
		"not a number":           {"--posting=lost", "--posting=lost:h100:-1h:research"},
		"has no flavor":          {"--posting=lost", "--posting=lost::-3600000:research"},
		"is not ACCOUNT:FLAVOR":  {"--posting=lost", "--posting=lost"},
		"find the ledger":        {path, path + ".none"},
		"are too many":           {"--posting=lost", "--posting=lost:h100:-9223372036854775807:research"},
	} {
		if _, _, err := run("", correctArgs(path, change...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", change, err, want)
		}
	}
	l, err := ledger.Open(path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if seq, _ := l.Head(); seq != 3 {
		t.Errorf("what was refused was written: the head is %d", seq)
	}
	// A broker has it open.
	if _, _, err := run("", correctArgs(path)...); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("beside a broker: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckAgainst(t *testing.T) {
	path, _ := newFiles(t)
	out, _, err := run("", "ledger", "check", path)
	if err != nil {
		t.Fatal(err)
	}
	var hash string
	for _, line := range strings.Split(out, "\n") {
		if rest, ok := strings.CutPrefix(line, "head hash "); ok {
			hash = rest
		}
	}
	for _, test := range []struct {
		known string
		want  string // empty: it has it
	}{
		{"7:" + hash, ""}, {"8:" + hash, "it is an old copy"}, {"1:" + hash, "this is another history"}, {"0:" + hash, "is not SEQ:HASH"}, {hash, "is not SEQ:HASH"},
	} {
		out, _, err := run("", "ledger", "check", path, "--against", test.known)
		if (err == nil) != (test.want == "") || !strings.Contains(out+fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v, want %q\n%s", test.known, err, test.want, out)
		}
	}
	if _, _, err := run("", "ledger", "prune", path, "--before", "2026-09"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run("", "ledger", "check", path, "--against", "1:"+hash); err == nil || !strings.Contains(err.Error(), "in no file any more") {
		t.Errorf("an entry that was pruned: %v", err)
	}
}
