package sim

import (
	"fmt"
	"time"
)

// Policy decides who gets what.
type Policy interface {
	// Name of the policy, as results call it.
	Name() string
	// Decide acts on the world. It is called once at the beginning and whenever something
	// has changed, when all that happens at one moment has happened; and again when it said,
	// even if nothing has: again is the time until then, 0 never.
	Decide(w *World) (again time.Duration)
}

// Steps a run.
type stepper struct {
	*World
	policy  Policy
	decided time.Duration
	wake    time.Duration // 0: none
}

const defaultSample = 15 * time.Second

// Run plays a scenario under a policy. progress, if not nil, is told now and then which
// part of the time is over.
func Run(s *Scenario, p Policy, progress func(share float64)) (*Result, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	w, err := newWorld(s)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	r := &stepper{World: w, policy: p}
	w.meter.begin(w, p.Name())
	w.pull()
	w.agenda.add(event{at: 0, kind: evSample})
	w.failNext()
	end := s.Length + s.Drain
	for told := time.Duration(0); w.err == nil; {
		at, ok := w.agenda.next()
		if !ok || at > end || at >= s.Length && w.counted == 0 && !w.more {
			break
		}
		w.meter.advance(at)
		w.now = at
		for next, ok := at, true; ok && next == at; next, ok = w.agenda.next() {
			w.happen(w.agenda.pop())
			w.meter.events++
		}
		r.decide()
		if progress != nil && at-told > end/1000 {
			told = at
			progress(float64(at) / float64(end))
		}
	}
	if w.err != nil {
		return nil, fmt.Errorf("policy %s: %w", p.Name(), w.err)
	}
	w.meter.advance(min(end, max(w.now, s.Length)))
	return w.meter.result(w), nil
}

// happen carries out one event.
func (w *World) happen(e event) {
	switch e.kind {
	case evJobEnd:
		if j := w.job(&e); j != nil {
			w.finish(j)
		}
	case evJobStopped:
		if j := w.job(&e); j != nil {
			w.stopped(j)
		}
	case evShedOver:
		w.shedOver(e)
	case evDrained:
		w.drained(e)
	case evReplicaReady:
		w.replicasReady(w.services[e.a])
	case evSample:
		for _, s := range w.services {
			w.sample(s)
		}
		w.agenda.add(event{at: w.now + w.every(), kind: evSample})
	case evArrival:
		w.arrive()
	case evFailure:
		w.failure(e)
	case evRepair:
		w.repair(e.a)
	case evWake:
	}
}

func (w *World) every() time.Duration {
	if w.scenario.Sample > 0 {
		return w.scenario.Sample
	}
	return defaultSample
}

// decide asks the policy, if something has changed or it wanted to be asked.
func (r *stepper) decide() {
	r.placePending()
	waits := false
	for _, s := range r.services {
		waits = waits || len(s.Pending) > 0
	}
	due := r.wake > 0 && r.now >= r.wake
	if !r.changed && !due && r.meter.decisions > 0 {
		return
	}
	if gap := r.scenario.Gap; !waits && !due && r.meter.decisions > 0 && r.now < r.decided+gap {
		r.wakeAt(r.decided + gap)
		return
	}
	r.changed, r.wake = false, 0
	r.decided = r.now
	r.meter.decisions++
	if again := r.policy.Decide(r.World); again > 0 {
		r.wakeAt(r.now + again)
	}
	r.changed = false
	r.placePending()
}

// wakeAt asks to be woken at a moment, or earlier if that was asked already.
func (r *stepper) wakeAt(at time.Duration) {
	if r.wake > 0 && r.wake <= at {
		return
	}
	r.wake = at
	r.agenda.add(event{at: at, kind: evWake})
}

// failNext draws when and where a node fails next.
func (w *World) failNext() {
	f := w.scenario.Failures
	if f.Every <= 0 || len(w.nodes) == 0 {
		return
	}
	mean := float64(f.Every) / float64(len(w.nodes))
	wait := time.Duration(min(w.random.ExpFloat64()*mean, 1e18))
	w.agenda.add(event{at: w.now + wait, kind: evFailure, a: int32(w.random.IntN(len(w.nodes)))})
}

// failure of a node: replicas on it wait anew, jobs that have a pod on it stop and lose
// what they had not saved.
func (w *World) failure(e event) {
	w.failNext()
	node := &w.nodes[e.a]
	if node.down {
		return
	}
	node.down = true
	w.changed = true
	w.meter.failures++
	for i := node.first; i < node.end; i++ {
		for _, s := range w.services {
			for s.on[i] > 0 {
				w.unstart(s, i)
				s.leave(i)
				s.Pending = append(s.Pending, w.now)
				w.meter.pods++
			}
		}
		spot := &w.spots[i]
		w.meter.online -= spot.Online
		spot.Online, spot.Leaving, spot.Down = 0, 0, true
	}
	for k := len(w.running) - 1; k >= 0; k-- {
		j := w.running[k]
		for _, p := range j.Places {
			if w.spots[p.Spot].Node == e.a {
				w.lose(j)
				w.meter.failed(j)
				w.stopped(j)
				break
			}
		}
	}
	w.agenda.add(event{at: w.now + w.scenario.Failures.Repair, kind: evRepair, a: e.a})
}

func (w *World) repair(n int32) {
	node := &w.nodes[n]
	node.down = false
	for i := node.first; i < node.end; i++ {
		w.spots[i].Down = false
	}
	w.changed = true
}
