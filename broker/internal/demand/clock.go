package demand

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
)

const (
	// clockSkew is how far the clock may go back before what was heard ahead of it is dropped.
	clockSkew = 5 * time.Second
	// leap is how far the clock may go on at once without a doubt about it: decisions are
	// seconds apart, and of the past an hour more or less does not matter.
	leap = time.Hour
	// believed is for how long a clock must have gone on after a leap to be believed, where no
	// store says what was before: services go by days, and after one its load was seen.
	believed = 24 * time.Hour
)

// held is what was known before the clock leapt. A time that is far ahead pushes the past out
// of what is remembered, and it may be wrong.
type held struct {
	past  *forecast.Forecaster
	at    time.Time // the last time before the leap
	leapt time.Time // the first after it
	peak  float64

	notice, horizon time.Duration
}

// heed looks whether the clock went back, or far ahead.
func (d *Demand) heed(l *lender, now time.Time) {
	switch {
	case l.newest.After(now.Add(clockSkew)), l.held != nil && l.now.After(now.Add(clockSkew)):
		d.setBack(l, now)
	case !l.now.IsZero() && now.Sub(l.now) > leap:
		d.leapt(l, now)
	}
	if l.held != nil && now.Sub(l.held.leapt) >= believed {
		l.held = nil
	}
}

// leapt holds what is known, and has the past read again: if the clock is right, there is a
// gap that the store may fill, and until it has answered nothing more is lent.
func (d *Demand) leapt(l *lender, now time.Time) {
	if l.held == nil {
		l.held = &held{past: l.past.Clone(), at: l.now, peak: l.past.Peak(), notice: l.notice(), horizon: l.horizon()}
	}
	l.held.leapt = now
	d.reread(l, now)
}

// setBack begins anew after the clock was ahead, in which case nothing would be newer than
// what is known until it has caught up. What was known before it leapt is known again, and
// what else it pushed out is read again.
func (d *Demand) setBack(l *lender, now time.Time) {
	l.now, l.newest = now, time.Time{}
	l.restart(d.config)
	if h := l.held; h != nil {
		l.past = h.past
		if l.held = nil; now.Sub(h.at) > leap { // it is still far ahead
			h.past, h.leapt, l.held = l.past.Clone(), now, h
		}
	}
	l.past.Forget(now)
	d.reread(l, now)
}

// reread asks for a lender's past at once.
func (d *Demand) reread(l *lender, now time.Time) {
	l.seed, l.since = seeding{turn: l.seed.turn + 1}, now
	d.wake()
}
