package counterfactual

import (
	"math"
	"slices"
	"time"
)

const (
	// LeastReturns is how many returns there must be to go by.
	LeastReturns = 8
	// Back is how far back returns count.
	Back = 7 * 24 * time.Hour
	// looks is from how many moments of the hour, of the day and of the week before is
	// looked back.
	looks = 60
)

// never: the record does not go back so far.
const never = time.Duration(math.MaxInt64)

// Return is a number of units of one flavor that came free at once.
type Return struct {
	At    time.Time
	Units int64
}

// Interval is when so many units will have come free: in one of five cases before Earliest,
// and in one of five after Latest, which is zero where that cannot be said.
type Interval struct {
	Earliest, Latest time.Time
	// Returns is how many it goes by.
	Returns int
}

// When is when so many units of a flavor will have come free, if units come free as they did
// in the hour, the day and the week before. It looks back from sixty moments of each: how
// long did it take until then for so many to come free? The interval is from the fifth to
// the fourth fifth of these times, so that what happened in the last hour counts thrice.
// returns are in the order of their times. It is false where there were fewer than
// LeastReturns in the week, or too few units.
func When(now time.Time, missing int64, returns []Return) (Interval, bool) {
	first, _ := slices.BinarySearchFunc(returns, now.Add(-Back), func(r Return, t time.Time) int { return r.At.Compare(t) })
	returns = returns[first:]
	returns = returns[:until(returns, now)]
	if len(returns) < LeastReturns {
		return Interval{}, false
	}
	upTo := sums(returns)
	var took []time.Duration
	for _, window := range []time.Duration{time.Hour, 24 * time.Hour, Back} {
		for i := range looks {
			took = append(took, lookBack(now.Add(-window/looks*time.Duration(i)), max(missing, 1), returns, upTo))
		}
	}
	slices.Sort(took)
	early, late := took[len(took)/5], took[len(took)*4/5]
	if early == never {
		return Interval{}, false
	}
	out := Interval{Earliest: later(now, now.Add(early).Truncate(time.Minute)), Returns: len(returns)}
	if late != never {
		out.Latest = now.Add(late + time.Minute - 1).Truncate(time.Minute)
	}
	return out, true
}

// sums are how many units came free before each return, and at last by all of them.
func sums(returns []Return) []int64 {
	upTo := make([]int64, len(returns)+1)
	for i, r := range returns {
		upTo[i+1] = upTo[i] + max(r.Units, 0)
	}
	return upTo
}

// lookBack is how long it took until a moment for so many units to come free.
func lookBack(from time.Time, units int64, returns []Return, upTo []int64) time.Duration {
	end := until(returns, from)
	enough := upTo[end] - units
	if enough < 0 {
		return never
	}
	// The last return from which on so many came free.
	after, _ := slices.BinarySearch(upTo[:end], enough+1)
	return from.Sub(returns[after-1].At)
}

// until is how many returns there were up to a moment, itself included.
func until(returns []Return, t time.Time) int {
	n, _ := slices.BinarySearchFunc(returns, t, func(r Return, t time.Time) int {
		if r.At.After(t) {
			return 1
		}
		return -1
	})
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
