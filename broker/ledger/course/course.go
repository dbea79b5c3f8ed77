// Package course reads from the ledger how units were taken back: when they were asked
// for, when whoever held them had been told, and stopped, what was left and killed when
// the time was over, and when they were free.
//
// It promises that what it says follows from the entries alone, also from those of a
// ledger that was written before all steps were recorded: such a step is absent. It has
// no state, reads no clock and changes nothing.
package course

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Asked is what the payload of an entry that asks for units says about their return.
type Asked struct {
	// ReclaimBy is the deadline.
	ReclaimBy time.Time `json:"reclaimBy,omitzero"`
}

// Stopped is the payload of a STOPPED entry.
type Stopped struct {
	// ToldAt is when all had been told who could be told; zero if nobody was.
	ToldAt time.Time `json:"toldAt,omitzero"`
	// Told and Untold pods: a pod is not told that is gone, or going, before that, or that
	// the API server had no time for.
	Told   int `json:"told"`
	Untold int `json:"untold,omitempty"`
}

// Killed is the payload of a KILLED entry: how many pods were left.
type Killed struct {
	Pods int `json:"pods"`
}

// Step is a part of a Reclaim.
type Step struct {
	// Seconds since the units were asked for.
	Seconds float64 `json:"seconds"`
	// Pods that were told, or killed.
	Pods int `json:"pods,omitempty"`
}

// Reclaim is the course of one taking back from one loan. A nil step has not been taken,
// or was not recorded.
type Reclaim struct {
	// Seq is the entry that asked.
	Seq  uint64 `json:"seq"`
	Loan string `json:"loan"`
	Job  string `json:"job"`
	// JobUID tells the job from later ones of its name.
	JobUID   string `json:"jobUID,omitempty"`
	Borrower string `json:"borrower"`
	// ReclaimID is shared by what one decision took back. Empty: the scheduler took the
	// units by itself, asking nobody, and Asked is when it did.
	ReclaimID string `json:"reclaimID,omitempty"`
	Reason    string `json:"reason"`
	// Units asked for, as far as the entry says; 0 if it does not. Part: the job goes on
	// with others.
	Units int64 `json:"units,omitempty"`
	Part  bool  `json:"part,omitempty"`
	// Lenders that had lent them, by name.
	Lenders []string `json:"lenders,omitempty"`
	// Asked is when, and BoundSeconds how long it may take; 0 where no bound was recorded.
	Asked        time.Time `json:"asked"`
	BoundSeconds float64   `json:"boundSeconds,omitempty"`

	Told    *Step `json:"told,omitempty"`
	Untold  int   `json:"untold,omitempty"` // pods
	Stopped *Step `json:"stopped,omitempty"`
	Killed  *Step `json:"killed,omitempty"`
	Ended   *Step `json:"ended,omitempty"`
	// End is how it ended: the units came back (RECLAIM_DONE, SHED, PREEMPTED, UNQUARANTINED), or the job
	// ended by itself (RELEASED), or they are broken (LOST, SHED_LOST), or more was asked
	// for before they were back (RECLAIM_INTENT, SHED_INTENT). Empty: it has not.
	End string `json:"end,omitempty"`
}

// Of returns the reclaims that some entries, in the order of their numbers, are about, in
// the order in which they were asked for. One whose first entry is not among them is left
// out.
func Of(entries []ledger.Entry) []Reclaim {
	var all []*running
	open := map[string]*running{} // by loan
	for i := range entries {
		e := &entries[i]
		r := open[e.Loan]
		if r != nil {
			r.add(e)
			if r.End != "" {
				delete(open, e.Loan)
			}
		}
		if begins(e, r) {
			r = begin(e)
			all, open[e.Loan] = append(all, r), r
		}
	}
	var out []Reclaim
	for _, r := range all {
		out = append(out, r.Reclaim)
	}
	return out
}

// Last is the reclaim that was asked for last; ok is false if there was none.
func Last(entries []ledger.Entry) (r Reclaim, ok bool) {
	all := Of(entries)
	if len(all) == 0 {
		return Reclaim{}, false
	}
	return all[len(all)-1], true
}

// running is a reclaim and its first entry.
type running struct {
	Reclaim
	first *ledger.Entry
}

// begins: the entry asks for units, or says that the scheduler took them.
func begins(e *ledger.Entry, before *running) bool {
	return e.Kind == ledger.ReclaimIntent || e.Kind == ledger.ShedIntent ||
		(e.Kind == ledger.Stopped && e.ReclaimID == "" && (before == nil || before.ReclaimID != ""))
}

func begin(e *ledger.Entry) *running {
	r := &running{first: e, Reclaim: Reclaim{
		Seq: e.Seq, Loan: e.Loan, Job: e.Job, JobUID: e.JobUID, Borrower: e.Borrower, ReclaimID: e.ReclaimID,
		Reason: e.Reason, Part: e.Kind == ledger.ShedIntent, Asked: When(e),
	}}
	var asked struct {
		Asked
		Shed []ledger.Grant `json:"shed"`
	}
	read(e, &asked)
	grants := e.Grants
	if r.Part {
		grants = asked.Shed
	}
	for _, g := range grants {
		r.Units += g.Count
		if at, known := slices.BinarySearch(r.Lenders, g.Lender); g.Lender != "" && !known {
			r.Lenders = slices.Insert(r.Lenders, at, g.Lender)
		}
	}
	if !asked.ReclaimBy.IsZero() {
		r.BoundSeconds = max(0, asked.ReclaimBy.Sub(r.Asked).Seconds())
	}
	if e.Kind == ledger.Stopped {
		r.add(e)
	}
	return r
}

// add takes a later entry of the same loan.
func (r *running) add(e *ledger.Entry) {
	step := &Step{Seconds: e.After(r.first).Seconds()}
	switch {
	case e.Kind == ledger.Stopped && e.ReclaimID != r.ReclaimID: // the scheduler was faster
		r.Ended, r.End = step, e.Kind.String()
	case e.Kind == ledger.Stopped:
		var said Stopped
		read(e, &said)
		r.Stopped, r.Untold = step, said.Untold
		if !said.ToldAt.IsZero() {
			r.Told = &Step{Seconds: min(max(0, said.ToldAt.Sub(r.Asked).Seconds()), step.Seconds), Pods: said.Told}
		}
	case e.Kind == ledger.Killed:
		var said Killed
		read(e, &said)
		r.Killed, step.Pods = step, said.Pods
	case e.Kind.Closes(), e.Kind.Sheds() && r.Part, e.Kind == ledger.ReclaimIntent, e.Kind == ledger.ShedIntent:
		r.Ended, r.End = step, e.Kind.String()
	}
}

// When is when what an entry tells of happened.
func When(e *ledger.Entry) time.Time {
	if !e.At.IsZero() && e.At.Before(e.Time) {
		return e.At
	}
	return e.Time
}

// read takes from a payload what it has: those of older versions have less.
func read(e *ledger.Entry, into any) { _ = json.Unmarshal(e.Payload, into) }

// Late tells whether the units came back after their time was over.
func (r *Reclaim) Late() bool {
	return r.Ended != nil && r.BoundSeconds > 0 && r.Ended.Seconds > r.BoundSeconds
}

// Freed tells whether it has ended, and that with units that can be used.
func (r *Reclaim) Freed() bool {
	lost := r.End == ledger.Lost.String() || r.End == ledger.ShedLost.String()
	return r.Ended != nil && !lost
}

// EndedAt is when it ended; the zero time if it has not.
func (r *Reclaim) EndedAt() time.Time {
	if r.Ended == nil {
		return time.Time{}
	}
	return r.Asked.Add(time.Duration(r.Ended.Seconds * float64(time.Second)))
}
