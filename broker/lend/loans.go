package lend

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// loan is an open loan and what this decision makes of it.
type loan struct {
	Loan
	units int64
	// lent: at least some of its units have a lender. Only such a loan can be a
	// victim; use of a tenant's own nominal quota is never reclaimed by load.
	lent bool
	// ending: its units come free without anything being taken back.
	ending bool
	// cost is the lost work if it is stopped now, in unit-seconds.
	cost float64
	// victim: taken back by this decision.
	victim bool
	// action is what this decision does with it, if anything.
	action *Action
}

// readLoans copies the loans, and books what they use.
func (d *decision) readLoans() {
	seen := map[string]bool{}
	for _, l := range d.in.Loans {
		if seen[l.Name] {
			continue
		}
		seen[l.Name] = true
		c := &loan{Loan: l, ending: l.Finished || l.Reclaiming || l.Preempted}
		c.Grants = slices.Clone(l.Grants)
		for i := range c.Grants {
			g := &c.Grants[i]
			g.Count = clamp(g.Count)
			c.units += g.Count
			d.bookGrant(l.Borrower, *g)
			c.lent = c.lent || g.Lender != ""
		}
		c.cost = lostWork(c, d.now, d.pol.RestartCost)
		d.loans = append(d.loans, c)
	}
	slices.SortFunc(d.loans, func(a, b *loan) int { return cmp.Compare(a.Name, b.Name) })
}

func (d *decision) bookGrant(borrower string, g Grant) {
	n := quota.Amount(g.Count)
	if g.Lender == "" {
		d.book.UseOwn(borrower, g.Flavor, n)
		return
	}
	owner := "" // a lender that is gone: borrowed from nobody who could lend again
	if l := d.byName[g.Lender]; l != nil {
		l.lent += g.Count
		owner = l.Tenant
	}
	d.book.Lend(owner, borrower, g.Flavor, n)
}

// lostWork estimates what stopping the loan costs, in unit-seconds: the work since
// the last checkpoint and the restart, on all its units.
func lostWork(l *loan, now time.Time, restart time.Duration) float64 {
	saved := l.Checkpoint
	if saved.Before(l.Since) {
		saved = l.Since
	}
	lost := max(now.Sub(saved), 0) + max(restart, 0)
	return float64(l.units) * lost.Seconds()
}

// followLoans returns loans whose units are free, evicts what overstays its grace
// and asks back what a lost node has broken.
func (d *decision) followLoans() {
	present := map[string]bool{}
	for _, n := range d.in.Nodes {
		present[n.Name] = true
	}
	for _, l := range d.loans {
		if reason, message := returned(&l.Loan); reason != "" {
			d.returns = append(d.returns, l.act(ActionReturn, reason, message))
			d.countPreemption(l)
			continue
		}
		d.countPreemption(l)
		if l.overstays(d.now) {
			d.evicts = append(d.evicts, l.act(ActionEvict, ReasonGraceExpired,
				fmt.Sprintf("%s left when the grace ended at %s", plural(l.Live, "pod"), stamp(l.ReclaimBy))))
			continue
		}
		// A snapshot without nodes is a blind one: nothing in it proves a node lost.
		if node := l.lostNode(present); node != "" && !l.ending && len(present) > 0 {
			d.takeBack(l, &Action{
				ReclaimBy: d.now.Add(d.graceOf(l, nil)),
				ReclaimID: fmt.Sprintf("r-%d-%d-node", d.in.Epoch, d.number),
				Reason:    ReasonNodeUnhealthy,
				Message:   fmt.Sprintf("node %s is gone, and a gang without one of its nodes is broken", node),
			})
		}
	}
}

// returned says why a loan can be closed; an empty reason means that it cannot.
func returned(l *Loan) (reason, message string) {
	switch {
	case l.Live > 0:
		return "", ""
	case l.Finished:
		return ReasonReleased, "the job has ended and its units are free"
	case l.Preempted:
		return ReasonPreempted, "the scheduler took the units back for an online pod"
	case l.Reclaiming:
		return ReasonReturned, "the units are free after the reclaim"
	}
	return "", ""
}

func (l *loan) overstays(now time.Time) bool {
	return l.Reclaiming && l.Live > 0 && !l.Killed && !now.Before(l.ReclaimBy)
}

func (l *loan) lostNode(present map[string]bool) string {
	for _, g := range l.Grants {
		if !present[g.Node] {
			return g.Node
		}
	}
	return ""
}

// countPreemption starts the cooldown of the lenders for which the scheduler took
// a loan back, and counts it against the job's eviction budget.
func (d *decision) countPreemption(l *loan) {
	if !l.Preempted {
		return
	}
	for _, g := range l.Grants {
		if lender := d.byName[g.Lender]; lender != nil {
			lender.memory.LastReclaim = d.now
		}
	}
	d.history.add(l.JobUID, l.Since, d.now)
}

// graceOf is how long the loan's pods may take to stop: its own grace, cut to what
// its lenders, and those who ask, allow.
func (d *decision) graceOf(l *loan, asking []*lender) time.Duration {
	grace := max(l.Grace, 0)
	for _, g := range l.Grants {
		if lender := d.byName[g.Lender]; lender != nil {
			grace = min(grace, lender.MaxGrace)
		}
	}
	for _, lender := range asking {
		grace = min(grace, lender.MaxGrace)
	}
	return grace
}

// act notes what is done with the loan.
func (l *loan) act(kind ActionKind, reason, message string) Action {
	l.action = &Action{
		Kind: kind, Loan: l.Name, Job: l.Job, JobUID: l.JobUID, Reason: reason, Message: message,
	}
	return *l.action
}

// takeBack asks the loan back as a says.
func (d *decision) takeBack(l *loan, a *Action) {
	a.Kind, a.Loan, a.Job, a.JobUID, a.LostWork = ActionReclaim, l.Name, l.Job, l.JobUID, l.cost
	l.action = a
	l.ending = true
	d.reclaims = append(d.reclaims, *a)
}

// stamp writes a time the same way wherever a message names one.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
