package sim

import (
	"math"
	"slices"
	"time"
)

// ServiceState is an online service at one moment.
type ServiceState struct {
	*Service
	// Index in World.Services, and the number of its flavor.
	Index, FlavorID int32
	// Requests in flight as they were last sampled, not a number where that is unknown.
	Requests  float64
	SampledAt time.Duration
	// Desired replicas; Running those that hold units and are not going, Ready those of
	// Running that serve.
	Desired, Running, Ready int64
	// Pending are since when replicas wait for units, the longest first.
	Pending []time.Duration
	// Lent are the service's units that jobs hold.
	Lent int64

	on     []int64 // replicas that are not going, by spot
	spots  []int32 // those with any, sorted
	starts []start // of replicas that do not serve yet, the oldest first
	told   bool    // the agenda has when the oldest of them, or one before it, serves
	point  int     // of Load, where it was looked at last
	step   int     // of Replicas
	wants  []want  // for the autoscaler's window, none that a later one reaches
}

// start is a number of replicas on a spot that will serve from a moment on.
type start struct {
	at   time.Duration
	spot int32
	n    int64
}

type want struct {
	at time.Duration
	n  int64
}

func newService(w *World, index, flavor int32) *ServiceState {
	return &ServiceState{Service: &w.scenario.Services[index], Index: index, FlavorID: flavor, Requests: math.NaN()}
}

// Held units, those of replicas that are going not included.
func (s *ServiceState) Held() int64 { return s.Running * s.Lender.UnitsPerPod }

// On returns how many replicas are on a spot that are not going, Spots where there are any.
func (s *ServiceState) On(spot int32) int64 { return s.on[spot] }

// Spots with replicas, sorted.
func (s *ServiceState) Spots() []int32 { return s.spots }

// Need is how many replicas a number of requests asks for, Most at most.
func (s *ServiceState) Need(requests float64) int64 {
	n := math.Ceil(requests/(s.Slots*s.Target) - 1e-9)
	return int64(min(max(n, 0), float64(s.Most())))
}

// short reports whether fewer replicas serve than the load fills, although there may be
// more.
func (s *ServiceState) short() bool {
	slots := s.Slots
	if slots == 0 { // its load is in replicas
		slots = 1
	}
	return s.Requests > float64(s.Ready)*slots && s.Ready < s.Most()
}

// sample looks at the load and scales.
func (w *World) sample(s *ServiceState) {
	load := s.Load.from(&s.point, w.now)
	if math.Float64bits(load) != math.Float64bits(s.Requests) {
		w.changed = true
	}
	s.Requests, s.SampledAt = load, w.now
	w.scaleTo(s, s.autoscale(w.now))
}

// autoscale is what the service's autoscaler wants: what the load needs, and no less than
// was needed lately. Where the load is not known it wants what it has.
func (s *ServiceState) autoscale(now time.Duration) int64 {
	if len(s.Replicas) > 0 {
		if n := s.Replicas.from(&s.step, now); !math.IsNaN(n) {
			return int64(min(n, float64(s.Most())))
		}
		return s.Desired
	}
	n := s.Desired
	if !math.IsNaN(s.Requests) {
		n = s.Need(s.Requests)
	}
	n = min(max(n, s.Least), s.Most())
	s.wants = slices.DeleteFunc(s.wants, func(v want) bool { return v.n <= n || v.at <= now-s.ScaleDownAfter })
	s.wants = append(s.wants, want{now, n})
	return s.wants[0].n
}

// scaleTo makes or removes replicas.
func (w *World) scaleTo(s *ServiceState, n int64) {
	if n == s.Desired {
		return
	}
	w.changed = true
	for ; s.Desired < n; s.Desired++ {
		w.ask(s)
	}
	for s.Desired > n {
		s.Desired--
		if last := len(s.Pending) - 1; last >= 0 {
			w.meter.waited(s.Pending[last])
			s.Pending = s.Pending[:last]
			continue
		}
		w.remove(s, w.emptiest(s))
	}
	w.placePending()
}

// ask makes a pod for a replica.
func (w *World) ask(s *ServiceState) {
	s.Pending = append(s.Pending, w.now)
	w.meter.asked()
	w.urgent = true
}

// emptiest is the spot of the service's from which a replica goes: away from home first,
// then where the fewest of its replicas are.
func (w *World) emptiest(s *ServiceState) int32 {
	best := s.spots[0]
	for _, spot := range s.spots[1:] {
		away, bestAway := w.spots[spot].Home != s.Index, w.spots[best].Home != s.Index
		if away != bestAway {
			if away {
				best = spot
			}
		} else if s.on[spot] < s.on[best] {
			best = spot
		}
	}
	return best
}

// remove has one replica on a spot go.
func (w *World) remove(s *ServiceState, spot int32) {
	w.unstart(s, spot)
	s.leave(spot)
	at := &w.spots[spot]
	at.Leaving += s.Lender.UnitsPerPod
	if at.Cut {
		w.unseatReplica(s, spot)
	}
	w.agenda.add(event{at: w.now + s.Drain, kind: evDrained, a: s.Index, b: spot, failures: w.nodes[at.Node].failures, n: s.Lender.UnitsPerPod})
}

// unstart has one replica on a spot run no more: one that does not serve yet, the youngest,
// if there is any.
func (w *World) unstart(s *ServiceState, spot int32) {
	s.Running--
	for i := len(s.starts) - 1; i >= 0; i-- {
		if s.starts[i].spot == spot {
			if s.starts[i].n--; s.starts[i].n == 0 {
				s.starts = slices.Delete(s.starts, i, i+1)
			}
			return
		}
	}
	s.Ready--
}

func (s *ServiceState) leave(spot int32) {
	if s.on[spot]--; s.on[spot] == 0 {
		i, _ := slices.BinarySearch(s.spots, spot)
		s.spots = slices.Delete(s.spots, i, i+1)
	}
}

// drained frees the units of a replica that went, unless its node has failed since.
func (w *World) drained(e event) {
	spot := &w.spots[e.b]
	if w.nodes[spot.Node].failures != e.failures {
		return
	}
	spot.Online, spot.Leaving = spot.Online-e.n, spot.Leaving-e.n
	if spot.Cut {
		w.vacate(e.a, e.b)
	}
	w.rooms.move(e.b, spot)
	w.meter.online -= e.n * w.weights[spot.Flavor]
	w.changed = true
}

// placePending puts replicas that wait on nodes, those first that have waited longest. A
// replica goes to the fullest node on which it fits, at home if there is one.
func (w *World) placePending() {
	for {
		var first *ServiceState
		var to int32
		for _, s := range w.services {
			if len(s.Pending) == 0 || first != nil && s.Pending[0] >= first.Pending[0] {
				continue
			}
			if spot, ok := w.room(s); ok {
				first, to = s, spot
			}
		}
		if first == nil {
			return
		}
		w.place(first, to)
	}
}

// room is where a replica of the service fits.
func (w *World) room(s *ServiceState) (spot int32, ok bool) {
	units := s.Lender.UnitsPerPod
	if spot, ok = w.rooms.home(s.FlavorID, s.Index, units); ok {
		return spot, true
	}
	return w.rooms.any(s.FlavorID, units)
}

// place puts the replica that has waited longest on a spot.
func (w *World) place(s *ServiceState, spot int32) {
	w.meter.waited(s.Pending[0])
	s.Pending = slices.Delete(s.Pending, 0, 1)
	units := s.Lender.UnitsPerPod
	w.spots[spot].Online += units
	if w.spots[spot].Cut {
		w.seatReplica(s, spot)
	}
	w.rooms.move(spot, &w.spots[spot])
	w.meter.online += units * w.weights[s.FlavorID]
	s.Running++
	if s.on[spot]++; s.on[spot] == 1 {
		i, _ := slices.BinarySearch(s.spots, spot)
		s.spots = slices.Insert(s.spots, i, spot)
	}
	w.changed = true
	if s.Reload == 0 {
		s.Ready++
		return
	}
	at := w.now + s.Reload
	if n := len(s.starts); n > 0 && s.starts[n-1].at == at && s.starts[n-1].spot == spot {
		s.starts[n-1].n++
	} else {
		s.starts = append(s.starts, start{at, spot, 1})
	}
	w.tellReady(s)
}

// tellReady has the agenda say when the next replicas serve.
func (w *World) tellReady(s *ServiceState) {
	if !s.told && len(s.starts) > 0 {
		s.told = true
		w.agenda.add(event{at: s.starts[0].at, kind: evReplicaReady, a: s.Index})
	}
}

// replicasReady lets replicas serve whose model is loaded.
func (w *World) replicasReady(s *ServiceState) {
	n := 0
	for ; n < len(s.starts) && s.starts[n].at <= w.now; n++ {
		s.Ready += s.starts[n].n
		w.changed = true
	}
	s.starts = slices.Delete(s.starts, 0, n)
	s.told = false
	w.tellReady(s)
}
