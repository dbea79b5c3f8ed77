package forecast

import "math"

// score is how a rule did on a curve. All are shares.
type score struct {
	// lent on average, of all units.
	lent float64
	// short windows, of all windows.
	short float64
	// worst shortfall, of all units.
	worst float64
	// windows that were scored.
	windows int
	// kept is why units were not lent, on average.
	kept kept
}

// tolerance keeps a rounding error from being a shortfall.
const tolerance = 1e-9

// judge scores the minutes that are scored and known.
func judge(c *curve, held []holding) (s score) {
	minutes, shorts := 0, 0
	for begin := c.from; begin+window <= len(c.minutes); begin += window {
		known, short := false, false
		for t := begin; t < begin+window; t++ {
			need := c.minutes[t]
			if math.IsNaN(need) {
				continue
			}
			known = true
			minutes++
			s.lent += held[t].lent
			s.kept = s.kept.plus(held[t].kept, 1)
			if missing := need - (1 - held[t].away); missing > tolerance {
				short = true
				s.worst = max(s.worst, missing)
			}
		}
		if known {
			s.windows++
		}
		if short {
			shorts++
		}
	}
	s.lent /= max(float64(minutes), 1)
	s.kept = kept{}.plus(s.kept, 1/max(float64(minutes), 1))
	s.short = float64(shorts) / max(float64(s.windows), 1)
	return s
}
