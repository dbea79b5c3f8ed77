package lend

import "fmt"

// scale sets the replicas of the lenders that are the broker's to scale: up to what is
// needed at once, down one by one.
func (d *decision) scale() []ScaleTo {
	var out []ScaleTo
	for _, l := range d.lenders {
		// As for a HorizontalPodAutoscaler, no replicas mean that somebody switched it off.
		if l.Scale == nil || l.Scale.Replicas <= 0 || l.Advise || l.Problem != nil || l.UnitsPerPod == 0 {
			continue
		}
		if s, ok := l.scaleTo(d); ok {
			out = append(out, s)
		}
	}
	return out
}

// scaleTo goes by the load and the floors: what the workload has already says nothing
// about what it needs.
func (l *lender) scaleTo(d *decision) (to ScaleTo, ok bool) {
	var e estimate
	l.askLoad(&e, d.pol)
	l.askFloors(&e, d.now, d.pol)
	least := max(l.Scale.Min, 0)
	most := max(l.Scale.Max, least)
	now, want := l.Scale.Replicas, min(max(e.pods, least), most)
	switch {
	case want > now:
		why := "at least " + plural(least, "replica")
		if e.pods > least {
			why = fmt.Sprintf("%s (%s)", plural(e.pods, "replica"), e.by)
		}
		return ScaleTo{l.Name, want, ReasonNeedRose, fmt.Sprintf("needs %s; %d are set", why, now)}, true
	case want < now && l.maySink(now, most, d):
		l.memory.Scaled = d.now
		return ScaleTo{l.Name, now - 1, ReasonNeedFell, fmt.Sprintf("needs %s; %d are set", plural(want, "replica"), now)}, true
	}
	return ScaleTo{}, false
}

// maySink: one replica of so many is not needed, has not been for a while, and without
// it no signal would be above its high water.
func (l *lender) maySink(replicas, most int64, d *decision) bool {
	switch {
	case l.load.mark != markLow && l.load.mark != markBetween:
		return false
	case len(l.Pending) > 0 || l.Running < replicas || l.Hold != nil || d.starting():
		return false
	case !l.memory.Scaled.IsZero() && d.now.Sub(l.memory.Scaled) < l.Steps.LendEvery:
		return false
	}
	for _, p := range l.memory.Peaks {
		if min(p.Pods, most) >= replicas && p.Pods > l.Scale.Min {
			return false
		}
	}
	return !l.wouldBeHigh(replicas)
}

// wouldBeHigh: what one of so many replicas has now would push a signal of the others
// above its high water.
func (l *lender) wouldBeHigh(replicas int64) bool {
	for _, s := range l.load.signals {
		if s.PerReplica == 0 && s.Value*float64(replicas) > s.High*float64(replicas-1) {
			return true
		}
	}
	return false
}
