package baseline

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// policy is one that is put together from parts.
type policy struct {
	name string
	// keeps says how much of what services own stays theirs.
	keeps keeper
	// takes says who stops when it is more than they have; nil: nobody does.
	takes *taker
	// everywhere: a service's replicas have a claim on all units, not only on its own; no
	// limit is set to what jobs hold.
	everywhere bool
	line       line
	desk       desk
}

// keeper says for how many replicas a service keeps room. What is beyond keep is lent;
// when there is no room for need, units are taken back until there is for keep. again is
// when that changes by the time alone; 0: never.
type keeper interface {
	// begin is called before all else, with a new world.
	begin(w *sim.World)
	keep(s *sim.ServiceState, now time.Duration) (keep, need int64, again time.Duration)
}

// Name implements [sim.Policy].
func (p *policy) Name() string { return p.name }

// Decide implements [sim.Policy].
func (p *policy) Decide(w *sim.World) (again time.Duration) {
	if p.desk.open(w) {
		p.keeps.begin(w)
		p.line.begin(w)
	}
	for _, s := range w.Services() {
		keep, need, next := p.keeps.keep(s, w.Now())
		if next > 0 && (again == 0 || next < again) {
			again = next
		}
		p.provide(s, keep, need)
	}
	p.line.admit(&p.desk)
	return again
}

// provide keeps room for a service's replicas, and takes units back if it must.
func (p *policy) provide(s *sim.ServiceState, keep, need int64) {
	where := ground(s.Index)
	if p.everywhere {
		where = anywhere
	}
	keep = min(max(keep, need), s.Most())
	lacking := p.desk.reserve(s, keep-s.Running-p.desk.pinned(s, where), where)
	if p.takes != nil && lacking > keep-need {
		p.takes.back(&p.desk, s, lacking, where)
		p.desk.reserve(s, lacking, where)
	}
	if !p.everywhere {
		p.desk.limit(s, (s.Most()-keep)*s.Lender.UnitsPerPod+p.desk.away(s)-s.Lent)
	}
}
