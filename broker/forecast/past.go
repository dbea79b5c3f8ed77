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
// multiples of Slot since the epoch. Its memory does not grow. The zero Past is empty.
type Past struct {
	values         []float64 // by number modulo slots; NaN where nothing was heard
	oldest, newest int64     // slots with a value, if there are any
}

// number is the slot that a time is in.
func number(t time.Time) int64 {
	s, length := t.Unix(), int64(Slot/time.Second)
	if s < 0 {
		return (s+1)/length - 1
	}
	return s / length
}

// start is when a slot begins.
func start(n int64) time.Time { return time.Unix(n*int64(Slot/time.Second), 0).UTC() }

// Add takes in a sample, unless it is from after now, older than the past reaches or not
// a load: then it changes nothing and returns false. It never lowers a slot's value.
func (p *Past) Add(now, at time.Time, value float64) bool {
	n := number(at)
	if at.After(now) || !usable(value) || (p.values != nil && n <= p.newest-slots) {
		return false
	}
	if p.values == nil {
		p.values = make([]float64, slots)
		for i := range p.values {
			p.values[i] = math.NaN()
		}
		p.oldest, p.newest = n, n
	}
	p.advance(n)
	p.oldest = min(p.oldest, n)
	if v := &p.values[place(n)]; !(*v >= value) {
		*v = value
	}
	return true
}

// advance makes room up to slot n.
func (p *Past) advance(n int64) {
	if n <= p.newest {
		return
	}
	for i := max(p.newest, n-slots) + 1; i <= n; i++ {
		p.values[place(i)] = math.NaN()
	}
	p.newest = n
	if p.oldest > n-slots {
		return
	}
	p.oldest = n
	for i := n - slots + 1; i < n; i++ {
		if _, ok := p.at(i); ok {
			p.oldest = i
			return
		}
	}
}

// forget drops what was heard after slot n.
func (p *Past) forget(n int64) {
	if p.values == nil || n >= p.newest {
		return
	}
	for i := max(n, p.newest-slots) + 1; i <= p.newest; i++ {
		p.values[place(i)] = math.NaN()
	}
	for i := n; i >= p.oldest; i-- {
		if _, ok := p.at(i); ok {
			p.newest = i
			return
		}
	}
	*p = Past{}
}

func place(n int64) int64 { return ((n % slots) + slots) % slots }

// at is the value of a slot; false where nothing was heard or it is out of reach.
func (p *Past) at(n int64) (float64, bool) {
	if p.values == nil || n > p.newest || n <= p.newest-slots {
		return 0, false
	}
	v := p.values[place(n)]
	return v, !math.IsNaN(v)
}

// Max is the highest load in the slots that the time from one moment to another touches,
// both included; false if nothing was heard in any of them.
func (p *Past) Max(from, to time.Time) (highest float64, ok bool) {
	return p.highest(number(from), number(to))
}

func (p *Past) highest(from, to int64) (highest float64, ok bool) {
	highest, count := p.span(from, to)
	return highest, count > 0
}

// span is the highest value of the slots from one to another, and how many have one.
func (p *Past) span(from, to int64) (highest float64, count int64) {
	if p.values == nil {
		return 0, 0
	}
	from, to = max(from, p.newest-slots+1), min(to, p.newest)
	for n, i := from, place(from); n <= to; n++ {
		if v := p.values[i]; v >= 0 { // what was not heard is not a number
			highest = max(highest, v)
			count++
		}
		if i++; i == slots {
			i = 0
		}
	}
	return highest, count
}

// recent is the highest load of the last hour up to slot n that was heard: where slots
// have no value, older ones up to a day back stand in for them.
func (p *Past) recent(n int64) (highest float64, ok bool) {
	for i, left := n, anHour; i > n-aDay && left > 0; i-- {
		if v, heard := p.at(i); heard {
			highest, ok = max(highest, v), true
			left--
		}
	}
	return highest, ok
}
