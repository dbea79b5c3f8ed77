package view

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// StateShedding: some of an elastic loan's units are asked back, and it goes on with others.
const StateShedding = "Shedding"

// LoanRow is an open loan, as a decision saw it. Part: who asks sees what his services lend of
// it, and not what is its borrower's alone.
type LoanRow struct {
	Name     string       `json:"name"`
	Job      string       `json:"job"`
	UID      string       `json:"uid,omitempty"`
	Borrower string       `json:"borrower"`
	Queue    string       `json:"queue,omitempty"`
	Priority int32        `json:"priority,omitempty"`
	Attempt  int32        `json:"attempt,omitempty"`
	Pods     int64        `json:"pods,omitempty"`
	Units    int64        `json:"units"`
	State    string       `json:"state"`
	Grants   []lend.Grant `json:"grants"`
	Since    time.Time    `json:"since"`
	// Checkpoint is when its work was last saved.
	Checkpoint   time.Time `json:"checkpoint,omitzero"`
	GraceSeconds float64   `json:"graceSeconds"`
	// ReclaimBy is when what is left of what was asked back is killed.
	ReclaimBy time.Time `json:"reclaimBy,omitzero"`
	// Preempted: the scheduler took it back by itself.
	Preempted bool `json:"preempted,omitempty"`

	Reason      string    `json:"reason,omitempty"`
	Message     string    `json:"message,omitempty"`
	ReasonSince time.Time `json:"reasonSince,omitzero"`

	Part bool `json:"part,omitempty"`
}

// OpenLoans are a snapshot's, in its order. What was said of each is not in it.
func OpenLoans(in *lend.Snapshot) []LoanRow {
	rows := make([]LoanRow, 0, len(in.Loans))
	for i := range in.Loans {
		rows = append(rows, LoanRowOf(&in.Loans[i]))
	}
	return rows
}

// LoanRowOf is the row of one.
func LoanRowOf(l *lend.Loan) LoanRow {
	return LoanRow{
		Name: l.Name, Job: l.Job, UID: l.JobUID, Borrower: l.Borrower, Queue: l.Queue, Priority: l.Priority, Attempt: l.Attempt,
		Pods: l.Pods, Units: unitsOf(l.Grants), State: stateOf(l), Grants: slices.Clone(l.Grants), Since: l.Since, Checkpoint: l.Checkpoint,
		GraceSeconds: l.Grace.Seconds(), ReclaimBy: l.ReclaimBy, Preempted: l.Preempted,
	}
}

func stateOf(l *lend.Loan) string {
	switch {
	case l.Quarantined:
		return StateQuarantined
	case l.Reclaiming || l.Preempted || l.Finished:
		return StateReclaiming
	case len(l.Shedding) > 0:
		return StateShedding
	}
	return StateActive
}

func unitsOf(grants []lend.Grant) (n int64) {
	for _, g := range grants {
		n += g.Count
	}
	return n
}

// Lent leaves of the row what some services lend, which are told by their names, and reports
// whether that is anything.
func (r *LoanRow) Lent(by func(lender string) bool) bool {
	r.Grants = slices.DeleteFunc(slices.Clone(r.Grants), func(g lend.Grant) bool { return !by(g.Lender) })
	r.Units = unitsOf(r.Grants)
	r.UID, r.Queue, r.Priority, r.Attempt, r.Pods, r.Checkpoint, r.Message = "", "", 0, 0, 0, time.Time{}, ""
	r.Part = true
	return len(r.Grants) > 0
}
