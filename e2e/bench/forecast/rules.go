package forecast

import (
	"math"
	"slices"
)

// holding is what a rule has lent in a minute, as shares of the units: those not asked
// back, and those that are not free, which include the former. kept is why the broker does
// not lend the rest.
type holding struct {
	lent, away float64
	kept       kept
}

// rule plays a policy over a curve, minute by minute.
type rule struct {
	name string
	play func(c *curve, notice int) []holding
}

// keeper says what share of the units to keep in minute t, from what was heard until
// then. load is the newest load that was heard.
type keeper func(c *curve, t int, load float64) float64

// keeping turns a keeper into a rule: it lends all the rest at once, and what it asks
// back is free notice minutes later.
func keeping(k keeper) func(*curve, int) []holding {
	return func(c *curve, notice int) []holding {
		out := make([]holding, len(c.minutes))
		load := math.NaN()
		for t, v := range c.minutes {
			if !math.IsNaN(v) {
				load = v
			}
			if !math.IsNaN(load) {
				out[t].lent = 1 - min(max(k(c, t, load), 0), 1)
			}
			for i := max(t-notice, 0); i <= t; i++ {
				out[t].away = max(out[t].away, out[i].lent)
			}
		}
		return out
	}
}

// simple are the rules to compare with: three as they are, and those that say anything
// about the near future with as much headroom as would have sufficed as often as asked.
func simple(notice int, quantile float64) []rule {
	last := func(_ *curve, _ int, load float64) float64 { return load }
	recent := func(c *curve, t int, load float64) float64 { return max(load, c.highest(t-59, t)) }
	yesterday := func(c *curve, t int, _ float64) float64 {
		if t < day {
			return 1 // nothing to go by
		}
		return c.highest(t-day, t-day+notice)
	}
	return []rule{
		{"last value", keeping(last)},
		{"recent max, 1 h", keeping(recent)},
		{"seasonal naive, day", keeping(yesterday)},
		{"last value, padded", padded(last, quantile)},
		{"recent max, padded", padded(recent, quantile)},
		{"seasonal, padded", padded(yesterday, quantile)},
		{"band 30/70", band},
	}
}

// padded adds to a keeper the quantile, over the last seven days, of the factor by which
// the load exceeded what it said until notice later.
func padded(k keeper, quantile float64) func(*curve, int) []holding {
	return func(c *curve, notice int) []holding {
		said := make([]float64, len(c.minutes))
		var factors []float64
		pad := 1.0
		return keeping(func(c *curve, t int, load float64) float64 {
			said[t] = k(c, t, load)
			if before := t - notice; t%window == 0 && before >= 0 && said[before] > 0 {
				factors = append(factors, c.highest(before, t)/said[before])
				factors = factors[max(len(factors)-7*day/window, 0):]
				sorted := slices.Sorted(slices.Values(factors))
				pad = max(sorted[min(int(math.Ceil(float64(len(sorted)+1)*quantile)), len(sorted))-1], 1)
			}
			return said[t] * pad
		})(c, notice)
	}
}

// band is the source rule, once a window: above 70 % of what is kept half as much more
// is, below 30 % a twentieth of the peak less.
func band(c *curve, notice int) []holding {
	kept := 1.0
	return keeping(func(c *curve, t int, load float64) float64 {
		if t%window == 0 {
			switch {
			case load > 0.7*kept:
				kept = min(1.5*kept, 1)
			case load < 0.3*kept:
				kept = max(kept-0.05, 0.05)
			}
		}
		return kept
	})(c, notice)
}

// oracle knows the load to come, holes apart, and lends all whole units that will not be
// needed before they could be back. It has the broker's notice and the broker's units, and
// nothing else that holds the broker back: no steps, no dwelling, no warm unit.
func oracle(c *curve, notice int) []holding {
	return keeping(func(c *curve, t int, load float64) float64 {
		return math.Ceil(c.highest(t, t+notice)*owned-1e-9) / owned
	})(c, notice)
}

// hindsight is how much the best of three bounds could have lent with few enough short
// windows, had it known from the start which factor would do: the load times it, the highest
// of the last hour times it, or the higher of that and the load times it.
func hindsight(c *curve, notice int) []holding {
	recent := recentMax(c)
	bounds := []func(factor float64) keeper{
		func(factor float64) keeper {
			return func(_ *curve, _ int, load float64) float64 { return load * factor }
		},
		func(factor float64) keeper {
			return func(_ *curve, t int, load float64) float64 { return max(load, recent[t]) * factor }
		},
		func(factor float64) keeper {
			return func(_ *curve, t int, load float64) float64 { return max(recent[t], load*factor) }
		},
	}
	var best []holding
	most := -1.0
	for _, bound := range bounds {
		low, high := 1.0, 10.0 // of which the latter lends nothing to speak of
		for range 12 {
			factor := (low + high) / 2
			held := keeping(bound(factor))(c, notice)
			s := judge(c, held)
			if s.short > mostShort || s.worst > mostMissing {
				low = factor
				continue
			}
			high = factor
			if s.lent > most {
				best, most = held, s.lent
			}
		}
	}
	if best == nil {
		best = make([]holding, len(c.minutes))
	}
	return best
}

// What is aimed at: few short windows, and little missing in them.
const (
	mostShort   = 0.003
	mostMissing = 0.2
)

// recentMax is the highest load of the hour up to each minute.
func recentMax(c *curve) []float64 {
	out := make([]float64, len(c.minutes))
	for t := range out {
		out[t] = c.highest(t-59, t)
	}
	return out
}
