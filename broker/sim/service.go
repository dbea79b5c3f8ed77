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

	on     map[int32]int64 // replicas that are not going, by spot
	spots  []int32         // those with any, sorted
	starts []start         // of replicas that do not serve yet, the oldest first
	wants  []want          // for the autoscaler's window, none that a later one reaches
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
	return &ServiceState{Service: &w.scenario.Services[index], Index: index, FlavorID: flavor, Requests: math.NaN(), on: map[int32]int64{}}
}

// Held units, those of replicas that are going not included.
func (s *ServiceState) Held() int64 { return s.Running * s.Lender.UnitsPerPod }

// On returns how many replicas are on a spot that are not going, Spots where there are any.
func (s *ServiceState) On(spot int32) int64 { return s.on[spot] }

// Spots with replicas, sorted.
func (s *ServiceState) Spots() []int32 { return s.spots }

// Need is how many replicas a number of requests asks for.
func (s *ServiceState) Need(requests float64) int64 {
	return int64(math.Ceil(requests/(s.Slots*s.Target) - 1e-9))
}

// sample looks at the load and scales.
func (w *World) sample(s *ServiceState) {
	load := s.Load.At(w.now)
	if math.Float64bits(load) != math.Float64bits(s.Requests) {
		w.changed = true
	}
	s.Requests, s.SampledAt = load, w.now
	w.scaleTo(s, s.autoscale(w.now))
	w.meter.serve(s, w.now)
}

// autoscale is what the service's autoscaler wants: what the load needs, and no less than
// was needed lately. Where the load is not known it wants what it has.
func (s *ServiceState) autoscale(now time.Duration) int64 {
	if len(s.Replicas) > 0 {
		return min(int64(s.Replicas.At(now)), s.Most())
	}
	n := s.Desired
	if !math.IsNaN(s.Requests) {
		n = min(max(s.Need(s.Requests), s.Least), s.Most())
	}
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
		s.Pending = append(s.Pending, w.now)
		w.meter.pods++
	}
	for s.Desired > n {
		if s.Desired--; len(s.Pending) > 0 {
			s.Pending = s.Pending[:len(s.Pending)-1]
			continue
		}
		w.remove(s, w.emptiest(s))
	}
	w.placePending()
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
	units := s.Lender.UnitsPerPod
	w.spots[spot].Leaving += units
	w.agenda.add(event{at: w.now + s.Drain, kind: evDrained, a: s.Index, b: spot, n: units})
}

// unstart forgets a start on the spot if all replicas there have not begun to serve, else
// one that serves goes.
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
		delete(s.on, spot)
		i, _ := slices.BinarySearch(s.spots, spot)
		s.spots = slices.Delete(s.spots, i, i+1)
	}
}

// drained frees the units of a replica that went.
func (w *World) drained(e event) {
	spot := &w.spots[e.b]
	if spot.Leaving < e.n { // its node failed in the meantime
		return
	}
	spot.Online, spot.Leaving = spot.Online-e.n, spot.Leaving-e.n
	w.meter.online -= e.n
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
func (w *World) room(s *ServiceState) (best int32, ok bool) {
	for i := range w.spots {
		spot := &w.spots[i]
		if spot.Flavor != s.FlavorID || spot.Free() < s.Lender.UnitsPerPod {
			continue
		}
		if !ok || w.prefers(s, spot, &w.spots[best]) {
			best, ok = int32(i), true
		}
	}
	return best, ok
}

func (w *World) prefers(s *ServiceState, a, b *Spot) bool {
	if home := a.Home == s.Index; home != (b.Home == s.Index) {
		return home
	}
	return a.Free() < b.Free()
}

// place puts the replica that has waited longest on a spot.
func (w *World) place(s *ServiceState, spot int32) {
	waited := w.now - s.Pending[0]
	s.Pending = slices.Delete(s.Pending, 0, 1)
	w.meter.waited(waited)
	w.spots[spot].Online += s.Lender.UnitsPerPod
	w.meter.online += s.Lender.UnitsPerPod
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
		return
	}
	s.starts = append(s.starts, start{at, spot, 1})
	w.agenda.add(event{at: at, kind: evReplicaReady, a: s.Index})
}

// replicasReady lets replicas serve whose model is loaded.
func (w *World) replicasReady(s *ServiceState) {
	for len(s.starts) > 0 && s.starts[0].at <= w.now {
		s.Ready += s.starts[0].n
		s.starts = slices.Delete(s.starts, 0, 1)
	}
	w.changed = true
}
