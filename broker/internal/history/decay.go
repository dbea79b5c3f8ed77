package history

import (
	"math/big"
	"math/bits"
	"time"
)

// Time is cut into periods of one half-life, from the Unix epoch on. Within a
// period starting at P the weight of a moment s is 2^((s−P)/H), from 1 to 2, and a
// period later everything weighs half: a shift. So the sum of a period's loans needs
// no rounding when time passes, and adding up integers has no order.
const (
	powerBits = 60 // of a power of two with a fraction, between 1 and 2
	sumBits   = 24 // of a sum, below a thousandth of a unit
	// mostPeriods is after how many half-lives something is forgotten: by then a
	// million units count for less than a thousandth of one.
	mostPeriods = 40
)

// roots[i] is 2^(2^-(i+1)), rounded down: the square root of the one before.
var roots = func() (r [32]uint64) {
	x := new(big.Int).Lsh(big.NewInt(2), powerBits)
	for i := range r {
		x.Lsh(x, powerBits).Sqrt(x)
		r[i] = x.Uint64()
	}
	return r
}()

// power is 2^(part/whole) for 0 ≤ part ≤ whole, with powerBits.
func power(part, whole uint64) uint64 {
	if part >= whole {
		return 2 << powerBits
	}
	fraction, _ := bits.Div64(part>>32, part<<32, whole)
	p := uint64(1) << powerBits
	for i := range roots {
		if fraction&(1<<(31-i)) != 0 {
			p = times(p, roots[i], powerBits)
		}
	}
	return p
}

// times is a×b>>shift. The result must fit.
func times(a, b uint64, shift uint) uint64 {
	high, low := bits.Mul64(a, b)
	return high<<(64-shift) | low>>shift
}

// decay is a half-life.
type decay struct{ whole int64 } // ns

// period is which one t falls into, and how far from its start t is.
func (d decay) period(t time.Time) (index int64, into uint64) {
	ns := t.UnixNano()
	index = ns / d.whole
	if ns%d.whole < 0 {
		index--
	}
	return index, uint64(ns - index*d.whole)
}

// weight of t in a period's terms, with powerBits: 2^((t−P)/H). Long before the
// period it is 0.
func (d decay) weight(t time.Time, period int64) uint64 {
	index, into := d.period(t)
	w := power(into, uint64(d.whole))
	if index >= period {
		return w // of the same period: nobody asks for a later one
	}
	return w >> min(uint64(period-index), 63)
}

// held is what some thousandths of units that were held from one time to another
// add to the sum of the period in which it ended, with sumBits.
func (d decay) held(milli int64, from, to time.Time) (period, sum int64) {
	period, _ = d.period(to)
	if !from.Before(to) || milli <= 0 {
		return period, 0
	}
	// Each end is rounded by itself, so that two loans on end are as one.
	at := func(t time.Time) int64 {
		return int64(times(uint64(milli), d.weight(t, period), powerBits-sumBits))
	}
	return period, at(to) - at(from)
}

// average is what a sum in t's period's terms is at t, in thousandths of a unit.
func (d decay) average(sum int64, t time.Time) int64 {
	if sum <= 0 {
		return 0
	}
	_, into := d.period(t)
	// 2^-(into/H) is half of 2^((H-into)/H).
	rest := power(uint64(d.whole)-into, uint64(d.whole))
	return int64(times(uint64(sum), rest, powerBits+1) >> sumBits)
}
