package forecast

import (
	"math"
	"time"
)

const (
	// Slot is the time of which a Past keeps the highest load.
	Slot = 10 * time.Minute
	// Days is how far back a Past goes.
	Days = 15

	anHour = int64(time.Hour / Slot)
	aDay   = 24 * anHour
	aWeek  = 7 * aDay
	slots  = Days * aDay
)

// Past is the highest load in each slot of the last fifteen days. Slots begin at whole
// multiples of Slot since the epoch. Its memory does not grow: 17 KiB. The zero Past is
// empty.
type Past struct {
	series
}

// series is the highest load in each step of a time that goes on.
type series struct {
	values         []float64 // by number modulo their count; NaN where nothing was heard
	oldest, newest int64     // steps with a value, if there are any
}

// number is the slot that a time is in.
func number(t time.Time) int64 { return stepOf(t, Slot) }

// stepOf is the number of the step of such a length that a time is in.
func stepOf(t time.Time, length time.Duration) int64 {
	s, l := t.Unix(), int64(length/time.Second)
	if s < 0 {
		return (s+1)/l - 1
	}
	return s / l
}

// start is when a slot begins.
func start(n int64) time.Time { return time.Unix(n*int64(Slot/time.Second), 0).UTC() }

// Add takes in a sample, unless it is from after now, older than the past reaches or not
// a load: then it changes nothing and returns false. It never lowers a slot's value.
func (p *Past) Add(now, at time.Time, value float64) bool {
	if at.After(now) || !usable(value) {
		return false
	}
	return p.add(number(at), value, slots)
}

// add takes a value into step n, of so many that are kept; false if that is too old.
func (p *series) add(n int64, value float64, size int64) bool {
	if p.values == nil {
		p.values = make([]float64, size)
		for i := range p.values {
			p.values[i] = math.NaN()
		}
		p.oldest, p.newest = n, n
	}
	if n <= p.newest-size {
		return false
	}
	p.advance(n)
	p.oldest = min(p.oldest, n)
	if v := &p.values[p.place(n)]; !(*v >= value) {
		*v = value
	}
	return true
}

func (p *series) size() int64 { return int64(len(p.values)) }

// advance makes room up to step n.
func (p *series) advance(n int64) {
	if n <= p.newest {
		return
	}
	size := p.size()
	for i := max(p.newest, n-size) + 1; i <= n; i++ {
		p.values[p.place(i)] = math.NaN()
	}
	p.newest = n
	if p.oldest > n-size {
		return
	}
	p.oldest = n
	for i := n - size + 1; i < n; i++ {
		if _, ok := p.at(i); ok {
			p.oldest = i
			return
		}
	}
}

// forget drops what was heard after step n.
func (p *series) forget(n int64) {
	if p.values == nil || n >= p.newest {
		return
	}
	for i := max(n, p.newest-p.size()) + 1; i <= p.newest; i++ {
		p.values[p.place(i)] = math.NaN()
	}
	for i := n; i >= p.oldest; i-- {
		if _, ok := p.at(i); ok {
			p.newest = i
			return
		}
	}
	*p = series{}
}

func (p *series) place(n int64) int64 {
	size := p.size()
	return ((n % size) + size) % size
}

// at is the value of a step; false where nothing was heard or it is out of reach.
func (p *series) at(n int64) (float64, bool) {
	if p.values == nil || n > p.newest || n <= p.newest-p.size() {
		return 0, false
	}
	v := p.values[p.place(n)]
	return v, !math.IsNaN(v)
}

// Max is the highest load in the slots that the time from one moment to another touches,
// both included; false if nothing was heard in any of them.
func (p *Past) Max(from, to time.Time) (highest float64, ok bool) {
	return p.highest(number(from), number(to))
}

func (p *series) highest(from, to int64) (highest float64, ok bool) {
	highest, count := p.span(from, to)
	return highest, count > 0
}

// span is the highest value of the steps from one to another, and how many have one.
func (p *series) span(from, to int64) (highest float64, count int64) {
	if p.values == nil {
		return 0, 0
	}
	size := p.size()
	from, to = max(from, p.newest-size+1), min(to, p.newest)
	for n, i := from, p.place(from); n <= to; n++ {
		if v := p.values[i]; v >= 0 { // what was not heard is not a number
			highest = max(highest, v)
			count++
		}
		if i++; i == size {
			i = 0
		}
	}
	return highest, count
}

// recent is the highest load of the last hour up to slot n that was heard: where slots
// have no value, older ones up to a day back stand in for them.
func (p *Past) recent(n int64) float64 { return p.lastHour(n, 0) }

// lastHour is the highest load of the last hour up to slot n without so many newest slots.
func (p *Past) lastHour(n, without int64) (highest float64) {
	for i, left := n-without, anHour-without; i > n-aDay && left > 0; i-- {
		if v, heard := p.at(i); heard {
			highest = max(highest, v)
			left--
		}
	}
	return highest
}
