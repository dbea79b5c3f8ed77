package forecast

import (
	"math"
	"time"
)

const (
	// leastHourly samples make an hour's variance worth something.
	leastHourly = 12
	hours       = 24
)

// Dispersion measures how much a load scatters within an hour, over the last day. A trend
// through the hour is no scatter: the variance is that about the hour's line. The zero
// Dispersion has heard nothing. Its memory does not grow.
type Dispersion struct {
	hours       [hours]hour
	first, last time.Time
}

// hour holds the sums of a regression; t is in hours since its beginning.
type hour struct {
	number              int64
	n, t, tt, x, xx, tx float64
}

// Add takes in a sample, unless it is from after now, not newer than the newest, or not a
// load: then it changes nothing and returns false.
func (d *Dispersion) Add(now, at time.Time, value float64) bool {
	if at.After(now) || !usable(value) || (!d.last.IsZero() && !at.After(d.last)) {
		return false
	}
	if d.first.IsZero() {
		d.first = at
	}
	d.last = at
	begin := at.Truncate(time.Hour)
	number := begin.Unix() / 3600
	h := &d.hours[((number%hours)+hours)%hours]
	if h.number != number {
		*h = hour{number: number}
	}
	t := at.Sub(begin).Hours()
	h.n, h.t, h.tt = h.n+1, h.t+t, h.tt+t*t
	h.x, h.xx, h.tx = h.x+value, h.xx+value*value, h.tx+t*value
	return true
}

// Scatter is what a Dispersion has found.
type Scatter struct {
	// Ratio is the variance over the mean: 1 for independent arrivals. It is the mean over
	// the hours in which enough was heard and the load was above 0; 0 without one.
	Ratio float64
	// Share is the standard deviation over the mean, in the same way: what Ratio is to the
	// size of the load.
	Share float64
}

// Scatter of the 24 hours before now; false while no hour of them has samples enough.
func (d *Dispersion) Scatter(now time.Time) (s Scatter, ok bool) {
	newest := now.Unix() / 3600
	var n float64
	for _, h := range d.hours {
		if h.n < leastHourly || h.number <= newest-hours || h.number > newest {
			continue
		}
		ok = true
		if mean, variance := h.line(); mean > 0 {
			n++
			s.Ratio += variance / mean
			s.Share += math.Sqrt(variance) / mean
		}
	}
	if n == 0 {
		return Scatter{}, ok
	}
	return Scatter{s.Ratio / n, s.Share / n}, true
}

// calm is the standard deviation, as a share of the load, three of which are the load.
const calm = 1.0 / 3

// Dispersion is the ratio of variance to mean, and at most limit where the load scatters
// little for its size: it says whether a load can be forecast, and not how far it scatters.
// The ratio grows with the size of a service: one of 20,000 requests
// that scatter by 3 % has 18, and says very well what it will be in a minute. What says
// nothing about that scatters by as much as it is.
func (s Scatter) Dispersion(limit float64) float64 {
	if s.Share < calm {
		return min(s.Ratio, limit)
	}
	return s.Ratio
}

// First is the time of the first sample; zero before it.
func (d *Dispersion) First() time.Time { return d.first }

// line is the mean of the hour and the variance about the line through it.
func (h hour) line() (mean, variance float64) {
	mean = h.x / h.n
	left := h.xx - h.x*h.x/h.n
	if spread := h.tt - h.t*h.t/h.n; spread > 0 {
		along := h.tx - h.t*h.x/h.n
		left -= along * along / spread
	}
	return mean, max(left, 0) / (h.n - 2)
}
