package lend

import "time"

// ReadCheckpoints reads what a job says of its checkpoints: the Go duration
// between two of them, and the time of the last one in RFC 3339. What is absent,
// unreadable or not above zero is zero: unknown.
func ReadCheckpoints(interval, last string) (every time.Duration, at time.Time) {
	if d, err := time.ParseDuration(interval); err == nil && d > 0 {
		every = d
	}
	if t, err := time.Parse(time.RFC3339, last); err == nil {
		at = t.UTC()
	}
	return every, at
}

// LastCheckpoint returns when the work of a job that has run since was last
// saved: at the time that the job says, or else at the last full interval, or
// else at the start. It is never after now, and never before since: where since
// lies after now, it is since.
func LastCheckpoint(since, now time.Time, every time.Duration, at time.Time) time.Time {
	saved := since
	switch {
	case !at.IsZero():
		saved = at
	case every > 0 && now.After(since):
		saved = since.Add(now.Sub(since).Truncate(every))
	}
	if saved.After(now) {
		saved = now
	}
	if saved.Before(since) {
		saved = since
	}
	return saved
}
