package mig

import "math"

// block is of how many slices that are asked for one after the other only the moment counts
// at which most are asked for at once.
const block = 10

// fewest is a number of slices, of those from one on, that every way of choosing rejects at
// least: also one that knows the future, moves slices at any time, cuts them in pieces, and
// lets one have the place of another on any GPU.
//
// With all that, what is left of the problem is to accept as much as possible so that at no
// time more compute slices or memory slots are in use than there are. Prices of these at
// each time bound what can be accepted: nobody gains more than all capacity costs and what
// slices are worth above what they cost. That holds of any prices, and good ones are found
// by raising them where too much is asked for, and lowering them elsewhere.
func fewest(gpus int, all []slice, from int) int {
	b := newBound(gpus, all, from)
	best := 0.0
	for round := range 600 {
		rejected := b.settle()
		best = max(best, rejected)
		b.adjust(0.001 / math.Sqrt(float64(round+1)))
	}
	return int(math.Ceil(best - 1e-6))
}

// bound is the problem with prices.
type bound struct {
	all      []slice
	from     int
	capacity [2]float64 // compute slices and memory slots
	// first and last are the moments, by number, at which a slice is asked for.
	first, last []int
	// prices by moment, and what is in use then at these prices.
	prices, used [2][]float64
}

func newBound(gpus int, all []slice, from int) *bound {
	b := &bound{all: all, from: from, capacity: [2]float64{float64(7 * gpus), float64(8 * gpus)}}
	moments := b.moments()
	for _, s := range all {
		b.first = append(b.first, search(moments, s.from))
		b.last = append(b.last, search(moments, s.until))
	}
	for k := range b.prices {
		b.prices[k], b.used[k] = make([]float64, len(moments)+1), make([]float64, len(moments)+1)
	}
	return b
}

// moments are, one of each block, when most is asked for.
func (b *bound) moments() []float64 {
	var running ends
	var at []float64
	asked, most, when := 0, 0, 0.0
	for i, s := range b.all {
		for len(running) > 0 && running[0].until <= s.from {
			asked -= pop(&running).profile.Compute
		}
		push(&running, busy{slice: s})
		if asked += s.profile.Compute; asked > most {
			most, when = asked, s.from
		}
		if i%block == block-1 || i == len(b.all)-1 {
			if most > 0 {
				at = append(at, when)
			}
			most = 0
		}
	}
	return at
}

// search returns the first moment that is not before a time.
func search(moments []float64, at float64) int {
	low, high := 0, len(moments)
	for low < high {
		if mid := (low + high) / 2; moments[mid] < at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// settle accepts what is worth its price, notes what is in use then, and returns how many
// are rejected at least by these prices.
func (b *bound) settle() float64 {
	var sums [2][]float64
	cost := 0.0
	for k := range b.prices {
		sums[k] = make([]float64, len(b.prices[k])+1)
		for i, p := range b.prices[k] {
			sums[k][i+1] = sums[k][i] + p
			cost += p * b.capacity[k]
		}
		clear(b.used[k])
	}
	rejected := -cost
	for i, s := range b.all {
		first, last := b.first[i], b.last[i]
		size := [2]float64{float64(s.profile.Compute), float64(s.profile.Memory)}
		price, worth := 0.0, 0.0
		for k := range sums {
			price += size[k] * (sums[k][last] - sums[k][first])
		}
		if i >= b.from {
			worth = 1
		}
		if worth <= price {
			rejected += worth
			continue
		}
		rejected += price
		for k := range b.used {
			b.used[k][first] += size[k]
			b.used[k][last] -= size[k]
		}
	}
	return rejected
}

// adjust raises prices where more is in use than there is, and lowers them elsewhere.
func (b *bound) adjust(step float64) {
	for k := range b.prices {
		now := 0.0
		for i := range b.prices[k] {
			now += b.used[k][i]
			b.prices[k][i] = max(b.prices[k][i]+step*(now-b.capacity[k]), 0)
		}
	}
}
