package forecast

import "time"

// mostSamples bounds the memory of a Window: more than one sample each 100 ms in a
// minute pushes out the oldest.
const mostSamples = 600

// Window is the mean of a load over the time that ends at its newest sample. It holds
// at most mostSamples; more samples than that shorten it.
type Window struct {
	length  time.Duration
	samples []sample // oldest first
}

type sample struct {
	at    time.Time
	value float64
}

// NewWindow returns an empty window. The newest sample always counts, whatever the
// length; one exactly length older does not.
func NewWindow(length time.Duration) *Window { return &Window{length: length} }

// Add takes in a sample, unless it is from after now, not newer than the newest, or not
// a load: then it changes nothing and returns false.
func (w *Window) Add(now, at time.Time, value float64) bool {
	n := len(w.samples)
	if at.After(now) || !usable(value) || (n > 0 && !at.After(w.samples[n-1].at)) {
		return false
	}
	keep := 0
	for keep < n && !w.samples[keep].at.After(at.Add(-w.length)) {
		keep++
	}
	keep = max(keep, n+1-mostSamples)
	w.samples = append(w.samples[:0], w.samples[keep:]...)
	w.samples = append(w.samples, sample{at, value})
	return true
}

// Mean is that of the samples in the window, each counting the same: a gap between them
// is no sample. It is false before the first one.
func (w *Window) Mean() (mean float64, ok bool) {
	if len(w.samples) == 0 {
		return 0, false
	}
	for _, s := range w.samples {
		mean += s.value / float64(len(w.samples))
	}
	return mean, true
}

// Newest is the time of the newest sample; zero before the first.
func (w *Window) Newest() time.Time {
	if len(w.samples) == 0 {
		return time.Time{}
	}
	return w.samples[len(w.samples)-1].at
}

// Samples is how many the mean is of.
func (w *Window) Samples() int { return len(w.samples) }
