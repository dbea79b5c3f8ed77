package controller

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

const (
	// retryAfter is the pause after the first decision that could not be carried out
	// whole. It doubles with each further one, up to the interval.
	retryAfter = time.Second
	// unhurried is the least time between two decisions that nobody waits for.
	unhurried = time.Second
	// mostDebounces bounds how long a crowd is waited for.
	mostDebounces = 4
)

// urgency is how soon a change asks for a decision.
type urgency int

const (
	// never: it can change no decision.
	never urgency = iota
	// soon: it can, at the pace of a busy cluster.
	soon
	// atOnce: units have come free or are lost.
	atOnce
	// crowd is atOnce, for one of several who come together: an online pod that waits
	// for units. A service's pods are made one after the other, and one choice for all of
	// them breaks fewer jobs than one for each.
	crowd
)

// wakes are the changes since the last decision; poke may be called from anywhere.
type wakes struct{ soon, atOnce, crowd chan struct{} }

func newWakes() wakes {
	return wakes{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)}
}

func (w wakes) poke(u urgency) {
	poke := func(into chan struct{}) {
		select {
		case into <- struct{}{}:
		default:
		}
	}
	switch u {
	case never:
	case soon:
		poke(w.soon)
	case atOnce:
		poke(w.atOnce)
	case crowd:
		poke(w.crowd)
		poke(w.atOnce)
	}
}

// seen forgets all changes until now.
func (w wakes) seen() {
	for _, kind := range []chan struct{}{w.soon, w.atOnce, w.crowd} {
		select {
		case <-kind:
		default:
		}
	}
}

// pace says when the next decision is due: on every tick, a moment after a change
// that is urgent, within the pace after any other, when a window asks for its units, and
// again after a failure.
type pace struct {
	wakes              wakes
	interval, debounce time.Duration
	clock              clock.WithTicker

	last    time.Time
	backoff time.Duration // 0 unless the last decision failed
	// due is when a decision must not be late, however quiet it is; zero: never.
	due time.Time
}

// wait returns true when a decision is due, false when ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	// A decision on fresh signals makes the one on the tick needless.
	next := p.interval
	if p.backoff > 0 {
		next = min(next, p.backoff)
	}
	if !p.due.IsZero() { // it may have come while the last decision was carried out
		next = min(next, max(p.due.Sub(p.clock.Now()), 0))
	}
	tick := p.clock.NewTimer(next)
	defer tick.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-tick.C():
		return true
	case <-p.wakes.atOnce:
		return p.settle(ctx, p.debounce)
	case <-p.wakes.soon:
		gap := min(max(unhurried, p.backoff), p.interval)
		return p.settle(ctx, max(p.debounce, gap-p.clock.Since(p.last)))
	}
}

// settle lets further changes of the same cause arrive. An urgent one cuts a longer
// pause short, and while a crowd arrives the pause begins anew.
func (p *pace) settle(ctx context.Context, pause time.Duration) bool {
	over := p.clock.After(pause)
	var latest <-chan time.Time // when a crowd is waited for no longer; nil before the last pause
	if pause <= p.debounce {
		latest = p.clock.After(mostDebounces * p.debounce)
	}
	for {
		urgent, crowd := p.wakes.atOnce, p.wakes.crowd
		if latest == nil {
			crowd = nil
		} else {
			urgent = nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-over:
			p.wakes.seen()
			return true
		case <-latest:
			p.wakes.seen()
			return true
		case <-urgent:
			over, latest = p.clock.After(p.debounce), p.clock.After(mostDebounces*p.debounce)
		case <-crowd:
			over = p.clock.After(p.debounce)
		}
	}
}

// begin and end enclose a decision.
func (p *pace) begin() { p.last = p.clock.Now() }

func (p *pace) end(err error) {
	if err == nil {
		p.backoff = 0
		return
	}
	p.backoff = min(max(2*p.backoff, retryAfter), max(p.interval, retryAfter))
}
