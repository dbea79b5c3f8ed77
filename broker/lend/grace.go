package lend

import (
	"slices"
	"time"
)

// ownGraceLimit bounds the grace of pods on their tenant's own quota.
const ownGraceLimit = time.Hour

// endingGrace is how long pods may stay after their loan began to end: what its
// lenders allow; without any, their own grace and a minute. Since its units count as
// coming free, no owed online pod waits for them longer than its lender allows.
func (d *decision) endingGrace(l *loan) time.Duration {
	grace := min(max(l.Grace, 0), ownGraceLimit) + time.Minute
	lent := false
	for _, g := range slices.Concat(l.frees(), l.made) {
		if allowed, ok := d.allowed(g.Lender); ok {
			if !lent {
				grace, lent = allowed, true
			}
			grace = min(grace, allowed)
		}
		if p := d.pools[g.Flavor]; p != nil {
			for _, lender := range p.lenders {
				if len(lender.Pending) > 0 && lender.Running < lender.ownedPods {
					grace = min(grace, lender.MaxGrace)
				}
			}
		}
	}
	return max(grace-l.undo, 0)
}

// graceOf is how long the loan's pods may take to stop: its own grace, cut to what
// its lenders, and those who ask, allow, less what giving them their slices back takes.
func (d *decision) graceOf(l *loan, asking []*lender) time.Duration {
	grace := max(l.Grace, 0)
	for _, g := range l.frees() {
		if allowed, ok := d.allowed(g.Lender); ok {
			grace = min(grace, allowed-l.undo)
		}
	}
	for _, lender := range asking {
		grace = min(grace, lender.MaxGrace-l.undo)
	}
	grace = max(grace, 0)
	return grace
}

// allowed is the longest grace that whoever lent the units allows; ok is false for
// the own quota, and for a lender that is gone.
func (d *decision) allowed(lender string) (grace time.Duration, ok bool) {
	if l := d.byName[lender]; l != nil {
		return l.MaxGrace, true
	}
	if IsCohortLender(lender) {
		return max(d.pol.QuotaGrace, 0), true
	}
	return 0, false
}
