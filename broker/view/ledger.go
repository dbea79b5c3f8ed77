package view

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Entry is what the tables and the timeline show of one ledger entry.
type Entry struct {
	Seq      uint64
	Time     time.Time
	Kind     string // the ledger's name of the kind, e.g. LEND_GRANTED
	Loan     string
	Job      string
	Borrower string
	Lenders  []string
	Nodes    []string
	Units    int64
	// Grants are what Lenders, Nodes and Units sum up, where the entry has any.
	Grants  []lend.Grant
	Reason  string
	Message string
}

// Ledger is the table of ledger entries in the order given. NAME is the entry's
// sequence number, which is the only name an entry has.
func Ledger(entries []Entry, now time.Time, wide bool) Table {
	list := some
	if wide {
		list = all
	}
	t := Table{Columns: columns("NAME", "TIME+", "KIND", "LOAN", "JOB+", "BORROWER", "LENDER",
		"UNITS", "NODES+", "REASON", "AGE")}
	for _, e := range entries {
		units := None
		if e.Units > 0 {
			units = strconv.FormatInt(e.Units, 10)
		}
		t.Rows = append(t.Rows, []string{
			strconv.FormatUint(e.Seq, 10), e.Time.UTC().Format(time.RFC3339), cell(e.Kind), cell(e.Loan),
			cell(e.Job), cell(e.Borrower), list(e.Lenders), units, list(e.Nodes), cell(e.Reason),
			Age(now, e.Time),
		})
	}
	return t
}

// endings are the kinds that close a loan, with the mark the timeline shows.
var endings = map[string]Mark{
	"RECLAIM_DONE": 'x', "PREEMPTED": 'p', "RELEASED": ']', "LOST": '!', "LEND_ABORTED": '~', "UNQUARANTINED": 'x',
}

// LoanSpans folds entries, in the order of their sequence numbers, into one span
// per loan, in the order in which the loans began. A loan that no entry closes
// runs on.
func LoanSpans(entries []Entry) []LoanSpan {
	var spans []LoanSpan
	at := make(map[string]int)
	for i := range entries {
		e := &entries[i]
		if e.Loan == "" {
			continue
		}
		i, known := at[e.Loan]
		switch {
		case !known && (e.Kind == "LEND_INTENT" || e.Kind == "LEND_GRANTED" || e.Kind == "RECOVERED"):
			at[e.Loan] = len(spans)
			spans = append(spans, newSpan(e))
		case known:
			spans[i].follow(e)
		}
	}
	return spans
}

func newSpan(e *Entry) LoanSpan {
	s := LoanSpan{
		Name: e.Loan, Label: lastPart(e.Job), Job: e.Job, Borrower: e.Borrower, Units: e.Units, From: e.Time,
		Lenders: []string{}, Nodes: []string{}, Flavors: []string{},
	}
	for _, g := range e.Grants {
		s.Lenders, s.Nodes, s.Flavors = once(s.Lenders, g.Lender), once(s.Nodes, g.Node), once(s.Flavors, g.Flavor)
	}
	return s
}

// once adds a name, if it is one and not in the list yet.
func once(list []string, name string) []string {
	if name == "" || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// follow takes in a later entry about the loan.
func (s *LoanSpan) follow(e *Entry) {
	switch {
	case e.Kind == "RECLAIM_INTENT":
		s.ReclaimAt, s.Reason, s.Message = e.Time, e.Reason, e.Message
	case e.Kind == "SHED" || e.Kind == "SHED_LOST":
		s.Changes = append(s.Changes, UnitsChange{e.Time, e.Units})
	case endings[e.Kind] != 0:
		s.To, s.Ended, s.End = e.Time, e.Kind, endings[e.Kind]
		if s.ReclaimAt.IsZero() {
			s.Reason, s.Message = e.Reason, e.Message
		}
	}
}

// lastPart of namespace/name is the name.
func lastPart(name string) string {
	return name[strings.LastIndexByte(name, '/')+1:]
}
