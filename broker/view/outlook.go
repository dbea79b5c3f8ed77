package view

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Outlook estimates when waiting jobs start, if units keep coming free as they did
// lately.
type Outlook struct {
	now       time.Time
	available map[account]int64
	freed     map[string]int64
	in        time.Duration
}

type account struct{ tenant, flavor string }

// NewOutlook looks at a decision. freed units of each flavor came free in the time
// in before it.
func NewOutlook(now time.Time, plan *lend.Plan, freed map[string]int64, in time.Duration) *Outlook {
	o := &Outlook{now: now, available: make(map[account]int64, len(plan.Tenants)), freed: freed, in: in}
	for i := range plan.Tenants {
		t := &plan.Tenants[i]
		o.available[account{t.Name, t.Flavor}] = t.Available
	}
	return o
}

// comes are the reasons to wait that end when units come free.
var comes = map[string]bool{
	lend.ReasonNoLendableUnits: true, lend.ReasonNoRoomForGang: true, lend.ReasonOverBorrowingLimit: true,
	lend.ReasonLendingLimitReached: true, lend.ReasonBehindInQueue: true, lend.ReasonReservedForEarlier: true,
	lend.ReasonWaitingForReturn: true,
}

// Missing is how many units must come free for a job that waits for a reason: what it and
// those before it want beyond what is available. It is 0 if it waits for something else.
func (o *Outlook) Missing(j *lend.Job, place lend.Place, reason string) int64 {
	if j.Problem != nil || !comes[reason] {
		return 0
	}
	// It waits although there may be enough: then at least a pod's worth is missing,
	// in its shape.
	return max(place.Ahead-o.available[account{j.Tenant, j.Flavor}], j.UnitsPerPod, 1)
}

// Start is when a job would start that waits for a reason, in whole minutes: when what is
// Missing has come free. It is zero if nothing came free lately, or if nothing is missing.
func (o *Outlook) Start(j *lend.Job, place lend.Place, reason string) time.Time {
	freed, missing := o.freed[j.Flavor], o.Missing(j, place, reason)
	if freed <= 0 || o.in <= 0 || missing == 0 {
		return time.Time{}
	}
	const longest = 365 * 24 * time.Hour // whoever waits for longer is told nothing
	if minutes := float64(missing) / float64(freed) * o.in.Minutes(); minutes < longest.Minutes() {
		return o.now.Add(time.Duration(minutes * float64(time.Minute))).Truncate(time.Minute)
	}
	return time.Time{}
}
