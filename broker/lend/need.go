package lend

import (
	"fmt"
	"time"
)

// What sets a need, beside signals and floors, which have names of their own.
const (
	byAutoscaler = "autoscaler"
	byLoad       = "load"
	byPanic      = "panic"
	bySeason     = "season"
	byUnknown    = "unknown load"
	byPeak       = "peak"
)

// NeedByFloor is LenderView.NeedBy where the highest load of seven days sets the need.
const NeedByFloor = "absolute floor"

// estimate is a number of replicas, and who says that as many are needed.
type estimate struct {
	pods int64
	by   string
}

// atLeast raises the estimate. Of equal ones the first stays.
func (e *estimate) atLeast(pods int64, by string) {
	if pods = min(pods, mostReplicas); pods > e.pods {
		e.pods, e.by = pods, by
	}
}

const mostReplicas = 1 << 40

// level is a need in units, and who says so.
type level struct {
	units int64
	by    string
}

// size sets need, headroom and what is kept besides. While the load is unknown all
// that is not lent counts as needed, so that nothing can be lent.
func (l *lender) size(now time.Time, pol Policy) {
	if l.UnitsPerPod == 0 {
		l.need = level{max(l.Owned-l.lent, 0), byUnknown}
		l.season, l.keep = l.need, l.need
		return
	}
	var e estimate
	e.atLeast(l.autoPods(), byAutoscaler)
	l.askLoad(&e, pol)
	l.urgent = l.inUnits(e)
	l.askFloors(&e, now, pol)
	l.firm = l.inUnits(e)
	l.need = l.firm
	highest := l.memory.peak(l, e.pods, now, pol)
	if l.load.mark == markUnknown {
		if free := l.Owned - l.lent; free > l.need.units {
			l.need = level{free, byUnknown}
		}
		l.season, l.keep = l.need, l.need
		return
	}
	l.warm = up(l.Warm, l.UnitsPerPod)
	l.look(&e, pol)
	l.season = l.inUnits(e)
	e.atLeast(highest, byPeak)
	l.askFloorsAhead(&e, now, pol)
	l.keep = l.inUnits(e)
	l.headroom = l.above(l.season)
}

// inUnits is an estimate in units, never beyond what is owned.
func (l *lender) inUnits(e estimate) level {
	return level{min(min(e.pods, l.ownedPods+1)*l.UnitsPerPod, l.Owned), e.by}
}

// above is how many units are kept warm above a need.
func (l *lender) above(need level) int64 {
	return min(min(l.warm, l.ownedPods+1)*l.UnitsPerPod, l.Owned-need.units)
}

// autoPods is what the workload, its autoscaler and its waiting pods ask for.
func (l *lender) autoPods() int64 {
	return max(l.Desired, l.Running+int64(len(l.Pending)))
}

// askLoad asks the load: the requests, a panic, and every signal.
func (l *lender) askLoad(e *estimate, pol Policy) {
	if l.load.mark != markUnknown {
		e.atLeast(l.podsFor(l.load.requests, pol), byLoad)
	}
	e.atLeast(l.memory.PanicPods, byPanic)
	for _, s := range l.load.signals {
		e.atLeast(l.signalPods(s), "signal "+s.Name)
	}
}

// podsFor is how many replicas serve so many requests at the target utilization.
func (l *lender) podsFor(requests float64, pol Policy) int64 {
	slots := l.load.slots
	if slots == 0 && usable(l.Load.Slots) {
		slots = l.Load.Slots // scaled to zero: what one replica would serve
	}
	if slots == 0 {
		return 0
	}
	return whole(requests / (slots * targetUtilization(pol)))
}

func targetUtilization(pol Policy) float64 {
	if pol.TargetUtilization > 0 {
		return pol.TargetUtilization
	}
	return DefaultPolicy().TargetUtilization
}

// signalPods is what one signal asks for. Any signal pushes up, but none further at
// once than Steps say.
func (l *lender) signalPods(s Signal) int64 {
	running := float64(l.Running)
	most := l.mostPushed()
	var pods int64
	if s.Value > s.High {
		pods = whole(min(running*s.Value/s.High, most))
	}
	if s.PerReplica > 0 {
		pods = max(pods, whole(min(s.Value/s.PerReplica, max(most, 1))))
	}
	if s.Rising && s.Value >= s.Low {
		pods = max(pods, l.Running+1)
	}
	return pods
}

// mostPushed is how many replicas a signal may ask for at once.
func (l *lender) mostPushed() float64 {
	running := float64(l.Running)
	push := l.Steps.Push
	if !(push > 0) {
		push = DefaultPush
	}
	return max(running*(1+push), running+float64(max(l.Steps.PushPods, 0)))
}

// askFloors asks the schedule: what is kept from Notice before a window until its end.
func (l *lender) askFloors(e *estimate, now time.Time, pol Policy) {
	for _, f := range l.Floors {
		if now.Before(f.Until) && !now.Before(f.From.Add(-l.notice())) {
			e.atLeast(up(f.Units, l.UnitsPerPod), f.Name)
		}
	}
	if l.load.mark != markUnknown && l.wild(pol) {
		e.atLeast(l.podsFor(l.Forecast.Floor, pol), NeedByFloor)
	}
}

// askFloorsAhead asks for windows that begin so soon that a loan would not last.
func (l *lender) askFloorsAhead(e *estimate, now time.Time, pol Policy) {
	for _, f := range l.Floors {
		ahead := l.notice() + max(f.Lead, 0) + max(pol.MinimumLoan, 0)
		if now.Before(f.Until) && !now.Before(f.From.Add(-ahead)) {
			e.atLeast(up(f.Units, l.UnitsPerPod), f.Name)
		}
	}
}

// NextFloor is the first moment after the snapshot's at which a window of a lender asks for
// its units: a decision then, and no later, has them back when it begins. It is zero if no
// window is known.
func (in *Snapshot) NextFloor() (at time.Time) {
	for i := range in.Lenders {
		l := lender{Lender: in.Lenders[i]}
		for _, f := range l.Floors {
			asks := f.From.Add(-l.notice())
			if asks.After(in.Now) && (at.IsZero() || asks.Before(at)) {
				at = asks
			}
		}
	}
	return at
}

// notice is how long before they are needed units are asked back: never less than the
// time after which a loan's pods are killed, which they may use whatever was measured.
func (l *lender) notice() time.Duration { return max(l.Notice, l.MaxGrace) }

// needText says what is needed, and who says so.
func (l *lender) needText() string {
	text := fmt.Sprintf("needs %s", plural(l.season.units, "unit"))
	if l.season.by != "" {
		text += " (" + l.season.by + ")"
	}
	if l.keep.units > l.season.units {
		text += fmt.Sprintf(", keeps %d (%s)", l.keep.units, l.keep.by)
	}
	return text
}
