package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// nothing is lent.
type nothing struct{}

func (nothing) begin(*sim.World) {}

func (nothing) keep(s *sim.ServiceState, _ time.Duration) (keep, need int64, again time.Duration) {
	return s.Most(), 0, 0
}

// pending keeps room for replicas that wait, and for no others: who comes first has units.
type pending struct{}

func (pending) begin(*sim.World) {}

func (pending) keep(s *sim.ServiceState, _ time.Duration) (keep, need int64, again time.Duration) {
	return s.Desired, s.Desired, 0
}

// idle lends what is not wanted now, less the service's headroom. The headroom is for the
// service to grow into: units are taken back when even that is used up.
type idle struct{}

func (idle) begin(*sim.World) {}

func (idle) keep(s *sim.ServiceState, _ time.Duration) (keep, need int64, again time.Duration) {
	return s.Desired + warm(s), s.Desired, 0
}

// warm is a service's headroom in replicas.
func warm(s *sim.ServiceState) int64 {
	per := s.Lender.UnitsPerPod
	return (s.Lender.Warm + per - 1) / per
}

// share lends for ever what was never wanted in the past, and nothing of a service that
// has none. Nothing of it is taken back.
type share struct{ most levels }

func (k *share) begin(w *sim.World) { k.most.begin(w) }

func (k *share) keep(s *sim.ServiceState, _ time.Duration) (keep, need int64, again time.Duration) {
	return k.most.at(s, 0), 0, 0
}

// timetable lends by the hour what was wanted neither in that hour of the week (of the day,
// if no week is known) nor in the next. When an hour's share is smaller than the last one's,
// what is beyond it is taken back.
type timetable struct {
	most   levels
	period time.Duration
}

func (k *timetable) begin(w *sim.World) { k.most.begin(w) }

func (k *timetable) keep(s *sim.ServiceState, now time.Duration) (keep, need int64, again time.Duration) {
	keep = max(k.most.at(s, int(now%k.period/time.Hour)), s.Desired)
	return keep, keep, time.Hour - now%time.Hour
}

// levels are how many replicas services wanted at most in the past, by part of a period.
type levels struct {
	names []string
	most  [][]int64 // by name
	index []int     // of each service of the world; -1: it has no past, or none that is known
}

func (l *levels) begin(w *sim.World) {
	l.index = l.index[:0]
	for _, s := range w.Services() {
		l.index = append(l.index, slices.Index(l.names, s.Lender.Name))
	}
}

// at is the level of a service in a part; all of its replicas without a past.
func (l *levels) at(s *sim.ServiceState, part int) int64 {
	if i := l.index[s.Index]; i >= 0 {
		return l.most[i][part]
	}
	return s.Most()
}

// level finds the highest wants of the past in each part of a period and the one after it.
func level(p Past, period, part time.Duration) (levels, error) {
	curves, err := wanted(p)
	if err != nil {
		return levels{}, err
	}
	var l levels
	for i, c := range curves {
		if !p.knows(&p.Services[i]) {
			continue
		}
		parts := make([]int64, period/part)
		for at := p.From - mod(p.From, part); at < p.Until; at += part {
			k := int(mod(at, period) / part)
			parts[k] = max(parts[k], int64(c.Max(max(at, p.From), min(at+part, p.Until))))
		}
		most := slices.Clone(parts)
		for k := range most {
			most[k] = max(parts[k], parts[(k+1)%len(parts)])
		}
		l.names, l.most = append(l.names, p.Services[i].Lender.Name), append(l.most, most)
	}
	return l, nil
}

// mod is the remainder that is not negative.
func mod(d, by time.Duration) time.Duration { return (d%by + by) % by }

// oracle lends what will not be wanted for as long as it takes to get units back: until
// grace and the loading of the model from now. It reads the load that is to come, through
// the service's own autoscaler.
type oracle struct{ curves []sim.Curve }

func (k *oracle) begin(w *sim.World) {
	s := w.Scenario()
	until := s.Length
	for i := range s.Services {
		// After its last point and what its autoscaler remembers, nothing changes.
		for _, c := range []sim.Curve{s.Services[i].Load, s.Services[i].Replicas} {
			if n := len(c); n > 0 {
				until = max(until, c[n-1].At+s.Services[i].ScaleDownAfter+time.Hour)
			}
		}
	}
	// A scenario that runs can be played.
	k.curves, _ = wanted(Past{Until: min(until, s.Length+s.Drain), Sample: s.Sample, Services: s.Services})
}

func (k *oracle) keep(s *sim.ServiceState, now time.Duration) (keep, need int64, again time.Duration) {
	if len(k.curves) == 0 {
		return s.Most(), s.Most(), 0
	}
	c, until := k.curves[s.Index], now+s.Lender.MaxGrace+s.Reload
	keep = max(s.Desired, int64(c.Max(now, until+1)))
	i, _ := slices.BinarySearchFunc(c, until+1, func(p sim.Point, t time.Duration) int { return cmp.Compare(p.At, t) })
	if i < len(c) {
		again = c[i].At - until
	}
	return keep, keep, again
}
