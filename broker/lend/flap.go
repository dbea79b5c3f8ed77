package lend

import (
	"fmt"
	"slices"
	"time"
)

// recentReclaims drops what the flap budget no longer counts. Times after now are not
// believed.
func (m *LenderState) recentReclaims(now time.Time, pol Policy) {
	var kept []time.Time
	for _, t := range m.Reclaims {
		if pol.FlapBudget > 0 && now.Sub(t) < pol.FlapWindow && !t.After(now) {
			kept = append(kept, t)
		}
	}
	slices.SortFunc(kept, time.Time.Compare)
	m.Reclaims = kept
}

// askedBack notes that units were asked back which had been lent since then. It counts
// against the flap budget if that was after the last time it did.
func (m *LenderState) askedBack(since, now time.Time, pol Policy) {
	m.LastReclaim = now
	if n := len(m.Reclaims); pol.FlapBudget > 0 && (n == 0 || m.Reclaims[n-1].Before(since)) {
		m.Reclaims = append(m.Reclaims, now)
	}
}

// flaps says why a lender that was asked back too often lends nothing for a while.
func (l *lender) flaps(pol Policy) (reason, message string) {
	past := l.memory.Reclaims
	if pol.FlapBudget <= 0 || len(past) < pol.FlapBudget {
		return "", ""
	}
	oldest := past[len(past)-pol.FlapBudget]
	return ReasonFlapBudgetSpent, fmt.Sprintf("what it lent was asked back %d times since %s; lends again after %s",
		pol.FlapBudget, stamp(oldest), stamp(oldest.Add(pol.FlapWindow)))
}
