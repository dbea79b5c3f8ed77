package lend

import (
	"slices"
	"time"
)

// ReadCheckpoints reads what a job, or one of its pods, says of its checkpoints: the Go
// duration between two of them, and the time of the last one in RFC 3339. What is
// absent, unreadable or not above zero is zero: unknown.
func ReadCheckpoints(interval, last string) (every time.Duration, at time.Time) {
	if d, err := time.ParseDuration(interval); err == nil && d > 0 {
		every = d
	}
	if t, err := time.Parse(time.RFC3339, last); err == nil {
		at = t.UTC()
	}
	return every, at
}

// Checkpoints is what a job says of its checkpoints.
type Checkpoints struct {
	// Every is the time between two; 0 is unknown.
	Every time.Duration
	// Last are times of the last one, as the job and each of its pods has it; zero times
	// say nothing.
	Last []time.Time
}

// Saved is when a job's work was last saved.
type Saved struct {
	At time.Time
	// Note says what of the job's words cannot be true; empty if nothing.
	Note string
}

// Since returns when the work of a job that has run since start was last saved: at the
// newest of the times that it states, or else at the last full interval, or else at
// the start. That is never after now, and never before the start: where the start lies
// after now, it is the start. A stated time outside is taken for the nearer end, and
// noted.
func (c Checkpoints) Since(start, now time.Time) Saved {
	var at time.Time
	if len(c.Last) > 0 {
		at = slices.MaxFunc(c.Last, time.Time.Compare)
	}
	switch {
	case at.After(now) && now.After(start):
		return Saved{now, "the last checkpoint, at " + stamp(at) + ", lies in the future and counts as now"}
	case at.After(now):
		return Saved{start, "the last checkpoint, at " + stamp(at) + ", lies in the future and counts as the start"}
	case !at.IsZero() && at.Before(start):
		return Saved{start, "the last checkpoint, at " + stamp(at) + ", is older than the start, from which on all counts as lost"}
	case !at.IsZero():
		return Saved{At: at}
	case c.Every > 0 && now.After(start):
		return Saved{At: start.Add(now.Sub(start).Truncate(c.Every))}
	}
	return Saved{At: start}
}
