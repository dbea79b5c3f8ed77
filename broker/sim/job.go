package sim

import (
	"math"
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

	slot  int32
	gen   uint32
	count bool // in the results
	// Work in pod-seconds: done at the moment from, since when it grows by one per pod and
	// second, and saved. Checkpoints are at anchor and every CheckpointEvery from there.
	done, saved float64
	from        time.Duration
	anchor      time.Duration
	savedAt     time.Duration
	lostShare   float64
}

// Work is all of a job's work in pod-seconds.
func (j *JobState) Work() float64 { return j.Duration.Seconds() * float64(j.Pods) }

// settle brings the work up to date.
func (j *JobState) settle(now time.Duration) {
	if j.Phase != Running || now <= j.from {
		return
	}
	if every := j.CheckpointEvery; every > 0 {
		if last := j.anchor + (now-j.anchor)/every*every; last >= j.from && last > j.savedAt {
			j.saved, j.savedAt = j.done+float64(j.At)*(last-j.from).Seconds(), last
		}
	}
	j.done += float64(j.At) * (now - j.from).Seconds()
	j.from = now
}

// Left is how much longer the job would run as it is; from the start, if it waits.
func (j *JobState) Left(now time.Duration) time.Duration {
	pods := float64(j.At)
	if j.Phase != Running {
		pods = float64(j.Pods)
		return seconds((j.Work() - j.saved) / pods)
	}
	j.settle(now)
	return max(j.from-now, 0) + seconds((j.Work()-j.done)/pods)
}

// Saved is when the work of a running job was last saved: its start, if it was not since.
func (j *JobState) Saved(now time.Duration) time.Duration {
	j.settle(now)
	return max(j.savedAt, j.Since)
}

// AtRisk is what stopping the job now would lose, in unit-seconds, its restart included.
func (j *JobState) AtRisk(now time.Duration) float64 {
	j.settle(now)
	return (max(j.done-j.saved, 0) + j.Restart.Seconds()*float64(j.Pods)) * float64(j.UnitsPerPod)
}

func seconds(s float64) time.Duration { return time.Duration(math.Ceil(s*1e3)) * time.Millisecond }

// begin starts an attempt.
func (w *World) begin(j *JobState, places []Place) {
	w.waiting = removeJob(w.waiting, j)
	w.running = insertJob(w.running, j)
	j.Phase, j.Since, j.Going = Running, w.now, nil
	j.Places = append(j.Places[:0], places...)
	j.Held, j.At = j.Pods, 0
	for _, p := range places {
		j.At += p.Pods
		w.hold(j, p, +1)
	}
	j.Held = j.At
	work := w.now
	if j.First < 0 {
		j.First = w.now
		w.meter.started(j, w.now)
	} else {
		work += j.Restart
		w.meter.restart(j)
	}
	j.done, j.from, j.anchor, j.savedAt = j.saved, work, work, work
	w.schedule(j)
}

// schedule says anew when a job will end.
func (w *World) schedule(j *JobState) {
	j.gen++
	end := j.from + seconds(max(j.Work()-j.done, 0)/float64(j.At))
	w.agenda.add(event{at: end, kind: evJobEnd, a: j.slot, gen: j.gen})
}

// hold takes a place's units, or gives them back (-1).
func (w *World) hold(j *JobState, p Place, sign int64) {
	units := sign * p.Pods * j.UnitsPerPod
	w.spots[p.Spot].Training += units
	if p.Lender == Nobody {
		w.meter.own += units
		return
	}
	w.meter.lent += units
	w.services[p.Lender].Lent += units
}

// free gives all of a job's units back.
func (w *World) free(j *JobState) {
	for _, p := range j.Places {
		w.hold(j, p, -1)
	}
	j.Places, j.Going, j.Held, j.At = j.Places[:0], nil, 0, 0
	w.running = removeJob(w.running, j)
	w.changed = true
}

// finish ends a job whose work is done.
func (w *World) finish(j *JobState) {
	j.settle(w.now)
	w.free(j)
	j.Phase = Ended
	w.meter.finished(j, w.now)
	w.forget(j)
}

// stopped is the end of the pods of a job that was asked to stop: it waits anew.
func (w *World) stopped(j *JobState) {
	w.free(j)
	j.Phase, j.Queued = Waiting, w.now
	j.Attempt++
	j.gen++
	w.waiting = insertJob(w.waiting, j)
}

// lose rolls a job back to what it saved.
func (w *World) lose(j *JobState) {
	j.settle(w.now)
	w.meter.rollback(j, max(j.done-j.saved, 0)*float64(j.UnitsPerPod))
	j.done = j.saved
}

// arrive takes the job that is due and looks for the one after it.
func (w *World) arrive() {
	j := &JobState{Job: w.ahead, First: -1, Queued: w.now}
	w.arrived++
	j.Order = w.arrived
	j.count = w.now >= w.scenario.Warmup
	if n := len(w.unused); n > 0 {
		j.slot, w.unused = w.unused[n-1], w.unused[:n-1]
		w.slots[j.slot] = j
	} else {
		j.slot = int32(len(w.slots))
		w.slots = append(w.slots, j)
	}
	w.byName[j.Name] = j
	w.waiting = append(w.waiting, j)
	if j.count {
		w.counted++
		w.meter.submitted++
	}
	w.changed = true
	w.pull()
}

// pull reads the next job of the stream.
func (w *World) pull() {
	j, ok, err := w.scenario.Jobs.Next()
	switch {
	case err != nil:
		w.fail("reading jobs: %w", err)
	case !ok || j.Submit >= w.scenario.Length:
		w.more = false
	case j.Submit < w.ahead.Submit:
		w.fail("job %s: submitted at %s, after one at %s", j.Name, j.Submit, w.ahead.Submit)
	case j.Pods < 1 || j.UnitsPerPod < 1 || j.MinPods < 0 || j.MinPods > j.Pods || j.Duration < 0:
		w.fail("job %s: pods, unitsPerPod, minPods, duration: are %d, %d, %d, %s, must be at least 1, 1, 0, 0, and minPods at most pods", j.Name, j.Pods, j.UnitsPerPod, j.MinPods, j.Duration)
	default:
		w.ahead, w.more = j, true
		w.agenda.add(event{at: j.Submit, kind: evArrival})
	}
}

// forget lets go of a job that ended.
func (w *World) forget(j *JobState) {
	delete(w.byName, j.Name)
	w.slots[j.slot] = nil
	w.unused = append(w.unused, j.slot)
	if j.count {
		w.counted--
	}
}

// job is the one that an event is about, if it is still about that.
func (w *World) job(e *event) *JobState {
	if j := w.slots[e.a]; j != nil && j.gen == e.gen {
		return j
	}
	return nil
}

// takeAway returns the places without some pods of them.
func takeAway(places, gone []Place) ([]Place, bool) {
	left := slices.Clone(places)
	for _, g := range gone {
		i := slices.IndexFunc(left, func(p Place) bool { return p.Spot == g.Spot && p.Lender == g.Lender })
		if i < 0 || left[i].Pods < g.Pods || g.Pods < 1 {
			return places, false
		}
		if left[i].Pods -= g.Pods; left[i].Pods == 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return left, true
}
