package forecast

import (
	"math"
	"time"
)

// Steps are the highest loads in so many steps, of at least a Minute each, from a time on: no
// number where nothing was heard. Before the oldest minute that is known it is the highest of
// the whole Slots that a step touches.
func (f *Forecaster) Steps(from time.Time, step time.Duration, count int) []float64 {
	step = max(step, Minute)
	values := make([]float64, count)
	for i := range values {
		begin := from.Add(time.Duration(i) * step)
		end := begin.Add(step - 1)
		highest, heard := f.minutes.span(minuteOf(begin), minuteOf(end))
		if heard == 0 && (f.minutes.values == nil || minuteOf(end) < f.minutes.oldest) {
			highest, heard = f.past.span(number(begin), number(end))
		}
		if values[i] = highest; heard == 0 {
			values[i] = math.NaN()
		}
	}
	return values
}

// First is when the oldest slot begins of which something is known; false before the first
// sample.
func (f *Forecaster) First() (time.Time, bool) {
	if f.past.values == nil {
		return time.Time{}, false
	}
	return start(f.past.oldest), true
}
