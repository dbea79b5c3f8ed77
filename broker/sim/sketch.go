package sim

import (
	"math"
	"time"
)

// Sketch keeps how often durations of some length came, to within one percent of each, in
// a fixed amount of memory.
type Sketch struct {
	zero   int64
	counts []int64
	n      int64
	sum    float64
}

// growth of one bin over the one before it; the first begins at a millisecond.
const growth = 1.02

// Add takes in a duration.
func (s *Sketch) Add(d time.Duration) {
	s.n++
	s.sum += d.Seconds()
	if d < time.Millisecond {
		s.zero++
		return
	}
	i := int(math.Log(float64(d)/float64(time.Millisecond)) / math.Log(growth))
	for len(s.counts) <= i {
		s.counts = append(s.counts, 0)
	}
	s.counts[i]++
}

// Count of durations.
func (s *Sketch) Count() int64 { return s.n }

// Mean of them; 0 of none.
func (s *Sketch) Mean() time.Duration {
	if s.n == 0 {
		return 0
	}
	return time.Duration(s.sum / float64(s.n) * float64(time.Second))
}

// Quantile is the least duration that a share q of them does not exceed; 0 of none.
func (s *Sketch) Quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q*float64(s.n))) - s.zero
	if rank <= 0 {
		return 0
	}
	for i, c := range s.counts {
		if rank -= c; rank <= 0 {
			return time.Duration(float64(time.Millisecond) * math.Pow(growth, float64(i)+0.5))
		}
	}
	return 0
}

// Above is the share of durations longer than d, to the same precision; 0 of none.
func (s *Sketch) Above(d time.Duration) float64 {
	if s.n == 0 {
		return 0
	}
	var above int64
	for i, c := range s.counts {
		if math.Pow(growth, float64(i)+0.5)*float64(time.Millisecond) > float64(d) {
			above += c
		}
	}
	return float64(above) / float64(s.n)
}
