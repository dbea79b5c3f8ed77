package lend

import (
	"fmt"
	"time"
)

// watchPanic keeps Knative's rule: once the panic window asks for PanicThreshold times
// the ready replicas, the highest need since then counts until a whole stable window has
// passed without that. While it lasts, the load is high whatever the water marks say.
func (l *lender) watchPanic(now time.Time, pol Policy) {
	m := &l.memory
	known := l.load.mark != markUnknown && l.load.slots > 0
	var asked int64
	if known && pol.PanicThreshold > 0 {
		asked = l.podsFor(l.Load.Panic, pol)
		if float64(asked)/float64(max(l.Ready, 1)) >= pol.PanicThreshold {
			m.PanicUntil = now.Add(pol.StableWindow)
		}
	}
	if last := now.Add(pol.StableWindow); m.PanicUntil.After(last) {
		m.PanicUntil = last // the clock was set back
	}
	if m.PanicUntil.IsZero() || m.PanicUntil.Before(now) || pol.PanicThreshold <= 0 {
		m.PanicUntil, m.PanicPods = time.Time{}, 0
		return
	}
	if !known {
		return
	}
	m.PanicPods = min(max(m.PanicPods, asked, l.podsFor(l.load.requests, pol)), mostReplicas)
	if l.load.mark != markHigh {
		l.load.mark = markHigh
		l.load.blocker = fmt.Sprintf("panic: the load of the last seconds needed %s", plural(m.PanicPods, "replica"))
	}
}
