package sim

import (
	"slices"
	"time"
)

// Phase is what a job is doing.
type Phase uint8

// The phases of a job.
const (
	Waiting Phase = iota
	Running
	// Stopping: it was asked to stop; it works no more, and its pods are there until they
	// have saved and gone, or are killed.
	Stopping
	Ended
)

// JobState is a job that waits or holds units.
type JobState struct {
	Job
	// Order in which it arrived, from 1. It keeps it when it is taken back.
	Order int64
	Phase Phase
	// Places where its pods are, by spot and lender, those that are going included; Held is
	// how many pods that are, and At how many of them work.
	Places   []Place
	Held, At int64
	// Going are the places that an elastic job is giving up.
	Going []Place
	// Since is when this start was, Attempt how many there were before. First is when the
	// first one was, -1 before. Queued is since when it waits.
	Since, First, Queued time.Duration
	Attempt              int32
	// Evictions so far, of the whole job.
	Evictions int32
	// By is when what is left of a job that is Stopping is killed.
	By time.Duration

	count bool  // in the results
	size  int64 // of a pod, as results count
	// start is which of all starts this is, 0 if it is none; due the event in the agenda that
	// ends it, 0 if there is none, and shedding how many there are about pods that go.
	start    uint64
	due      uint64
	shedding int
	work     work
	// asked is since when it is Stopping.
	asked time.Duration
	// failed: the last stop was by a node's failure.
	failed bool
}

// begin starts an attempt.
func (w *World) begin(j *JobState, places []Place) {
	w.waiting = removeJob(w.waiting, j)
	w.running = insertJob(w.running, j)
	w.starts++
	j.Phase, j.Since, j.start = Running, w.now, w.starts
	for _, p := range places {
		j.Places = add(j.Places, p)
		j.Held += p.Pods
		w.hold(j, p, +1)
	}
	j.At = j.Held
	var restart time.Duration
	if j.First < 0 {
		j.First = w.now
		w.meter.started(j, w.now)
	} else {
		restart = j.Restart
	}
	j.work.begin(w.now, restart)
	w.schedule(j)
}

// schedule says anew when a job will end.
func (w *World) schedule(j *JobState) {
	w.expect(j, j.work.from+lasts(j.all()-j.work.done, j.At), evJobEnd)
}

// expect has the agenda end what a job does, then and no more when it did before.
func (w *World) expect(j *JobState, at time.Duration, kind eventKind) {
	overtaken := j.due != 0
	j.due = w.agenda.add(event{at: at, kind: kind, job: j})
	if overtaken {
		w.agenda.overtaken(1)
	}
}

// hold takes a place's units, or gives them back (-1).
func (w *World) hold(j *JobState, p Place, sign int64) {
	units := sign * p.Pods * j.UnitsPerPod
	spot := &w.spots[p.Spot]
	spot.Training += units
	if spot.Cut {
		w.seat(j, p, sign)
	}
	w.rooms.move(p.Spot, spot)
	if p.Lender == Nobody {
		w.meter.own += sign * p.Pods * j.size
		return
	}
	w.meter.lent += sign * p.Pods * j.size
	if !w.madeFor(p) { // of which more than that is lent, as long as it is made
		w.services[p.Lender].Lent += units
	}
}

// free ends a start: the job holds nothing any more.
func (w *World) free(j *JobState) {
	w.meter.leaving -= j.leaving()
	for _, p := range j.Places {
		w.hold(j, p, -1)
	}
	w.running = removeJob(w.running, j)
	w.changed = true
	stale := j.shedding
	if j.due != 0 {
		stale++
	}
	j.Places, j.Going, j.Held, j.At = j.Places[:0], j.Going[:0], 0, 0
	j.start, j.due, j.shedding = 0, 0, 0
	w.agenda.overtaken(stale)
}

// leaving is what pods hold that work no more and are still there.
func (j *JobState) leaving() int64 {
	switch j.Phase {
	case Running:
		return (j.Held - j.At) * j.size
	case Stopping:
		return j.Held * j.size
	default:
		return 0
	}
}

// finish ends a job whose work is done.
func (w *World) finish(j *JobState) {
	w.settle(j)
	w.free(j)
	j.Phase = Ended
	w.meter.finished(j, w.now)
	delete(w.byName, j.Name)
	if j.count {
		w.counted--
	}
}

// stopped is the end of the pods of a job that was asked to stop: it waits anew.
func (w *World) stopped(j *JobState) {
	if j.saves() {
		j.work.saved = j.work.done
	}
	w.requeue(j, false)
}

// broken is the end of a job a node of which has failed. What that costs is due to the
// failure, but for what a job that was asked to stop would have lost anyhow.
func (w *World) broken(j *JobState) {
	w.settle(j)
	failed := j.Phase == Running || j.saves()
	if failed {
		w.meter.failed()
	}
	w.requeue(j, failed)
}

// requeue has a job wait anew, rolled back to what it saved.
func (w *World) requeue(j *JobState, failed bool) {
	w.meter.rolledBack(j, j.work.rollBack(), failed)
	w.free(j)
	j.Phase, j.Queued, j.failed = Waiting, w.now, failed
	j.Attempt++
	w.waiting = insertJob(w.waiting, j)
}

// saves: it will have saved its work when it is gone, having been asked to stop.
func (j *JobState) saves() bool {
	return j.Phase == Stopping && j.SaveTakes > 0 && j.asked+j.SaveTakes <= j.By
}

// add puts a place to others.
func add(places []Place, p Place) []Place {
	if i := slices.IndexFunc(places, p.same); i >= 0 {
		places[i].Pods += p.Pods
		return places
	}
	return append(places, p)
}

// takeAway returns the places without some pods of them; false if not so many are there.
func takeAway(places, gone []Place) ([]Place, bool) {
	left := slices.Clone(places)
	for _, g := range gone {
		i := slices.IndexFunc(left, g.same)
		if i < 0 || left[i].Pods < g.Pods || g.Pods < 1 {
			return places, false
		}
		if left[i].Pods -= g.Pods; left[i].Pods == 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return left, true
}

func (p Place) same(q Place) bool { return p.Spot == q.Spot && p.Lender == q.Lender }
