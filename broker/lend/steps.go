package lend

import "time"

// peak is the highest need in replicas within the time for which a low need must have
// lasted to be believed. What is not known counts as all that is owned: before the first
// decision, after a gap without decisions, and while the load is unknown.
func (m *LenderState) peak(l *lender, pods int64, now time.Time, pol Policy) int64 {
	window := l.Steps.LendAfter
	if window <= 0 {
		m.Peaks = nil
		return pods
	}
	if l.Scale != nil {
		// What it has anyway is what is to be lowered.
		var e estimate
		l.askLoad(&e, pol)
		l.askFloors(&e, now, pol)
		pods = e.pods
	}
	// What began while nobody saw it may be a panic that lasts a stable window more.
	if len(m.Peaks) == 0 || !m.LastUnknown.IsZero() {
		pods = max(pods, l.ownedPods)
		if l.Scale != nil {
			pods = max(pods, l.Scale.Replicas)
		}
	}
	highest := pods
	kept := make([]Peak, 0, len(m.Peaks)+1)
	for _, p := range m.Peaks {
		if p.At.After(now) {
			p.At = now
		}
		if p.Pods > pods && !p.At.Before(now.Add(-window)) {
			kept = append(kept, p)
			highest = max(highest, p.Pods)
		}
	}
	m.Peaks = append(kept, Peak{At: now, Pods: pods})
	return highest
}

// step bounds what is lent by the steps since lending began.
func (l *lender) step(now time.Time) {
	m, s := &l.memory, l.Steps
	lent := l.lent + l.advised()
	if m.OpenSince.IsZero() && l.lendable == 0 {
		return // there is nothing that steps could add up to
	}
	if m.OpenSince.IsZero() || m.OpenSince.After(now) {
		m.OpenSince, m.OpenLent = now, lent
	}
	if s.LendUnits <= 0 || s.LendEvery <= 0 {
		return
	}
	n := 1 + int64(now.Sub(m.OpenSince)/s.LendEvery)
	left := max(m.OpenLent+min(n, mostUnits)*min(s.LendUnits, mostUnits)-lent, 0)
	if left < l.lendable {
		l.lendable = left
		l.nextStep = m.OpenSince.Add(time.Duration(n) * s.LendEvery)
	}
}

// stop ends an opening: the next one begins with its first step.
func (m *LenderState) stop() { m.OpenSince, m.OpenLent = time.Time{}, 0 }
