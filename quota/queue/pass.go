package queue

import (
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// none is no slot, queue, class or tenant.
const none = -1

// Pass goes through the jobs of an Index once, next first. Neither the Index nor who
// is in the tree may change meanwhile. What is available in the tree may only shrink
// from one Next to the following: for what was passed over, nobody comes back.
type Pass struct {
	x     *Index
	t     *quota.Tree
	now   time.Time
	after time.Duration
	could func(quota.NodeID, quota.FlavorID) bool

	classes []standing // by class
	queues  []turn     // by queue
	seats   []seat     // by node of the tree
	places  places     // of nodes among the children of their parent
	depths  []int32
	roots   heap
	refused map[alike]refusal

	// out is the queue whose first job the caller has, or none.
	out int32
	// What the candidate of the tenant measured, in the tree as it is, bottom up.
	measured int32
	shares   []quota.Share
	borrows  []bool

	byPlace, byRank, byTurn, byClaim, byRootClaim less
}

// standing is how far the pass is with a class.
type standing struct {
	at int32 // the first job that was not offered
	// because is the job whose refusal stands for the rest; none if it is quota.
	because int32
}

// alike is a shape that was refused, in a tenant or, where tenant is None, a queue.
type alike struct {
	tenant       quota.NodeID
	queue        int32
	flavor       quota.FlavorID
	pods, perPod int64
}

type refusal struct {
	priority int32
	slot     int32
}

// Option changes what a pass offers.
type Option func(*Pass)

// CouldTake says that jobs of the tenant for the flavor are to be offered though they
// exceed what is available, since the caller could take something back for them. The
// answer may change from yes to no in the course of a pass, not back.
func CouldTake(could func(tenant quota.NodeID, flavor quota.FlavorID) bool) Option {
	return func(p *Pass) { p.could = could }
}

// Begin begins a pass at a moment. A job is aged when it has waited for reserveAfter;
// none is if that is 0 or less.
func (x *Index) Begin(t *quota.Tree, now time.Time, reserveAfter time.Duration, options ...Option) *Pass {
	x.tidy()
	p := &Pass{
		x: x, t: t, now: now, after: reserveAfter,
		could:   func(quota.NodeID, quota.FlavorID) bool { return false },
		classes: make([]standing, len(x.classes)), queues: make([]turn, len(x.queues)),
		seats: make([]seat, t.Nodes()), places: make(places, t.Nodes()), depths: make([]int32, t.Nodes()),
		refused: map[alike]refusal{}, out: none, measured: none,
	}
	for _, o := range options {
		o(p)
	}
	p.byPlace, p.byRank, p.byTurn, p.byClaim, p.byRootClaim = p.placeLess, p.rankLess, p.turnLess, p.claimLess, p.rootClaimLess
	p.line()
	p.seat()
	return p
}

// Next is the job to try now; false if there is none left. About each the caller says
// one of Admitted, Refused, RefusedInQueue or Ignored before it asks for the next;
// silence is Refused(false).
func (p *Pass) Next() (Job, bool) {
	if p.out != none {
		p.Refused(false)
	}
	for len(p.roots.ids) > 0 {
		tenant := p.seats[p.roots.ids[0]].winner
		queue := p.seats[tenant].queue
		if p.stands(queue) {
			p.out = queue
			return p.x.jobs[p.queues[queue].head], true
		}
		p.elect(tenant)
		p.climb(tenant)
	}
	return Job{}, false
}

// Admitted says that the job starts, and that its units are booked in the tree.
func (p *Pass) Admitted() {
	if p.out == none {
		return
	}
	j := &p.x.jobs[p.queues[p.out].head]
	q := &p.queues[p.out]
	q.used = q.used.Add(j.Units().Times(1000))
	p.finish()
}

// Refused says that the job cannot start now. Alike: nor can any other job of its
// tenant with its flavor and shape and no higher priority; they are not offered. If
// its queue has no backfill, nothing more of the queue is offered.
func (p *Pass) Refused(alike bool) {
	if p.out == none {
		return
	}
	if alike {
		p.mark(p.x.queues[p.out].Tenant, none)
	}
	p.refuse()
}

// RefusedInQueue is Refused(true) for the job's queue only: others of the tenant's
// may have room for what is alike.
func (p *Pass) RefusedInQueue() {
	if p.out == none {
		return
	}
	p.mark(quota.None, p.out)
	p.refuse()
}

// Ignored says that the job cannot start whatever is free, and holds up nobody.
func (p *Pass) Ignored() {
	if p.out != none {
		p.finish()
	}
}

// Booked says that the use of the tenant changed in the tree other than by Admitted,
// so that its share is to be looked at again.
func (p *Pass) Booked(tenant quota.NodeID) {
	if tenant >= 0 && int(tenant) < len(p.seats) {
		p.climb(int32(tenant))
	}
}

func (p *Pass) mark(tenant quota.NodeID, queue int32) {
	slot := p.queues[p.out].head
	j := &p.x.jobs[slot]
	k := alike{tenant, queue, j.Flavor, j.Pods, j.UnitsPerPod}
	if old, ok := p.refused[k]; !ok || old.priority < j.Priority {
		p.refused[k] = refusal{j.Priority, slot}
	}
}

func (p *Pass) refuse() {
	if !p.x.queues[p.out].Backfill {
		p.queues[p.out].hold(none)
	}
	p.finish()
}

// finish ends the turn of the job that is out.
func (p *Pass) finish() {
	queue := p.out
	p.out = none
	p.advance(queue)
	tenant := int32(p.x.queues[queue].Tenant)
	p.elect(tenant)
	p.climb(tenant)
}
