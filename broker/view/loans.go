package view

import (
	"strconv"
	"time"
)

// Condition is one condition of a Kubernetes object.
type Condition struct {
	Type   string
	True   bool
	Reason string
}

// Loan is what the table of loans shows of one Loan.
type Loan struct {
	Name     string
	Job      string
	Borrower string
	Queue    string
	Units    int64
	// Nodes and Lenders of the grants. A Lender is empty where the units are the
	// borrower's own.
	Nodes      []string
	Lenders    []string
	Conditions []Condition
	// MaxGrace is what its lenders allow; 0 where no lender can ask the units back.
	MaxGrace time.Duration
	// Grace is how long its pods take by themselves; nil if that is not known.
	Grace *time.Duration
	// ReclaimBy is when the grace that is running ends.
	ReclaimBy time.Time
	Created   time.Time
}

// States of a loan, computed from its conditions.
const (
	StatePending     = "Pending" // recorded, the broker has not activated it yet
	StateActive      = "Active"
	StateReclaiming  = "Reclaiming"
	StateQuarantined = "Quarantined" // its pods do not go
	StateReturned    = "Returned"
)

// LoanState says where a loan stands, and by which of its conditions: the
// furthest one that is true. A loan that the scheduler has taken back by itself
// is on its way back like one that was asked for.
func LoanState(conditions []Condition) (state string, by Condition) {
	for _, stage := range []struct{ condition, state string }{
		{StateReturned, StateReturned},
		{StateQuarantined, StateQuarantined},
		{StateReclaiming, StateReclaiming},
		{"Preempted", StateReclaiming},
		{StateActive, StateActive},
	} {
		for _, c := range conditions {
			if c.Type == stage.condition && c.True {
				return stage.state, c
			}
		}
	}
	for _, c := range conditions {
		if c.Type == StateActive { // it was, and its job has ended
			return StateReclaiming, c
		}
	}
	return StatePending, Condition{}
}

// Loans is the table of loans, in the order given. GRACE is the whole grace of
// an active loan, which is its own or what its lenders allow, whichever is shorter
// ("<=" and the latter if its own is not known), and what is left of it while the
// loan is reclaimed. Of several
// nodes and lenders the first is shown and how many more there are, or all of
// them if wide.
func Loans(loans []Loan, now time.Time, wide bool) Table {
	list := some
	if wide {
		list = all
	}
	t := Table{Columns: columns("NAME", "JOB", "BORROWER", "QUEUE+", "UNITS", "NODES", "LENDER",
		"STATE", "GRACE", "REASON", "AGE")}
	for _, l := range loans {
		state, by := LoanState(l.Conditions)
		t.Rows = append(t.Rows, []string{
			cell(l.Name), cell(l.Job), cell(l.Borrower), cell(l.Queue), strconv.FormatInt(l.Units, 10),
			list(l.Nodes), list(l.Lenders), state, grace(l, state, now), cell(by.Reason), Age(now, l.Created),
		})
	}
	return t
}

func grace(l Loan, state string, now time.Time) string {
	switch {
	case state == StateReturned:
		return None
	case state == StateReclaiming && !l.ReclaimBy.IsZero():
		return Span(l.ReclaimBy.Sub(now))
	case l.MaxGrace <= 0:
		return None
	case l.Grace == nil:
		return "<=" + Span(l.MaxGrace)
	}
	return Span(min(*l.Grace, l.MaxGrace))
}
