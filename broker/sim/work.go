package sim

import "time"

// work is what a job has done, in pod-nanoseconds: whole numbers, so that none is lost or
// won by being looked at.
type work struct {
	// done until from, and saved at savedAt. From from on it grows, by one for each pod that
	// works and nanosecond; until then the job starts or changes its size.
	done, saved   int64
	from, savedAt time.Duration
	// anchor is the first of the moments, CheckpointEvery apart, in which work is saved.
	anchor time.Duration
	// idle is since when holding units without working is not yet on the bill.
	idle time.Duration
}

// begin a start that works after a while.
func (k *work) begin(now, restart time.Duration) {
	k.done, k.idle = k.saved, now
	k.from = now + restart
	k.anchor, k.savedAt = k.from, k.from
}

// rollBack returns to what is saved, and how much that loses.
func (k *work) rollBack() (lost int64) {
	lost, k.done = k.done-k.saved, k.saved
	return lost
}

// all of the job's work.
func (j *Job) all() int64 { return int64(j.Duration) * j.Pods }

// Work is all of a job's work in pod-seconds.
func (j *JobState) Work() float64 { return time.Duration(j.all()).Seconds() }

// progress is the job's work at a moment that is not before the last one it was settled.
func (j *JobState) progress(now time.Duration) work {
	k := j.work
	if j.Phase != Running || now <= k.from {
		return k
	}
	if every := j.CheckpointEvery; every > 0 {
		if last := k.anchor + (now-k.anchor)/every*every; last > k.savedAt {
			k.saved, k.savedAt = k.done+j.At*int64(max(last-k.from, 0)), last
		}
	}
	k.done += j.At * int64(now-k.from)
	k.from = now
	return k
}

// settle brings a job's work, and what it cost to come to it, up to date.
func (w *World) settle(j *JobState) {
	if j.Phase != Running {
		return
	}
	w.meter.idled(j, j.work.idle, min(w.now, j.work.from))
	j.work = j.progress(w.now)
	j.work.idle = w.now
}

// resize changes how many pods work: none does while they find each other.
func (w *World) resize(j *JobState, by int64) {
	w.settle(j)
	j.At += by
	j.work.from = max(j.work.from, w.now) + j.Reshape
	w.schedule(j)
}

// lasts is how long some work takes so many pods, rounded up.
func lasts(left, pods int64) time.Duration {
	return time.Duration((max(left, 0) + pods - 1) / pods)
}

// Left is how much longer the job would run as it is; if it does not, from a start with all
// of its pods.
func (j *JobState) Left(now time.Duration) time.Duration {
	if j.Phase != Running {
		return lasts(j.all()-j.work.saved, j.Pods)
	}
	k := j.progress(now)
	return max(k.from-now, 0) + lasts(j.all()-k.done, j.At)
}

// Saved is when the work of a running job was last saved: its start, if it was not since.
func (j *JobState) Saved(now time.Duration) time.Duration {
	return max(min(j.progress(now).savedAt, now), j.Since)
}

// AtRisk is what stopping a running job now would lose if it could not save, in
// unit-seconds, its restart included.
func (j *JobState) AtRisk(now time.Duration) float64 {
	k := j.progress(now)
	lost := time.Duration(k.done-k.saved).Seconds() + j.Restart.Seconds()*float64(j.Pods)
	return lost * float64(j.UnitsPerPod)
}
