// Package virtual maps real time to the time that a replayed trace is in.
//
// A Clock is a value: it reads no clock of its own, it only converts what it is
// given, so equal arguments give equal results.
package virtual

import (
	"fmt"
	"time"
)

// Clock is a time that began at Begin when the real time was Start, and runs
// Speed times as fast.
type Clock struct {
	Start time.Time
	Begin time.Duration
	Speed float64
}

// NewClock returns a clock that shows begin at start. Speed must be above 0.
func NewClock(start time.Time, begin time.Duration, speed float64) (Clock, error) {
	if !(speed > 0 && speed <= 100000) {
		return Clock{}, fmt.Errorf("speed is %v, must be above 0 and at most 100000", speed)
	}
	return Clock{Start: start, Begin: begin, Speed: speed}, nil
}

// At returns what the clock shows at a real time, never less than Begin.
func (c Clock) At(real time.Time) time.Duration {
	return c.Begin + max(0, time.Duration(float64(real.Sub(c.Start))*c.Speed))
}
