package oracle

import "time"

// windows are the means that the core expects.
type windows struct{ samples []float64 }

func (w *windows) record(_ time.Time, requests float64) {
	w.samples = append(w.samples, requests)
}

func (w *windows) means() (mean, high float64) {
	of := func(length time.Duration) float64 {
		last := w.samples[max(0, len(w.samples)-int(length/time.Second)):]
		var sum float64
		for _, v := range last {
			sum += v
		}
		return sum / float64(len(last))
	}
	return of(stable), of(burst)
}
