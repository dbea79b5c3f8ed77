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

// provide keeps room for a service's replicas, and takes units back if it must: its own,
// and where others' replicas stand on these, what others lend.
func (p *policy) provide(s *sim.ServiceState, keep, need int64) {
	d, where := &p.desk, ground(s.Index)
	if p.everywhere {
		where = anywhere
	}
	keep = min(max(keep, need), s.Most())
	buffer := keep - need
	lacking := d.reserve(s, keep-s.Running-d.pinned(s, where), where)
	if p.takes != nil && lacking > buffer {
		lacking = p.takeBack(s, lacking, where)
		if lacking > buffer && !p.everywhere {
			p.takeBack(s, d.reserve(s, lacking-buffer, loaned), loaned)
		}
	}
	if !p.everywhere {
		d.limit(s, (s.Most()-keep)*s.Lender.UnitsPerPod+d.away(s)-s.Lent)
	}
}

// takeBack makes room for more replicas on a ground and keeps it. It returns for how many
// it could not.
func (p *policy) takeBack(s *sim.ServiceState, replicas int64, where ground) (lacking int64) {
	if replicas <= 0 {
		return 0
	}
	p.takes.back(&p.desk, s, replicas, where)
	return p.desk.reserve(s, replicas, where)
}
