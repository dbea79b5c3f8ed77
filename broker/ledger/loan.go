package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/grants"
)

// LoanState is where a loan stands:
//
//	          LEND_INTENT             LEND_GRANTED            RECLAIM_INTENT
//	(unknown) ──────────► Intended ──────────────► Granted ──────────────► Reclaiming
//	    │                    │ LEND_ABORTED           │ ▲                      │
//	    │ RECOVERED          ▼                        │ └─ (unknown)           │ RECLAIM_DONE
//	    └──────────────►  Closed ◄────────────────────┴────────────────────────┤
//	       to Granted        RELEASED, PREEMPTED, LOST                         ▼
//	                                                                        Closed
//
// SHED_INTENT, SHED and SHED_LOST leave a granted loan Granted, the latter two with fewer
// units. STOPPED and KILLED leave a granted or reclaiming loan as it is. RELEASED,
// PREEMPTED and LOST close a granted loan and a reclaiming one alike. QUARANTINED makes
// either of them InQuarantine, which UNQUARANTINED or LOST closes.
// A closed loan's name is never used again.
type LoanState uint8

// The states of a loan. Their numbers are part of the file format.
const (
	Unknown      LoanState = 0
	Intended     LoanState = 1
	Granted      LoanState = 2
	Reclaiming   LoanState = 3
	Closed       LoanState = 4
	InQuarantine LoanState = 5
)

// String is the state's name.
func (s LoanState) String() string {
	names := [...]string{"Unknown", "Intended", "Granted", "Reclaiming", "Closed", "Quarantined"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("LoanState(%d)", uint8(s))
}

type transition struct {
	from []LoanState
	to   LoanState // Unknown: the state stays
}

// transitions has an entry for each kind that moves a loan.
var transitions = [256]transition{
	LendIntent:    {[]LoanState{Unknown}, Intended},
	Recovered:     {[]LoanState{Unknown}, Granted},
	LendGranted:   {[]LoanState{Intended}, Granted},
	LendAborted:   {[]LoanState{Intended}, Closed},
	ShedIntent:    {[]LoanState{Granted}, Unknown},
	Shed:          {[]LoanState{Granted}, Unknown},
	ShedLost:      {[]LoanState{Granted}, Unknown},
	Stopped:       {[]LoanState{Granted, Reclaiming, InQuarantine}, Unknown},
	Killed:        {[]LoanState{Granted, Reclaiming, InQuarantine}, Unknown},
	ReclaimIntent: {[]LoanState{Granted}, Reclaiming},
	ReclaimDone:   {[]LoanState{Reclaiming}, Closed},
	Released:      {[]LoanState{Granted, Reclaiming}, Closed},
	Preempted:     {[]LoanState{Granted, Reclaiming}, Closed},
	Lost:          {[]LoanState{Granted, Reclaiming, InQuarantine}, Closed},
	Quarantined:   {[]LoanState{Granted, Reclaiming}, InQuarantine},
	Unquarantined: {[]LoanState{InQuarantine}, Closed},
}

// moves tells whether entries of the kind move a loan.
func (k Kind) moves() bool { return transitions[k].from != nil }

// OpenLoan is a loan that is Intended, Granted, Reclaiming or InQuarantine. All of them
// hold their units.
type OpenLoan struct {
	Loan     string
	Job      string
	JobUID   string
	Borrower string
	Grants   []Grant // without what was shed
	State    LoanState
	// FirstSeq is the entry that opened the loan, LastSeq the last that moved it.
	FirstSeq, LastSeq uint64
	// StartSeq and Since are when the loan's time began to count; 0 while Intended.
	StartSeq uint64
	Since    time.Time
	// ReclaimID is set while Reclaiming.
	ReclaimID string
	// Tenants of the lenders, as far as the entry that opened the loan tells them.
	Tenants []LenderTenant

	start       moment
	quarantined moment // meaningless unless InQuarantine
}

// clone shares nothing with the loan.
func (l *OpenLoan) clone() OpenLoan {
	out := *l
	out.Grants, out.Tenants = slices.Clone(l.Grants), slices.Clone(l.Tenants)
	return out
}

// tenantOf is the tenant that the lender belongs to; empty if the ledger was not told.
func (l *OpenLoan) tenantOf(lender string) string {
	for i := range l.Tenants {
		if l.Tenants[i].Lender == lender {
			return l.Tenants[i].Tenant
		}
	}
	return ""
}

// moment is a point of time on up to two clocks.
type moment struct {
	wall int64 // ns since 1970
	mono int64 // ns since the start of boot; meaningless if boot is empty
	boot string
}

// momentOf is when e took effect. A time told in At is on the wall clock only,
// and never later than the entry.
func momentOf(e *Entry) moment {
	if e.At.IsZero() || e.At.After(e.Time) {
		return moment{wall: e.Time.UnixNano(), mono: e.MonoNS, boot: e.BootID}
	}
	return moment{wall: e.At.UnixNano()}
}

// between is the time from a to b in whole milliseconds, never negative: by the
// monotonic clock if both have the same one, otherwise by the wall clock.
func between(a, b *moment) int64 {
	ns := b.wall - a.wall
	if a.boot != "" && a.boot == b.boot {
		ns = b.mono - a.mono
	}
	return max(ns, 0) / int64(time.Millisecond)
}

// After is how long after an earlier entry this one took effect, in whole milliseconds and
// never negative, by the clocks that accounts use.
func (e *Entry) After(earlier *Entry) time.Duration {
	from, to := momentOf(earlier), momentOf(e)
	return time.Duration(between(&from, &to)) * time.Millisecond
}

// without is what a loan gives back that holds less from now on.
func without(held, kept []Grant) ([]Grant, error) {
	if more := grants.Without(kept, held); len(more) > 0 {
		at := slices.IndexFunc(kept, func(g Grant) bool {
			return g.Lender == more[0].Lender && g.Node == more[0].Node && g.Flavor == more[0].Flavor
		})
		return nil, invalid(fmt.Sprintf("grants[%d].count", at), "is more than the loan holds of %s on %s", more[0].Flavor, more[0].Node)
	}
	out := grants.Without(held, kept)
	if len(out) == 0 {
		return nil, invalid("grants", "are all that the loan holds, so nothing is shed")
	}
	return out, nil
}

// fillIn copies what a later entry of a loan may leave out, and refuses what
// contradicts the first. The entry's grants are the loan's own afterwards.
func fillIn(e *Entry, loan *OpenLoan) error {
	for _, f := range [...]struct {
		name string
		have *string
		want string
	}{{"job", &e.Job, loan.Job}, {"jobUID", &e.JobUID, loan.JobUID}, {"borrower", &e.Borrower, loan.Borrower}} {
		if *f.have != "" && *f.have != f.want {
			return invalid(f.name, "%q differs from %q in entry %d, which opened loan %s", *f.have, f.want, loan.FirstSeq, loan.Loan)
		}
		*f.have = f.want
	}
	if !e.Kind.Sheds() {
		if len(e.Grants) > 0 && !slices.Equal(e.Grants, loan.Grants) {
			return invalid("grants", "differ from those in entry %d of loan %s", loan.LastSeq, loan.Loan)
		}
		e.Grants = loan.Grants
	}
	if e.ReclaimID == "" {
		e.ReclaimID = loan.ReclaimID
	}
	return nil
}
