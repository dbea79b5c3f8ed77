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

// stepper goes from moment to moment.
type stepper struct {
	*World
	policy  Policy
	decided time.Duration
	wake    time.Duration // 0: none
	rounds  int           // decisions at this moment
}

const defaultSample = 15 * time.Second

// mostRounds bounds how often a policy is asked at one moment: one that stops and starts
// jobs which take no time would never let it pass.
const mostRounds = 1000

// Run plays a scenario under a policy. progress, if not nil, is told now and then which
// part of the time is over.
func Run(s *Scenario, p Policy, progress func(share float64)) (*Result, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	r := &stepper{World: newWorld(s), policy: p}
	r.meter.begin(r.World, p.Name())
	r.pull()
	r.agenda.add(event{at: 0, kind: evSample})
	r.failNext()
	end := s.Length + s.Drain
	told := time.Duration(0)
	for r.err == nil && r.step(end) {
		if progress != nil && r.now-told > end/1000 {
			told = r.now
			progress(float64(told) / float64(end))
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if r.over() {
		end = max(r.now, s.Length)
	}
	return r.meter.result(end), nil
}

// over reports whether all that counts has been seen, if nothing more is measured.
func (w *World) over() bool { return w.counted == 0 && !w.more }

// step plays the next moment; false if there is none before the end, or all is over.
func (r *stepper) step(end time.Duration) bool {
	at, ok := r.agenda.next()
	if r.wake > 0 && (!ok || r.wake < at) {
		at, ok = r.wake, true
	}
	if !ok || at > end || at >= r.scenario.Length && r.over() {
		return false
	}
	if at > r.now {
		r.rounds = 0
	}
	r.meter.advance(at)
	r.now = at
	for next, ok := r.agenda.next(); ok && next == at; next, ok = r.agenda.next() {
		r.happen(r.agenda.pop())
	}
	r.decide()
	return true
}

// happen carries out one event.
func (w *World) happen(e event) {
	w.meter.r.Events++
	if e.stale() {
		w.agenda.overdue--
		return
	}
	switch e.kind {
	case evJobEnd:
		e.job.due = 0
		w.finish(e.job)
	case evJobStopped:
		e.job.due = 0
		w.stopped(e.job)
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
		w.failure(e.a)
	case evRepair:
		w.repair(e.a)
	case evReshaped:
		w.reshaped(e.change)
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
	first, due := r.meter.r.Decisions == 0, r.wake > 0 && r.now >= r.wake
	if !r.changed && !due && !first {
		return
	}
	if soonest := r.decided + r.scenario.Gap; !due && !first && r.now < soonest && !(r.urgent && r.waits()) {
		r.wakeAt(soonest)
		return
	}
	if r.rounds++; r.rounds > mostRounds {
		r.refuse("it does not let the moment pass: it has acted %d times", mostRounds)
		return
	}
	r.wake, r.urgent = 0, false
	r.decided = r.now
	r.meter.r.Decisions++
	if again := r.policy.Decide(r.World); again > 0 {
		r.wakeAt(r.now + min(again, forever))
	}
	r.changed = false
	r.placePending()
	r.check()
}

// waits reports whether an online pod waits for units.
func (w *World) waits() bool {
	for _, s := range w.services {
		if len(s.Pending) > 0 {
			return true
		}
	}
	return false
}

// wakeAt asks to be woken at a moment, or earlier if that was asked already.
func (r *stepper) wakeAt(at time.Duration) {
	if r.wake == 0 || at < r.wake {
		r.wake = at
	}
}
