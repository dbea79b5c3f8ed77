package demand

import "time"

// Past is what is remembered of a lender's load.
type Past struct {
	// Requests in flight: the highest in each step, no number where nothing was heard.
	Requests []float64
	// Since is when the oldest that is remembered begins.
	Since time.Time
}

// Past returns so many steps of a lender's past, of at least a minute each, from a time on:
// by the minute for eight days, and by ten minutes for fifteen. It is false where nothing is
// remembered of it. It is for pictures; no decision needs it.
func (d *Demand) Past(name string, from time.Time, step time.Duration, count int) (Past, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return Past{}, false
	}
	since, known := l.past.First()
	if !known {
		return Past{}, false
	}
	return Past{Requests: l.past.Steps(from, step, count), Since: since}, true
}
