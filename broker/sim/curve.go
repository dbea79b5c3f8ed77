package sim

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Curve is a value over time: from each point's time on it is that point's value, until
// the next. Before the first it is the first. A value that is not a number is not known.
type Curve []Point

// Point of a Curve.
type Point struct {
	At    time.Duration
	Value float64
}

// At returns the value at a moment.
func (c Curve) At(t time.Duration) float64 {
	if len(c) == 0 {
		return math.NaN()
	}
	return c[c.index(t)].Value
}

// index of the point that holds at a moment.
func (c Curve) index(t time.Duration) int {
	i, exact := slices.BinarySearchFunc(c, t, func(p Point, t time.Duration) int { return cmp.Compare(p.At, t) })
	if !exact {
		i--
	}
	return max(i, 0)
}

// from returns the value at a moment that is not before the one at which it was last asked
// for, when it was at *point.
func (c Curve) from(point *int, t time.Duration) float64 {
	for *point+1 < len(c) && c[*point+1].At <= t {
		*point++
	}
	return c[*point].Value
}

// Max returns the highest value from one moment until before another; 0 if none is known.
func (c Curve) Max(from, until time.Duration) (highest float64) {
	for i := c.index(from); i < len(c) && (c[i].At < until || i == 0); i++ {
		if c[i].Value > highest {
			highest = c[i].Value
		}
	}
	return highest
}

// Ramped is the curve with points each step apart, in a straight line from one point to
// the next where both are known.
func (c Curve) Ramped(step time.Duration) Curve {
	var out Curve
	for i, p := range c {
		if i+1 == len(c) || math.IsNaN(p.Value) || math.IsNaN(c[i+1].Value) || step <= 0 {
			out = append(out, p)
			continue
		}
		next := c[i+1]
		for at := p.At; at < next.At; at += step {
			share := float64(at-p.At) / float64(next.At-p.At)
			out = append(out, Point{at, p.Value + share*(next.Value-p.Value)})
		}
	}
	return out
}

// Repeated is the curve until end and from there until a length, with its last period before
// end again and again.
func (c Curve) Repeated(end, period, length time.Duration) Curve {
	if len(c) == 0 || period <= 0 {
		return slices.Clone(c)
	}
	var out Curve
	for _, p := range c {
		if p.At < min(end, length) {
			out = append(out, p)
		}
	}
	first := end - period
	again := c.during(first, end)
	if len(out) == 0 {
		out = append(out, again[0])
	}
	for shift := period; first+shift < length; shift += period {
		for _, p := range again {
			if p.At+shift < length {
				out = append(out, Point{p.At + shift, p.Value})
			}
		}
	}
	return out
}

// during is the part of the curve from one moment until before another, with a point at the
// first.
func (c Curve) during(from, until time.Duration) Curve {
	out := Curve{{from, c.At(from)}}
	for _, p := range c {
		if p.At > from && p.At < until {
			out = append(out, p)
		}
	}
	return out
}

// Scaled is the curve with each value times a factor.
func (c Curve) Scaled(factor float64) Curve {
	out := slices.Clone(c)
	for i := range out {
		out[i].Value *= factor
	}
	return out
}
