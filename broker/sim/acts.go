package sim

import (
	"fmt"
	"slices"
	"time"
)

// fail ends the run with an error, the first one.
func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %s: "+format, append([]any{w.now}, args...)...)
	}
}

// Start lets a waiting job run on the places, all of its pods, or at least MinPods of an
// elastic one. An act that cannot be carried out ends the run with an error.
func (w *World) Start(j *JobState, places []Place) {
	if j.Phase != Waiting {
		w.fail("start %s: it does not wait", j.Name)
		return
	}
	pods := int64(0)
	for _, p := range places {
		pods += p.Pods
	}
	if pods != j.Pods && (j.MinPods == 0 || pods < j.MinPods || pods > j.Pods) {
		w.fail("start %s: %d pods of %d, at least %d", j.Name, pods, j.Pods, j.MinPods)
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
			w.fail("%s %s: there is no such place: %+v", act, j.Name, p)
			return false
		}
		need := int64(0)
		for _, q := range places[:i+1] {
			if q.Spot == p.Spot {
				need += q.Pods * j.UnitsPerPod
			}
		}
		spot := &w.spots[p.Spot]
		if w.flavors[spot.Flavor] != j.Flavor || need > spot.Free() {
			w.fail("%s %s: %d units of %s on %s, which has %d free of %s", act, j.Name, need, j.Flavor,
				w.scenario.Nodes[spot.Node].Name, spot.Free(), w.flavors[spot.Flavor])
			return false
		}
	}
	return true
}

// Stop asks a running job for all it holds. Its pods have until grace from now, or until
// the job's own grace if that is shorter, to save its work and go; then they are killed.
// A job that is Stopping can only be given less time.
func (w *World) Stop(j *JobState, grace time.Duration) {
	switch j.Phase {
	case Running:
		j.settle(w.now)
		j.Evictions++
		w.meter.evicted(j)
		grace = max(min(grace, j.Grace), 0)
		exit, saves := j.Exit, j.SaveTakes > 0 && j.SaveTakes <= grace
		if saves {
			exit = j.SaveTakes
			j.saved, j.savedAt = j.done, w.now
		} else if j.SaveTakes > 0 {
			exit = grace
		}
		w.lose(j)
		j.Phase, j.By, j.At = Stopping, w.now+grace, 0
		w.stopBy(j, w.now+min(exit, grace))
	case Stopping:
		if by := w.now + max(grace, 0); by < j.By {
			j.By = by
			w.stopBy(j, by)
		}
	default:
		w.fail("stop %s: it does not run", j.Name)
	}
}

// stopBy has a job's pods gone at a moment.
func (w *World) stopBy(j *JobState, at time.Duration) {
	j.gen++
	w.meter.leaving(j, at-w.now)
	w.agenda.add(event{at: at, kind: evJobStopped, a: j.slot, gen: j.gen})
	w.changed = true
}

// Shed asks a running elastic job for some of its pods; it goes on with the others, at
// least MinPods. Nothing that was done is lost. The units are free after its Exit, within
// grace.
func (w *World) Shed(j *JobState, pods []Place, grace time.Duration) {
	n := int64(0)
	for _, p := range pods {
		n += p.Pods
	}
	working, ok := takeAway(j.Places, j.Going)
	if ok {
		_, ok = takeAway(working, pods)
	}
	if !ok || j.Phase != Running || j.MinPods == 0 || j.At-n < j.MinPods {
		w.fail("shed %d pods of %s, which has %d and needs %d", n, j.Name, j.At, j.MinPods)
		return
	}
	w.resize(j, -n)
	j.Going = append(j.Going, pods...)
	w.meter.sheds += n
	at := w.now + max(min(grace, j.Exit), 0)
	for _, p := range pods {
		w.agenda.add(event{at: at, kind: evShedOver, a: j.slot, b: p.Spot, gen: uint32(j.Attempt), n: int64(p.Lender)<<32 | p.Pods})
	}
}

// shedOver frees what an elastic job gave up, unless all of it has gone since.
func (w *World) shedOver(e event) {
	j := w.slots[e.a]
	if j == nil || uint32(j.Attempt) != e.gen || j.Phase != Running && j.Phase != Stopping {
		return
	}
	gone := []Place{{e.b, int32(e.n >> 32), e.n & 0xffffffff}}
	going, ok := takeAway(j.Going, gone)
	if !ok {
		return
	}
	j.Going = going
	j.Places, _ = takeAway(j.Places, gone)
	j.Held -= gone[0].Pods
	w.hold(j, gone[0], -1)
	w.changed = true
}

// Grow gives a running elastic job more pods, up to Pods.
func (w *World) Grow(j *JobState, places []Place) {
	n := int64(0)
	for _, p := range places {
		n += p.Pods
	}
	if j.Phase != Running || j.MinPods == 0 || j.Held+n > j.Pods {
		w.fail("grow %s by %d: it has %d of %d", j.Name, n, j.Held, j.Pods)
		return
	}
	if !w.fits("grow", j, places) {
		return
	}
	w.resize(j, n)
	for _, p := range places {
		w.hold(j, p, +1)
		i := slices.IndexFunc(j.Places, func(q Place) bool { return q.Spot == p.Spot && q.Lender == p.Lender })
		if i >= 0 {
			j.Places[i].Pods += p.Pods
		} else {
			j.Places = append(j.Places, p)
		}
	}
	j.Held += n
	w.changed = true
}

// resize changes how many pods work: none does while they find each other.
func (w *World) resize(j *JobState, by int64) {
	j.settle(w.now)
	w.meter.idle(j, j.Reshape)
	j.At += by
	j.from = max(j.from, w.now) + j.Reshape
	w.schedule(j)
}
