package queue

import (
	"math/bits"

	"github.com/ebbtide/ebbtide/quota"
)

// turn is how far the pass is with a queue.
type turn struct {
	// classes of which jobs may still be offered. Which of them still can be is found
	// out when one comes to the top.
	classes heap[head]
	// head is the first job and rank its priority there; none if there is none.
	head, rank int32
	used       quota.Amount
	// held is the job behind which nothing is offered. If it was not offered itself,
	// because is the one whose refusal stands for it; none if it is quota.
	held, because int32
}

func (q *turn) hold(because int32) { q.held, q.because, q.classes.items = q.head, because, nil }

// line puts the classes of each queue in line that fit now.
func (p *Pass) line() {
	var all []head
	left := 0
	for i := range p.queues {
		left += len(p.x.queues[i].heads)
	}
	for i := range p.queues {
		q, in := &p.queues[i], &p.x.queues[i]
		q.head, q.held = none, none
		q.used = quota.Amount(in.Used).AtLeastZero()
		if in.Closed || !p.isTenant(in.Tenant) {
			continue
		}
		if cap(all)-len(all) < len(in.heads) {
			all = make([]head, 0, max(len(in.heads), min(left, 4096)))
		}
		from := len(all)
		all = p.fitting(all, in)
		q.classes.items = all[from:len(all):len(all)]
		q.classes.arrange(p.byPlace, nil)
		p.look(int32(i))
	}
}

func (p *Pass) isTenant(n quota.NodeID) bool {
	if n < 0 || int(n) >= len(p.seats) {
		return false
	}
	_, cohort := p.t.Name(n)
	return !cohort
}

// fitting appends the queue's classes that fit by quota; of a queue without backfill
// all, since what does not fit holds up what does.
func (p *Pass) fitting(to []head, in *line) []head {
	for _, r := range in.runs {
		heads := in.heads[r.from:r.to]
		switch {
		case r.flavor < 0:
			continue
		case in.Backfill:
			room := p.room(in.Tenant, r.flavor)
			fit := 0
			for fit < len(heads) && heads[fit].units <= room {
				fit++
			}
			heads = heads[:fit]
		}
		to = append(to, heads...)
	}
	return to
}

// room is how large a job may be to be offered.
func (p *Pass) room(tenant quota.NodeID, flavor quota.FlavorID) quota.Amount {
	room := p.t.Available(tenant, flavor)
	if p.upTo != nil {
		room = max(room, p.upTo(tenant, flavor))
	}
	return room
}

// top is the queue's first job; there must be one.
func (p *Pass) top(queue int32) *head { return &p.queues[queue].classes.items[0] }

// look finds the queue's first job.
func (p *Pass) look(queue int32) {
	q := &p.queues[queue]
	if len(q.classes.items) == 0 {
		q.head = none
		return
	}
	top := &q.classes.items[0]
	q.head, q.rank = top.slot, p.x.rankOf(&p.x.queues[queue], top)
}

// advance takes the queue's first job out, or with it what is left of its class.
func (p *Pass) advance(queue int32, class bool) {
	q := &p.queues[queue]
	if q.held != none {
		p.classes[p.x.classOf[p.x.roster.records[q.held].key]].at++
		q.head = none
		return
	}
	top := &q.classes.items[0]
	s := &p.classes[top.class]
	s.at++
	if class {
		s.refused = top.slot + 1
		q.classes.remove(0, p.byPlace, nil)
	} else if jobs := p.x.classes[top.class].jobs.ids; int(s.at) < len(jobs) {
		*top = p.x.head(&p.x.queues[queue], top.class, jobs[s.at])
		q.classes.fix(0, p.byPlace, nil)
	} else {
		q.classes.remove(0, p.byPlace, nil)
	}
	p.look(queue)
}

// stands reports whether the queue's first job can be offered. If not, the queue has
// no first job any more or another one.
func (p *Pass) stands(queue int32) bool {
	q, in := &p.queues[queue], &p.x.queues[queue]
	if q.head == none {
		return false
	}
	because, fits := p.fits(in.Tenant, p.top(queue))
	if fits {
		return true
	}
	if in.Backfill {
		p.classes[p.top(queue).class].refused = because + 1
		q.classes.remove(0, p.byPlace, nil)
	} else {
		q.hold(because)
	}
	p.look(queue)
	return false
}

// fits looks for quota, and for a refusal that covers the job.
func (p *Pass) fits(tenant quota.NodeID, h *head) (because int32, ok bool) {
	if r := &p.refused[h.shape]; r.covers(h) {
		return r.job - 1, false
	}
	if len(p.refusedHere) > 0 {
		if r := p.refusedHere[here{p.x.classes[h.class].queue, h.shape}]; r.covers(h) {
			return r.job - 1, false
		}
	}
	return none, h.units <= p.room(tenant, h.flavor)
}

// rankLess is the order of a tenant's queues that do not take turns.
func (p *Pass) rankLess(a, b *int32) bool {
	x, y := &p.queues[*a], &p.queues[*b]
	if x.rank != y.rank {
		return x.rank > y.rank
	}
	return p.x.senior(&x.classes.items[0], &y.classes.items[0])
}

// turnLess is the order of a tenant's queues that do.
func (p *Pass) turnLess(a, b *int32) bool {
	x, y := &p.queues[*a], &p.queues[*b]
	if x.rank != y.rank {
		return x.rank > y.rank
	}
	xhi, xlo := bits.Mul64(uint64(x.used), uint64(p.x.queues[*b].Weight))
	yhi, ylo := bits.Mul64(uint64(y.used), uint64(p.x.queues[*a].Weight))
	if xhi != yhi {
		return xhi < yhi
	}
	if xlo != ylo {
		return xlo < ylo
	}
	return p.x.senior(&x.classes.items[0], &y.classes.items[0])
}

// elect finds the tenant's candidate.
func (p *Pass) elect(tenant int32) {
	s := &p.seats[tenant]
	plain := p.clear(&s.plain, p.byRank)
	fair := p.clear(&s.fair, p.byTurn)
	s.queue = plain
	if plain == none || fair != none && p.rankLess(&fair, &plain) {
		s.queue = fair
	}
}

// clear brings a queue to the top whose first job can be offered, and returns it. The
// top of the heap may have another first job than when it came there, none may come
// to be further ahead: heads only get later, and use only grows.
func (p *Pass) clear(h *heap[int32], before order[int32]) int32 {
	for len(h.items) > 0 {
		top := h.items[0]
		switch {
		case p.queues[top].head == none:
			h.remove(0, before, nil)
		default:
			h.fix(0, before, nil)
			if h.items[0] == top && p.stands(top) {
				return top
			}
		}
	}
	return none
}
