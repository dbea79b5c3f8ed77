package demo

import "time"

// demand watches that what is lent is never limited by too few waiting jobs.
type demand struct {
	// least is the fewest units that waited while some were lendable; seen says
	// whether there was such a time.
	least int64
	seen  bool
	// longest is the longest time for which fewer units waited than were lendable.
	longest time.Duration
	// shortSince is when the present such time began; zero: it is not one.
	shortSince time.Time
}

// look takes in a moment, in real time: the units that wait, and those that a
// perfect lender would lend in addition.
func (d *demand) look(now time.Time, waiting, lendable int64) {
	if lendable <= 0 || waiting >= lendable {
		d.shortSince = time.Time{}
	} else if d.shortSince.IsZero() {
		d.shortSince = now
	}
	if lendable > 0 && (!d.seen || waiting < d.least) {
		d.least, d.seen = waiting, true
	}
	if !d.shortSince.IsZero() {
		d.longest = max(d.longest, now.Sub(d.shortSince))
	}
}
