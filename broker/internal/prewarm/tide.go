package prewarm

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// forReclaim is what a BeforeReturn is for that no window caused.
const forReclaim = "reclaim"

// tide is what a decision says about one lender.
type tide struct {
	now    time.Time
	lender *lend.Lender
	// reason is the verdict's; empty if there is none.
	reason string
	lent   int64
	owned  int64
	// back are the loans that are asked back for it.
	back []*lend.Loan
}

func newTide(name string, s *lend.Snapshot, plan *lend.Plan) *tide {
	t := &tide{now: s.Now}
	if at, found := slices.BinarySearchFunc(s.Lenders, name, func(l lend.Lender, name string) int { return cmp.Compare(l.Name, name) }); found {
		t.lender = &s.Lenders[at]
	}
	if at, found := slices.BinarySearchFunc(plan.Lenders, name, func(v lend.LenderView, name string) int { return cmp.Compare(v.Name, name) }); found {
		t.lent, t.owned = plan.Lenders[at].Lent, plan.Lenders[at].Owned
	}
	// A job may have the lender's name.
	at, _ := slices.BinarySearchFunc(plan.Verdicts, name, func(v lend.Verdict, name string) int { return cmp.Compare(v.Subject, name) })
	for ; at < len(plan.Verdicts) && plan.Verdicts[at].Subject == name; at++ {
		if v := &plan.Verdicts[at]; v.Kind == lend.SubjectLender {
			t.reason = v.Reason
		}
	}
	for i := range plan.Actions {
		if a := &plan.Actions[i]; a.Kind == lend.ActionReclaim && owes(a, name) {
			t.back = append(t.back, loan(s, a.Loan))
		}
	}
	return t
}

func owes(a *lend.Action, lender string) bool {
	for _, o := range a.Owed {
		if o.Lender == lender {
			return true
		}
	}
	return false
}

func loan(s *lend.Snapshot, name string) *lend.Loan {
	at, found := slices.BinarySearchFunc(s.Loans, name, func(l lend.Loan, name string) int { return cmp.Compare(l.Name, name) })
	if found {
		return &s.Loans[at]
	}
	return &lend.Loan{Name: name, Since: s.Now} // as if it were new
}

// prepares: units could be lent if they were prepared.
func (t *tide) prepares() bool { return t.reason == lend.ReasonPreparing }

// over: nothing is lent, and the service is not idle any more. A load that is not known
// and a broker that has just started say nothing about that.
func (t *tide) over() bool {
	switch t.reason {
	case lend.ReasonAboveLowWater, lend.ReasonAboveHighWater, lend.ReasonLenderPodPending, lend.ReasonCooldownActive:
		return t.lent == 0
	}
	return false
}

// lentLast is when the youngest of the loans was lent that are asked back; zero if none is.
func (t *tide) lentLast() time.Time {
	var last time.Time
	for _, l := range t.back {
		if l.Since.After(last) {
			last = l.Since
		}
	}
	return last
}

// window is the start of a window of the schedule before which units will be asked
// back, if it is so near that something has to begin that takes so long; else empty.
func (t *tide) window(long time.Duration) string {
	if t.lender == nil || t.lent == 0 {
		return ""
	}
	notice := t.lender.Notice
	if notice <= 0 {
		notice = t.lender.MaxGrace
	}
	for i := range t.lender.Floors {
		f := &t.lender.Floors[i]
		near := !t.now.Before(f.From.Add(-notice-long)) && t.now.Before(f.From)
		if near && t.owned-t.lent < f.Units {
			return f.From.UTC().Format(time.RFC3339)
		}
	}
	return ""
}
