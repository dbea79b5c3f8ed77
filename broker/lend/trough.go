package lend

import (
	"fmt"
	"math"
	"time"
)

// quietTimes is how many times as long as a change and its undoing a layout stays as it
// is at least.
const quietTimes = 10

// pays is how long a trough must be for a change of a layout.
func (m *MIGRules) pays() time.Duration {
	return max(m.MinTrough, quietTimes*m.takes())
}

// takes is how long a change and its undoing take.
func (m *MIGRules) takes() time.Duration { return max(m.Change, 0) + max(m.Undo, 0) }

// trough is how long the lender is expected to need no more than what is left when so
// many units more are lent: the least of what the schedule and the past say, and where
// neither says anything, as long as its load has been low. why does not change while
// nothing else does.
func (l *lender) trough(units int64, now time.Time, pol Policy) (lasts time.Duration, why string) {
	left := l.Owned - l.lent - units
	lasts = math.MaxInt64
	for _, f := range l.Floors {
		if min(f.Units, l.Owned) <= left || !now.Before(f.Until) {
			continue
		}
		end := f.From.Add(-l.notice() - max(f.Lead, 0))
		if d := max(end.Sub(now), 0); d < lasts {
			lasts, why = d, fmt.Sprintf("ends at %s (%s)", stamp(end), f.Name)
		}
	}
	if d, known := l.lowAhead(left, pol); known && d < lasts {
		lasts, why = d, fmt.Sprintf("has lasted %s on earlier days (%s)", d, bySeason)
	}
	if lasts == math.MaxInt64 {
		return max(now.Sub(l.memory.LowSince), 0), "has lasted since " + stamp(l.memory.LowSince)
	}
	return lasts, why
}

// lowAhead is for how long the past makes no load likely that needs more than so many units.
func (l *lender) lowAhead(left int64, pol Policy) (lasts time.Duration, known bool) {
	if l.Forecast == nil || len(l.Forecast.Ahead) == 0 {
		return 0, false
	}
	for _, a := range l.Forecast.Ahead {
		if !usable(a.Load) || up(left+1, max(l.UnitsPerPod, 1)) <= l.podsFor(a.Load, pol) {
			break
		}
		lasts = max(lasts, a.Within)
	}
	return lasts, true
}
