package queue

import (
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// none is no slot, queue, class or tenant.
const none = -1

// Pass goes through the jobs of an Index once, next first. Neither the Index nor who
// is in the tree may change meanwhile. What is available in the tree may only shrink
// from one Next to the following: for what was passed over, nobody comes back. Only the
// use of the tenant whose job is out may change: nobody else's share is looked at again.
type Pass struct {
	x *Index
	t *quota.Tree
	// aged is when who is aged began to wait, or before; ages: there are such jobs.
	aged instant
	ages bool
	upTo func(quota.NodeID, quota.FlavorID) quota.Amount

	classes []standing // by class
	queues  []turn     // by queue
	seats   []seat     // by node of the tree
	places  []int32    // of nodes among the children of their parent; none without a candidate
	depths  []int32
	roots   heap[int32]
	// refused is by shape, refusedHere for single queues.
	refused     []refusal
	refusedHere map[here]refusal

	// out is the queue whose first job the caller has, or none.
	out int32
	// What the candidate of the tenant measured, in the tree as it is, bottom up.
	measured int32
	shares   []quota.Share
	borrows  []bool

	byPlace                 order[head]
	byRank, byTurn, byClaim order[int32]
	placed                  moved[int32]
}

// standing is how far the pass is with a class.
type standing struct {
	at int32 // the first job that was not offered
	// refused is 1 more than the job whose refusal stands for the rest; 0 if it is quota.
	refused int32
}

// here is a shape in one queue.
type here struct{ queue, shape int32 }

// refusal is for all of a shape with no higher priority than the job had.
type refusal struct {
	priority int32
	job      int32 // 1 more than the slot; 0 is no refusal
}

func (r *refusal) covers(h *head) bool { return r.job > 0 && h.priority <= r.priority }

// add keeps the refusal that covers more.
func (r *refusal) add(h *head) {
	if !r.covers(h) {
		*r = refusal{h.priority, h.slot + 1}
	}
}

// Option changes what a pass offers.
type Option func(*Pass)

// CouldTake says that jobs of the tenant for the flavor are to be offered though they
// exceed what is available, since the caller could take something back for them. The
// answer may change from yes to no in the course of a pass, not back.
func CouldTake(could func(tenant quota.NodeID, flavor quota.FlavorID) bool) Option {
	return CouldTakeUpTo(func(tenant quota.NodeID, flavor quota.FlavorID) quota.Amount {
		if could(tenant, flavor) {
			return quota.Unlimited
		}
		return 0
	})
}

// CouldTakeUpTo is CouldTake for jobs of no more units than it says, which may
// become fewer in the course of a pass: for what only claims to nominal quota are
// taken back, say, the tenant's nominal room.
func CouldTakeUpTo(units func(tenant quota.NodeID, flavor quota.FlavorID) quota.Amount) Option {
	return func(p *Pass) { p.upTo = units }
}

// Begin begins a pass at a moment. A job is aged when it has waited for reserveAfter;
// none is if that is 0 or less.
func (x *Index) Begin(t *quota.Tree, now time.Time, reserveAfter time.Duration, options ...Option) *Pass {
	x.tidy()
	p := &Pass{
		x: x, t: t, aged: instantOf(now.Add(-max(reserveAfter, 0))), ages: reserveAfter > 0,
		classes: make([]standing, len(x.classes)), queues: make([]turn, len(x.queues)),
		seats: make([]seat, t.Nodes()), places: make([]int32, t.Nodes()), depths: make([]int32, t.Nodes()),
		refused: make([]refusal, len(x.shapes)), refusedHere: map[here]refusal{}, out: none, measured: none,
	}
	for _, o := range options {
		o(p)
	}
	p.byPlace, p.byRank, p.byTurn, p.byClaim = x.ahead, p.rankLess, p.turnLess, p.claimLess
	p.placed = func(node int32, at int) { p.places[node] = int32(at) }
	p.line()
	p.seat()
	return p
}

// Next is the job to try now, its times in UTC; false if there is none left. About each the caller says
// one of Admitted, Refused or RefusedInQueue before it asks for the next; silence is
// Refused(false).
func (p *Pass) Next() (Job, bool) {
	if p.out != none {
		p.Refused(false)
	}
	for len(p.roots.items) > 0 {
		tenant := p.seats[p.roots.items[0]].winner
		queue := p.seats[tenant].queue
		if p.stands(queue) {
			p.out = queue
			return p.x.roster.job(p.queues[queue].head), true
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
	q := &p.queues[p.out]
	q.used = q.used.Add(p.top(p.out).units.Times(1000))
	p.finish(false)
}

// Refused says that the job cannot start now. Alike: nor can any other job of its
// tenant with its flavor and shape and no higher priority; they are not offered. If
// its queue has no backfill, nothing more of the queue is offered.
func (p *Pass) Refused(alike bool) {
	if p.out == none {
		return
	}
	if alike {
		h := p.top(p.out)
		p.refused[h.shape].add(h)
	}
	p.refuse(alike)
}

// RefusedInQueue is Refused(true) for the job's queue only: others of the tenant's
// may have room for what is alike.
func (p *Pass) RefusedInQueue() {
	if p.out == none {
		return
	}
	h := p.top(p.out)
	r := p.refusedHere[here{p.out, h.shape}]
	r.add(h)
	p.refusedHere[here{p.out, h.shape}] = r
	p.refuse(true)
}

func (p *Pass) refuse(class bool) {
	if !p.x.queues[p.out].Backfill {
		p.queues[p.out].hold(none)
	}
	p.finish(class)
}

// finish ends the turn of the job that is out, and that of its class if that is
// refused with it.
func (p *Pass) finish(class bool) {
	queue := p.out
	p.out = none
	p.advance(queue, class)
	tenant := int32(p.x.queues[queue].Tenant)
	p.elect(tenant)
	p.climb(tenant)
}
