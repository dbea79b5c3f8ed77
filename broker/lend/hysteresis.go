package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// upTo is the memory as it may be believed now. What was low at both ends of a gap
// without decisions, or across a step of the clock, may have been anything between.
func (s State) upTo(now time.Time, pol Policy) State {
	gap := now.Sub(s.At)
	stale := max(pol.StaleAfter, 0)
	if s.At.IsZero() || (gap >= 0 && gap-stale <= stale/2) {
		return s
	}
	s.Lenders = slices.Clone(s.Lenders)
	for i := range s.Lenders {
		m := &s.Lenders[i]
		m.LowSince, m.Peaks, m.LastUnknown = time.Time{}, nil, now
		m.stop()
	}
	return s
}

// observe updates what is remembered about the lender's load.
func (m *LenderState) observe(l *lender, now time.Time, pol Policy) {
	if l.load.mark != markLow {
		m.LowSince = time.Time{}
	} else if m.LowSince.IsZero() || m.LowSince.After(now) {
		m.LowSince = now
	}
	if l.load.mark != markUnknown {
		m.UnknownSince, m.UnknownLent = time.Time{}, 0
	} else if m.UnknownSince.IsZero() || m.UnknownSince.After(now) {
		m.UnknownSince, m.UnknownLent = now, l.lent+l.advised()
	}
	if l.load.mark == markUnknown || m.LastUnknown.After(now) {
		m.LastUnknown = now
	} else if m.PanicUntil.IsZero() && now.Sub(m.LastUnknown) > pol.StableWindow {
		m.LastUnknown = time.Time{}
	}
	if m.LastReclaim.After(now) {
		m.LastReclaim = now
	}
	if m.Scaled.After(now) {
		m.Scaled = now
	}
}

// blindSteps is how many replicas' worth of units a lender that has been unknown
// for too long has got back by now.
func (m *LenderState) blindSteps(now time.Time, pol Policy) int64 {
	if m.UnknownSince.IsZero() {
		return 0
	}
	late := now.Sub(m.UnknownSince) - pol.UnknownGrace
	switch {
	case late <= 0:
		return 0
	case pol.UnknownStep <= 0:
		return math.MaxInt32
	}
	return int64(late/pol.UnknownStep) + 1
}

// cooling reports whether the last reclaim was too recent.
func (l *lender) cooling(now time.Time) bool {
	return !l.memory.LastReclaim.IsZero() && now.Sub(l.memory.LastReclaim) < l.Cooldown
}

// mayLend decides whether new loans may be made, and how much.
func (l *lender) mayLend(d *decision) {
	if l.gate, l.why = l.closed(d); l.gate != "" {
		l.memory.stop()
		return
	}
	l.open = true
	l.gate = ReasonBelowLowWater
	l.why = "all signals are below their low water"
	if l.load.utilization >= 0 {
		l.why = l.load.text(l) + " is below " + percent(l.LowWater)
	}
	l.lendable = l.lendableUnits()
	switch p := l.Prepare; {
	case l.Advise:
		// An adviser reports what it would lend, and is never asked to.
		l.open = false
	case p == nil || p.Done:
		l.step(d.now)
	case l.lendable > 0:
		l.shut(ReasonPreparing, cmp.Or(p.Message, "something has to be done before units are lent"))
	default:
		l.memory.stop()
	}
}

// shut ends lending for this decision. A lender that was shut before keeps its
// first reason.
func (l *lender) shut(reason, message string) {
	if l.gate == ReasonBelowLowWater {
		l.gate, l.why = reason, message
	}
	l.open, l.lendable = false, 0
	l.memory.stop()
}

// closed says why nothing new may be lent. The first reason that applies is the
// one that has to go first.
func (l *lender) closed(d *decision) (reason, message string) {
	for _, because := range []func(*decision) (reason, message string){l.unfit, l.busy, l.early, l.barred} {
		if reason, message = because(d); reason != "" {
			return reason, message
		}
	}
	return "", ""
}

// busy: it needs its units, or may need them.
func (l *lender) busy(d *decision) (reason, message string) {
	switch {
	case len(l.Pending) > 0:
		return ReasonLenderPodPending, waiting(int64(len(l.Pending)), l.UnitsPerPod)
	case l.memory.blindSteps(d.now, d.pol) > 0:
		return ReasonLenderUnknownTooLong, l.load.text(l) + ", since " + stamp(l.memory.UnknownSince)
	case l.load.mark == markUnknown:
		return l.load.reason, l.load.text(l)
	case l.load.mark == markHigh:
		return ReasonAboveHighWater, l.load.text(l) + "; " + l.load.blocker
	case l.load.mark == markBetween:
		return ReasonAboveLowWater, l.load.text(l) + "; " + l.load.blocker
	}
	return "", ""
}

// early: what is seen has not lasted long enough.
func (l *lender) early(d *decision) (reason, message string) {
	switch {
	case d.now.Sub(l.memory.LowSince) < l.Dwell:
		return ReasonDwellNotMet, fmt.Sprintf("%s; low since %s, lends after %s of that", l.load.text(l), stamp(l.memory.LowSince), l.Dwell)
	case l.cooling(d.now):
		return ReasonCooldownActive, fmt.Sprintf("%s; units were taken back at %s, lends %s after that", l.load.text(l), stamp(l.memory.LastReclaim), l.Cooldown)
	case !l.memory.LastUnknown.IsZero():
		return ReasonDwellNotMet, fmt.Sprintf("%s; it was not known at %s, lends after %s of knowing", l.load.text(l), stamp(l.memory.LastUnknown), d.pol.StableWindow)
	case d.starting():
		return ReasonBrokerStarted, fmt.Sprintf("%s; the broker decides since %s, and lends after %s of that", l.load.text(l), stamp(d.since), d.pol.StableWindow)
	}
	return "", ""
}

// barred: what is seen is low, and that is not enough.
func (l *lender) barred(d *decision) (reason, message string) {
	if l.Hold != nil {
		return cmp.Or(l.Hold.Reason, ReasonOnHold), cmp.Or(l.Hold.Message, "nothing is to be lent now")
	}
	if reason, message := l.unforecastable(d.pol); reason != "" {
		return reason, message
	}
	return l.flaps(d.pol)
}

// starting: the broker has run for too short a time to know what is usual.
func (d *decision) starting() bool {
	return !d.since.IsZero() && d.now.Sub(d.since) < d.pol.StableWindow
}

// unfit says what is wrong with the lender itself.
func (l *lender) unfit(d *decision) (reason, message string) {
	switch {
	case l.Problem != nil:
		return cmp.Or(l.Problem.Reason, ReasonNothingLendable), l.Problem.Message
	case !d.books.known(l.Tenant):
		return ReasonUnknownTenant, "its namespace belongs to no tenant"
	case !d.books.lists(l.Tenant, l.Flavor):
		return ReasonUnknownFlavor, fmt.Sprintf("its tenant's quota has no flavor %q", l.Flavor)
	case l.claimed > 0 && l.Owned == 0:
		return ReasonOwnedOverNominal, l.excess()
	}
	return "", ""
}

// excess says what the policy claims beyond the nominal quota.
func (l *lender) excess() string {
	return fmt.Sprintf("the policy says %s, of which the tenant's nominal quota leaves %d", plural(l.claimed, "owned unit"), l.Owned)
}
