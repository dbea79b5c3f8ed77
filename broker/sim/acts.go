package sim

import (
	"fmt"
	"time"
)

// fail ends the run with an error, the first one.
func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %s: "+format, append([]any{w.now}, args...)...)
	}
}

// refuse ends the run because of what the policy did.
func (w *World) refuse(format string, args ...any) {
	w.fail("policy %s: "+format, append([]any{w.meter.r.Policy}, args...)...)
}

// Start lets a waiting job run on the places, all of its pods, or at least MinPods of an
// elastic one. An act that cannot be carried out ends the run with an error.
func (w *World) Start(j *JobState, places []Place) {
	if j.Phase != Waiting {
		w.refuse("start %s: it does not wait", j.Name)
		return
	}
	pods := podsOf(places)
	if pods != j.Pods && (j.MinPods == 0 || pods < j.MinPods || pods > j.Pods) {
		w.refuse("start %s: %d pods of %d, at least %d", j.Name, pods, j.Pods, j.MinPods)
		return
	}
	if w.fits("start", j, places) {
		w.begin(j, places)
		w.changed = true
	}
}

// fits reports whether the places are free, one after the other.
func (w *World) fits(act string, j *JobState, places []Place) bool {
	for i, p := range places {
		if p.Pods < 1 || p.Spot < 0 || int(p.Spot) >= len(w.spots) || p.Lender < Nobody || int(p.Lender) >= len(w.services) {
			w.refuse("%s %s: there is no such place: %+v", act, j.Name, p)
			return false
		}
		need := int64(0)
		for _, q := range places[:i+1] {
			if q.Spot == p.Spot && w.madeFor(p) == w.madeFor(q) && (q.Lender == p.Lender || !w.madeFor(p)) {
				need += q.Pods * j.UnitsPerPod
			}
		}
		spot, room := &w.spots[p.Spot], w.roomFor(j, p)
		if w.flavors[spot.Flavor] != j.Flavor || need > room {
			w.refuse("%s %s: %d units of %s on %s, which has %d free of %s", act, j.Name, need, j.Flavor,
				w.scenario.Nodes[spot.Node].Name, room, w.flavors[spot.Flavor])
			return false
		}
	}
	return true
}

// roomFor is how many units a job may have where a place is.
func (w *World) roomFor(j *JobState, p Place) int64 {
	spot := &w.spots[p.Spot]
	switch {
	case spot.Down:
		return 0
	case w.madeFor(p):
		return int64(len(w.open(j, p)))
	default:
		return spot.Lendable()
	}
}

// Stop asks a running job for all it holds. Its pods have until grace from now, or until
// the job's own grace if that is shorter, to save its work and go; then they are killed.
// A job that is Stopping can only be given less time: what it has not saved by then is lost.
func (w *World) Stop(j *JobState, grace time.Duration) {
	switch by := w.now + min(max(grace, 0), forever); j.Phase {
	case Running:
		w.settle(j)
		w.meter.evicted(j)
		w.meter.leaving -= j.leaving()
		j.Evictions++
		j.Phase, j.At, j.asked = Stopping, 0, w.now
		w.meter.leaving += j.leaving()
		w.killBy(j, min(by, w.now+j.Grace))
	case Stopping:
		if by < j.By {
			w.killBy(j, by)
		}
	default:
		w.refuse("stop %s: it does not run", j.Name)
	}
}

// killBy has a job's pods gone at a moment, or before if they go by themselves.
func (w *World) killBy(j *JobState, by time.Duration) {
	takes := j.Exit
	if j.SaveTakes > 0 {
		takes = j.SaveTakes
	}
	j.By = by
	w.expect(j, min(j.asked+takes, by), evJobStopped)
	w.changed = true
}

// Shed asks a running elastic job for some of its pods; it goes on with the others, at
// least MinPods. Nothing that was done is lost. The units are free after its Exit, within
// grace.
func (w *World) Shed(j *JobState, pods []Place, grace time.Duration) {
	n := podsOf(pods)
	working, ok := takeAway(j.Places, j.Going)
	if ok {
		_, ok = takeAway(working, pods)
	}
	if !ok || n < 1 || j.Phase != Running || j.MinPods == 0 || j.At-n < j.MinPods {
		w.refuse("shed %d pods of %s, of which %d work and it needs %d: %+v", n, j.Name, j.At, j.MinPods, pods)
		return
	}
	w.meter.shed(n)
	w.meter.leaving -= j.leaving()
	w.resize(j, -n)
	w.meter.leaving += j.leaving()
	at := w.now + max(min(grace, j.Exit), 0)
	for _, p := range pods {
		j.Going = add(j.Going, p)
		j.shedding++
		w.agenda.add(event{at: at, kind: evShedOver, job: j, start: j.start, a: p.Lender, b: p.Spot, n: p.Pods})
	}
	w.changed = true
}

// shedOver frees what an elastic job gave up.
func (w *World) shedOver(e event) {
	j, gone := e.job, Place{Spot: e.b, Lender: e.a, Pods: e.n}
	j.shedding--
	w.meter.leaving -= j.leaving()
	j.Going, _ = takeAway(j.Going, []Place{gone})
	j.Places, _ = takeAway(j.Places, []Place{gone})
	j.Held -= gone.Pods
	w.meter.leaving += j.leaving()
	w.hold(j, gone, -1)
	w.changed = true
}

// Grow gives a running elastic job more pods, up to Pods, those that are going included.
func (w *World) Grow(j *JobState, places []Place) {
	n := podsOf(places)
	if n < 1 || j.Phase != Running || j.MinPods == 0 || j.Held+n > j.Pods {
		w.refuse("grow %s by %d: it has %d of %d", j.Name, n, j.Held, j.Pods)
		return
	}
	if !w.fits("grow", j, places) {
		return
	}
	w.resize(j, n)
	for _, p := range places {
		w.hold(j, p, +1)
		j.Places = add(j.Places, p)
	}
	j.Held += n
	w.changed = true
}

func podsOf(places []Place) (n int64) {
	for _, p := range places {
		n += p.Pods
	}
	return n
}
