package view

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", path, diff)
	}
}

// day is an axis of the 24 hours before now.
var day = Axis{From: now.Add(-24 * time.Hour), To: now, Width: 72}

func hour(h float64) time.Time { return day.From.Add(time.Duration(h * float64(time.Hour))) }

func TestTimelineOfADay(t *testing.T) {
	entries := []Entry{
		{Time: hour(0), Kind: "EPOCH_START"},
		{Time: hour(1), Kind: "LEND_INTENT", Loan: "research/bert-1", Job: "research/bert", Units: 8},
		{Time: hour(1), Kind: "LEND_GRANTED", Loan: "research/bert-1", Job: "research/bert", Units: 8},
		{Time: hour(2), Kind: "LEND_INTENT", Loan: "research/gpt-1", Job: "research/gpt", Units: 4},
		{Time: hour(2.1), Kind: "LEND_ABORTED", Loan: "research/gpt-1", Job: "research/gpt", Units: 4},
		{Time: hour(3), Kind: "LEND_INTENT", Loan: "vision/resnet-1", Job: "vision/resnet", Units: 2},
		{Time: hour(7), Kind: "RECLAIM_INTENT", Loan: "research/bert-1"},
		{Time: hour(9), Kind: "RECLAIM_DONE", Loan: "research/bert-1"},
		{Time: hour(9.5), Kind: "RELEASED", Loan: "vision/resnet-1"},
		{Time: hour(10), Kind: "RECOVERED", Loan: "research/a-rather-long-name-of-a-job-2", Job: "research/a-rather-long-name-of-a-job", Units: 2},
		{Time: hour(12), Kind: "PREEMPTED", Loan: "research/a-rather-long-name-of-a-job-2"},
		{Time: hour(13), Kind: "LEND_INTENT", Loan: "research/bert-2", Job: "research/bert", Units: 8},
		{Time: hour(14), Kind: "LOST", Loan: "research/bert-2"},
		{Time: hour(15), Kind: "RECLAIM_DONE", Loan: "research/never-opened"},
		{Time: hour(20), Kind: "LEND_INTENT", Loan: "research/bert-3", Job: "research/bert", Units: 8},
	}
	golden(t, "timeline.golden", Timeline(LoanSpans(entries), day))
}

// The picture fits its width and is ASCII, whatever happened.
func TestTimelineFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		axis := Axis{From: now, To: now.Add(time.Duration(rapid.Int64Range(-10, 1e6).Draw(t, "span")) * time.Second), Width: rapid.IntRange(-1, 90).Draw(t, "width")}
		moment := func(name string) time.Time {
			return now.Add(time.Duration(rapid.Int64Range(-1e6, 2e6).Draw(t, name)) * time.Second)
		}
		span := LoanSpan{Name: "a/b", Label: rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "label"), From: moment("from")}
		if rapid.Bool().Draw(t, "reclaimed") {
			span.ReclaimAt = moment("asked")
		}
		if rapid.Bool().Draw(t, "ended") {
			span.To, span.End = span.From.Add(time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "length"))*time.Second), 'x'
		}
		for _, line := range strings.Split(Timeline([]LoanSpan{span}, axis), "\n") {
			if line != Legend && len(line) > gutter+2+max(axis.Width, 10)+15 {
				t.Fatalf("%d characters: %q", len(line), line)
			}
			for _, r := range line {
				if r < ' ' || r > '~' {
					t.Fatalf("%q is not plain ASCII", line)
				}
			}
		}
	})
}
