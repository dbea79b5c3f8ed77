package lend

import (
	"slices"
	"time"
)

// advised is how many units an adviser would have lent by now, those included that it
// would not have back yet.
func (l *lender) advised() int64 {
	if !l.Advise || l.memory.Advice == nil {
		return 0
	}
	return l.memory.Advice.Lent + l.memory.Advice.leaving()
}

func (a *Advice) leaving() (n int64) {
	for _, l := range a.Leaving {
		n += l.Units
	}
	return n
}

// advise writes the adviser's book: what it would have lent if there were always jobs,
// asked back, and who would have waited for it.
func (l *lender) advise(d *decision) {
	if !l.Advise {
		l.memory.Advice = nil
		return
	}
	a := &Advice{Since: d.now}
	if book := l.memory.Advice; book != nil {
		*a = *book
		a.Lent = clamp(a.Lent)
	}
	l.memory.Advice = a
	a.pass(d.last, d.now)
	if over := min(a.Lent-l.adviserLends(d), a.Lent); over > 0 {
		a.Lent -= over
		a.Reclaims++
		l.memory.askedBack(a.LentAt, d.now, d.pol)
		l.memory.stop()
		if l.notice() > 0 {
			a.Leaving = append(a.Leaving, Leaving{Units: over, By: d.now.Add(l.notice())})
		}
	} else if l.gate == ReasonBelowLowWater {
		real := l.lendable
		l.lendable = max(l.spareBeside(l.lent+a.Lent+a.leaving()), 0)
		l.step(d.now)
		if l.lendable > 0 {
			a.Lent, a.LentAt = a.Lent+l.lendable, d.now
		}
		l.lendable, l.nextStep = real, time.Time{}
	}
	l.countWaiting(a, d.now)
}

// pass lets time pass in the book.
func (a *Advice) pass(last, now time.Time) {
	if !last.IsZero() && now.After(last) {
		a.UnitSeconds += float64(a.Lent) * now.Sub(last).Seconds()
	}
	var still []Leaving
	for _, l := range a.Leaving {
		if l.By.After(now) && l.Units > 0 {
			still = append(still, Leaving{clamp(l.Units), l.By})
		}
	}
	slices.SortStableFunc(still, func(x, y Leaving) int { return x.By.Compare(y.By) })
	a.Leaving = still
}

// adviserLends is the most that the adviser would leave lent now.
func (l *lender) adviserLends(d *decision) int64 {
	keep := l.firm.units
	switch {
	case l.Problem != nil: // its need is not known, but that pods wait is
		keep = min((l.Running+int64(len(l.Pending)))*min(l.UnitsPerPod, mostUnits), l.Owned)
	case l.load.mark == markUnknown:
		if steps := l.memory.blindSteps(d.now, d.pol); steps > 0 {
			back := min(steps, mostUnits) * min(l.UnitsPerPod, mostUnits)
			keep = max(keep, min(l.Owned-l.memory.UnknownLent+back, l.Owned))
		}
	default:
		keep = l.season.units
		if !l.growsIntoWarm() || keep > l.Owned-l.lent-l.memory.Advice.Lent {
			keep += l.headroom
		}
	}
	return max(l.Owned-keep-l.lent, 0)
}

// countWaiting counts the online pods that have no units because of what would still be
// lent. Each waits until enough of that is free.
func (l *lender) countWaiting(a *Advice, now time.Time) {
	asks := min(min(l.autoPods(), l.ownedPods)*l.UnitsPerPod, l.Owned)
	short := min(asks-(l.Owned-l.lent-a.Lent-a.leaving()), a.leaving())
	pods := up(short, l.UnitsPerPod)
	a.Waited += max(pods-a.Waiting, 0)
	a.Waiting = pods
	for _, leaving := range a.Leaving {
		if short <= 0 {
			return
		}
		short -= leaving.Units
		a.LongestWait = max(a.LongestWait, leaving.By.Sub(now))
	}
}
