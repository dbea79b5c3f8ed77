package rehearse

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// smooth is the step of loads that were recorded in longer ones.
	smooth = time.Minute
)

// load is what is known of a service.
type load struct {
	workload.Load
	// heldReplicas: the values are replicas.
	heldReplicas bool
	// Of a replica: requests that it serves at once, units and their flavor; 0 and empty
	// where that is not known. most is how many replicas there were at once.
	slots  float64
	units  int64
	flavor string
	most   int64
}

// townLoads are those of a town.
func townLoads(t *past.Town) (loads []load, silent []string) {
	for _, s := range t.Services {
		l := load{slots: s.Slots, units: s.UnitsPerPod, flavor: s.Flavor, most: s.Most}
		l.Service, l.Start, l.Curve = s.Name, t.Start, s.Load
		if s.Load == nil || s.Slots == 0 {
			l.Curve, l.heldReplicas = s.Replicas, true
		}
		if l.Curve == nil {
			silent = append(silent, s.Name)
			continue
		}
		loads = append(loads, l)
	}
	return loads, silent
}

// history is the load of all services on one clock.
type history struct {
	start  time.Time
	dated  bool // start is when it was
	length time.Duration
	loads  []load
	notes  []string
}

func (h *history) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

// undated is when a history without dates begins: a Monday, since loads go by weeks.
var undated = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

// newHistory puts loads on one clock, until a length; 0 is that of the longest. They go on
// for as long as drain after it, in which jobs end.
func newHistory(loads []load, length, drain time.Duration) *history {
	h := &history{start: undated, length: length, loads: loads}
	for _, l := range loads {
		if !l.Start.IsZero() && (!h.dated || l.Start.Before(h.start)) {
			h.start, h.dated = l.Start.UTC(), true
		}
	}
	longest := time.Duration(0)
	for i := range h.loads {
		l := &h.loads[i]
		if !l.Start.IsZero() {
			l.Curve = later(l.Curve, l.Start.Sub(h.start))
		}
		longest = max(longest, l.End())
	}
	if h.length <= 0 {
		h.length = longest
	}
	for i := range h.loads {
		h.fit(&h.loads[i], h.length+drain)
	}
	return h
}

// later is a curve that begins later; until then it is not known.
func later(c sim.Curve, by time.Duration) sim.Curve {
	if by <= 0 {
		return c
	}
	out := sim.Curve{{At: 0, Value: math.NaN()}}
	for _, p := range c {
		out = append(out, sim.Point{At: p.At + by, Value: p.Value})
	}
	return out
}

// fit makes a load last until a time, and goes in a straight line from one value to
// the next where they are far apart.
func (h *history) fit(l *load, until time.Duration) {
	end := l.End()
	if l.Unit != workload.Nodes && l.Unit != workload.GPUs && !l.heldReplicas {
		if step := usualStep(l.Curve); step > smooth {
			h.note("the load of %s was recorded every %s, and goes in a straight line in between", l.Service, step)
			l.Curve = l.Curve.Ramped(smooth)
		}
	}
	if end >= until {
		return
	}
	for _, period := range []time.Duration{week, day} {
		if end >= period-time.Hour {
			period = min(period, end)
			if end < h.length {
				h.note("the load of %s is known until %s, and its last %s comes again after that", l.Service, span(end), span(period))
			}
			l.Curve = l.Curve.Repeated(end, period, until)
			return
		}
	}
	h.note("the load of %s is known until %s, and not after that", l.Service, span(end))
	l.Curve = append(slices.Clone(l.Curve), sim.Point{At: end, Value: math.NaN()})
}

// usualStep is the median of a curve's steps.
func usualStep(c sim.Curve) time.Duration {
	var steps []time.Duration
	for i := 1; i < len(c); i++ {
		steps = append(steps, c[i].At-c[i-1].At)
	}
	if len(steps) == 0 {
		return 0
	}
	slices.Sort(steps)
	return steps[len(steps)/2]
}

// known returns the part of a time in which a curve is known, and its 99.9th percentile and
// highest value there. It looks every smooth.
func known(c sim.Curve, length time.Duration) (share, top, highest float64) {
	var values []float64
	n := 0
	for at := time.Duration(0); at < length; at += smooth {
		n++
		if v := c.At(at); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, 0, 0
	}
	slices.Sort(values)
	return float64(len(values)) / float64(n), values[int(0.999*float64(len(values)-1))], values[len(values)-1]
}

// span writes a duration without what is 0.
func span(d time.Duration) string {
	if d >= day && d%time.Hour == 0 {
		if d%day == 0 {
			return fmt.Sprintf("%dd", d/day)
		}
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
	text := d.Round(time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(text) - len(zero); n > 0 && text[n:] == zero {
			text = text[:n+1]
		}
	}
	return text
}
