package sim

import (
	"math"
	"math/bits"
	"time"
)

// Draws is a stream of numbers that look random and follow from a seed alone. It is
// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
// OOPSLA 2014), with the constants of Vigna's version of 2015. Not for secrets.
type Draws struct{ state uint64 }

// NewDraws begins a stream. Streams of different seeds have nothing to do with each other.
func NewDraws(seed uint64) *Draws { return &Draws{seed} }

// Next is any number.
func (d *Draws) Next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below is a number from 0 to before n, which is at least 1. It is by multiplication
// (Lemire, "Fast random integer generation in an interval", 2019) without his second draw:
// no number is more likely than another by more than n in 2^64.
func (d *Draws) Below(n int) int {
	high, _ := bits.Mul64(d.Next(), uint64(n))
	return int(high)
}

// Share is from 0 to before 1.
func (d *Draws) Share() float64 { return float64(d.Next()>>11) / (1 << 53) }

// Wait is for how long something does not happen that happens once in a mean time, at any
// moment as likely as at any other.
func (d *Draws) Wait(mean time.Duration) time.Duration {
	wait := -math.Log1p(-d.Share()) * float64(mean)
	return time.Duration(min(wait, float64(math.MaxInt64/4)))
}
