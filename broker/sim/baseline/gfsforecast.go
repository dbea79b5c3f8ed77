package baseline

import (
	"math"
	"time"
)

// moments are the mean and variance of values, by Welford's method (Technometrics, 1962).
type moments struct {
	n          int64
	mean, sumS float64
}

func (m *moments) add(v float64) {
	m.n++
	d := v - m.mean
	m.mean += d / float64(m.n)
	m.sumS += d * (v - m.mean)
}

// variance of the values; 0 of none.
func (m *moments) variance() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sumS / float64(m.n)
}

const (
	// gfsEvery is how often demand is noted and the quota is made anew (GFS, section 3).
	gfsEvery = 5 * time.Minute
	// gfsHour is how many notes an hour has: fewer say nothing about it yet.
	gfsHour = int64(time.Hour / gfsEvery)
)

// demand is what a service has asked for, by hour of the week and of the day. It is a
// Gaussian for each, in place of the trained one of GFS.
type demand struct {
	week [7 * 24]moments
	day  [24]moments
	all  moments
}

func (d *demand) note(at time.Time, units float64) {
	hour := hourOfWeek(at)
	d.week[hour].add(units)
	d.day[hour%24].add(units)
	d.all.add(units)
}

// expect is the demand in the hour of a moment: as it was in that hour of the week, or of
// the day if the past is shorter, or ever.
func (d *demand) expect(at time.Time) (mean, variance float64) {
	hour := hourOfWeek(at)
	for _, m := range []*moments{&d.week[hour], &d.day[hour%24]} {
		if m.n >= gfsHour {
			return m.mean, m.variance()
		}
	}
	return d.all.mean, d.all.variance()
}

func hourOfWeek(at time.Time) int {
	at = at.UTC()
	return int(at.Weekday())*24 + at.Hour()
}

// atMost is the demand that services do not exceed together with probability p, in units.
func atMost(demands []*demand, at time.Time, p float64) int64 {
	mean, variance := 0.0, 0.0
	for _, d := range demands {
		m, v := d.expect(at)
		mean, variance = mean+m, variance+v
	}
	return int64(math.Floor(mean + math.Sqrt2*math.Erfinv(2*p-1)*math.Sqrt(variance)))
}
