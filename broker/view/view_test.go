package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                   "0s",
		0:                              "0s",
		41*time.Second + 900*1e6:       "41s",
		119 * time.Second:              "119s",
		12 * time.Minute:               "12m",
		3 * time.Hour:                  "3h",
		3*time.Hour + 20*time.Minute:   "3h20m",
		50 * time.Hour:                 "2d2h",
		8 * 24 * time.Hour:             "8d",
		400*24*time.Hour + 3*time.Hour: "400d",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %s, want %s", d, got, want)
		}
	}
	if got := Age(now, time.Time{}); got != Unknown {
		t.Errorf("age since never = %s", got)
	}
}

func TestLoanStateIsTheFurthestTrueCondition(t *testing.T) {
	condition := func(kind string, is bool) Condition { return Condition{kind, is, kind + "Reason"} }
	tests := []struct {
		conditions    []Condition
		state, reason string
	}{
		{nil, StatePending, ""},
		{[]Condition{condition("Active", false)}, StateReclaiming, "ActiveReason"},
		{[]Condition{condition("Active", true), condition("Reclaiming", false)}, StateActive, "ActiveReason"},
		{[]Condition{condition("Active", true), condition("Reclaiming", true)}, StateReclaiming, "ReclaimingReason"},
		{[]Condition{condition("Active", true), condition("Preempted", true)}, StateReclaiming, "PreemptedReason"},
		{[]Condition{condition("Returned", true), condition("Reclaiming", true)}, StateReturned, "ReturnedReason"},
	}
	for _, tt := range tests {
		if state, by := LoanState(tt.conditions); state != tt.state || by.Reason != tt.reason {
			t.Errorf("LoanState(%v) = %s, %v; want %s, %s", tt.conditions, state, by, tt.state, tt.reason)
		}
	}
}

func TestPlaceInQueues(t *testing.T) {
	priority := func(p int32) *int32 { return &p }
	job := func(name, queue string, minutes int, p *int32, state string) QueuedJob {
		return QueuedJob{Name: name, Queue: queue, Created: now.Add(time.Duration(minutes) * time.Minute), Priority: p, State: state}
	}
	fifo := job("late-but-important", "q2", 9, priority(50), StateWaiting)
	fifo.FIFO = true
	first := job("first", "q2", 1, priority(0), StateWaiting)
	first.FIFO = true
	told := job("told", "q3", 9, nil, StateWaiting)
	told.Position = 4
	jobs := []QueuedJob{
		job("runs", "q1", 0, priority(100), StateAdmitted),
		job("young", "q1", 5, priority(0), StateWaiting),
		job("old", "q1", 2, priority(0), StateWaiting),
		job("unknown", "q1", 1, nil, StateWaiting),
		job("important", "q1", 8, priority(10), StateWaiting),
		job("lowest", "q1", 0, priority(-100), StateWaiting),
		fifo, first,
		job("new", "q3", 1, nil, StateWaiting), told,
	}
	PlaceInQueues(jobs)
	var got []string
	for _, j := range jobs {
		got = append(got, j.Queue+" "+string(rune('0'+j.Position))+" "+j.Name)
	}
	want := []string{
		"q1 1 important", "q1 2 unknown", "q1 3 old", "q1 4 young", "q1 5 lowest", "q1 0 runs",
		"q2 1 first", "q2 2 late-but-important",
		"q3 4 told", "q3 5 new",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSentence(t *testing.T) {
	tests := []struct {
		a    Answer
		want string
	}{
		{Answer{Subject: "Job a/b"}, "Job a/b."},
		{Answer{Subject: "Job a/b", State: "waits", Message: "two\nlines. "}, "Job a/b waits: two lines."},
		{Answer{Subject: "Job a/b", Reason: "QueuePaused"}, "Job a/b (QueuePaused)."},
		{Answer{Subject: "Job a/b", State: "waits", Message: "no room.", Reason: "NoRoomForGang", Since: now.Add(-time.Hour)}, "Job a/b waits: no room (NoRoomForGang, for 60m)."},
	}
	for _, tt := range tests {
		if got := tt.a.Sentence(now); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// Whatever the values are, a row has the columns of its header, in single words.
func TestTablesAreOneWordPerCell(t *testing.T) {
	text := rapid.StringMatching(`[a-z<> \t\n/-]{0,12}`)
	texts := rapid.SliceOfN(text, 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		since := now.Add(-time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "age")) * time.Second)
		wide := rapid.Bool().Draw(t, "wide")
		loan := Loan{
			Name: text.Draw(t, "name"), Job: text.Draw(t, "job"), Borrower: text.Draw(t, "borrower"), Queue: text.Draw(t, "queue"),
			Units: rapid.Int64().Draw(t, "units"), Nodes: texts.Draw(t, "nodes"), Lenders: texts.Draw(t, "lenders"),
			Conditions: []Condition{{Type: rapid.SampledFrom([]string{StateActive, StateReclaiming, "Other"}).Draw(t, "type"), True: true, Reason: text.Draw(t, "reason")}},
			ReclaimBy:  since, Created: since,
		}
		job := QueuedJob{Name: loan.Name, Queue: loan.Queue, State: text.Draw(t, "state"), Reason: text.Draw(t, "why"), Created: since}
		entry := Entry{Time: since, Kind: loan.Name, Loan: loan.Queue, Lenders: loan.Lenders, Nodes: loan.Nodes, Reason: job.Reason}
		for _, table := range []Table{Loans([]Loan{loan}, now, wide), Queue([]QueuedJob{job}, now), Ledger([]Entry{entry}, now, wide)} {
			if first, last := table.Columns[0].Title, table.Columns[len(table.Columns)-1].Title; first != "NAME" || last != "AGE" {
				t.Fatalf("columns go from %s to %s", first, last)
			}
			for _, row := range table.Rows {
				if len(row) != len(table.Columns) {
					t.Fatalf("%d cells in %d columns", len(row), len(table.Columns))
				}
				for i, c := range row {
					if len(strings.Fields(c)) != 1 || strings.TrimSpace(c) != c {
						t.Fatalf("%s is %q", table.Columns[i].Title, c)
					}
				}
			}
		}
	})
}
