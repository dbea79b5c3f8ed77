// Package trainer plays the part of the training programs: it makes the lab's
// Jobs progress, checkpoint, save when they are asked to stop, and succeed.
//
// It promises that a job progresses only while its whole gang runs; that work
// since the last checkpoint is lost when the job is stopped with less grace than
// saving takes; and that a job succeeds exactly when its progress reaches its
// duration, over however many attempts. All times are real: who replays a
// compressed trace divides its durations first.
//
// Progress is kept in memory, as a checkpoint store outside the cluster would.
package trainer

import "time"

// work is the progress of one job.
type work struct {
	duration time.Duration
	// interval between checkpoints; 0: none.
	interval time.Duration
	// saved is the progress that survives a stop.
	saved time.Duration
	// since is when the whole gang began to run, or of the last checkpoint
	// since; zero while it does not run.
	since time.Time
	// lost sums up the progress that stops threw away.
	lost time.Duration
}

func (w *work) running() bool { return !w.since.IsZero() }

// start begins or resumes from what was saved.
func (w *work) start(now time.Time) {
	if !w.running() {
		w.since = now
	}
}

// checkpoint saves at every multiple of the interval that has passed and reports
// whether there was one.
func (w *work) checkpoint(now time.Time) bool {
	if !w.running() || w.interval <= 0 {
		return false
	}
	n := now.Sub(w.since) / w.interval
	if n < 1 {
		return false
	}
	w.saved += n * w.interval
	w.since = w.since.Add(n * w.interval)
	return true
}

// stop ends the run. With saving, all progress is kept; without, that since the
// last checkpoint is lost.
func (w *work) stop(now time.Time, saving bool) {
	if !w.running() {
		return
	}
	w.checkpoint(now)
	if open := max(0, now.Sub(w.since)); saving {
		w.saved += open
	} else {
		w.lost += open
	}
	w.since = time.Time{}
}

// done reports whether all work has been done by now.
func (w *work) done(now time.Time) bool {
	return w.running() && w.saved+now.Sub(w.since) >= w.duration
}
