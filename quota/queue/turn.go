package queue

import (
	"math/bits"

	"github.com/ebbtide/ebbtide/quota"
)

// turn is how far the pass is with a queue.
type turn struct {
	// classes of which jobs may still be offered. Which of them still can be is found
	// out when one comes to the top.
	classes heap
	// head is the first job and rank its priority there; none if there is none.
	head, rank int32
	used       quota.Amount
	// held is the job behind which nothing is offered. If it was not offered itself,
	// because is the one whose refusal stands for it; none if it is quota.
	held, because int32
}

func (q *turn) hold(because int32) { q.held, q.because, q.classes.ids = q.head, because, nil }

// line puts the classes of each queue in line that fit now.
func (p *Pass) line() {
	for i := range p.classes {
		p.classes[i].because = none
	}
	for i := range p.queues {
		q, in := &p.queues[i], &p.x.queues[i]
		q.head, q.held = none, none
		q.used = quota.Amount(in.Used).AtLeastZero()
		if in.Closed || !p.isTenant(in.Tenant) {
			continue
		}
		q.classes.ids = p.fitting(in)
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

// fitting are the queue's classes that fit by quota; of a queue without backfill all,
// since what does not fit holds up what does.
func (p *Pass) fitting(in *line) []int32 {
	var ids []int32
	for _, r := range in.runs {
		if r.flavor < 0 {
			continue
		}
		if !in.Backfill {
			ids = append(ids, in.classes.ids[r.from:r.to]...)
			continue
		}
		room := p.room(in.Tenant, r.flavor)
		if r.least > room {
			continue
		}
		for _, id := range in.classes.ids[r.from:r.to] {
			if p.x.classes[id].units > room {
				break
			}
			ids = append(ids, id)
		}
	}
	return ids
}

// room is how large a job may be to be offered.
func (p *Pass) room(tenant quota.NodeID, flavor quota.FlavorID) quota.Amount {
	if p.could(tenant, flavor) {
		return quota.Unlimited
	}
	return p.t.Available(tenant, flavor)
}

// first is the first job of the class that was not offered.
func (p *Pass) first(class int32) int32 { return p.x.classes[class].jobs.ids[p.classes[class].at] }

// placeLess is the order of classes of one queue.
func (p *Pass) placeLess(a, b int32) bool {
	return p.x.ahead(&p.x.queues[p.x.classes[a].queue], p.first(a), p.first(b))
}

// look finds the queue's first job.
func (p *Pass) look(queue int32) {
	q := &p.queues[queue]
	if len(q.classes.ids) == 0 {
		q.head = none
		return
	}
	q.head = p.first(q.classes.ids[0])
	q.rank = p.x.rank(&p.x.queues[queue], q.head)
}

// advance takes the queue's first job out.
func (p *Pass) advance(queue int32) {
	q := &p.queues[queue]
	if q.held != none {
		p.classes[p.x.classOf[keyOf(&p.x.jobs[q.held])]].at++
		q.head = none
		return
	}
	class := q.classes.ids[0]
	s := &p.classes[class]
	s.at++
	if int(s.at) == len(p.x.classes[class].jobs.ids) {
		q.classes.remove(0, p.byPlace, nil)
	} else {
		q.classes.fix(0, p.byPlace, nil)
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
	class := q.classes.ids[0]
	because, fits := p.fits(in.Tenant, &p.x.classes[class])
	if fits {
		return true
	}
	if in.Backfill {
		p.classes[class].because = because
		q.classes.remove(0, p.byPlace, nil)
	} else {
		q.hold(because)
	}
	p.look(queue)
	return false
}

func (p *Pass) fits(tenant quota.NodeID, c *class) (because int32, ok bool) {
	if len(p.refused) > 0 {
		for _, k := range [2]alike{
			{tenant, none, c.flavor, c.pods, c.perPod},
			{quota.None, c.queue, c.flavor, c.pods, c.perPod},
		} {
			if r, marked := p.refused[k]; marked && c.priority <= r.priority {
				return r.slot, false
			}
		}
	}
	return none, c.units <= p.room(tenant, c.flavor)
}

// rankLess is the order of a tenant's queues that do not take turns.
func (p *Pass) rankLess(a, b int32) bool {
	x, y := &p.queues[a], &p.queues[b]
	if x.rank != y.rank {
		return x.rank > y.rank
	}
	return p.x.jobs[x.head].before(&p.x.jobs[y.head])
}

// turnLess is the order of a tenant's queues that do.
func (p *Pass) turnLess(a, b int32) bool {
	x, y := &p.queues[a], &p.queues[b]
	if x.rank != y.rank {
		return x.rank > y.rank
	}
	xhi, xlo := bits.Mul64(uint64(x.used), uint64(p.x.queues[b].Weight))
	yhi, ylo := bits.Mul64(uint64(y.used), uint64(p.x.queues[a].Weight))
	if xhi != yhi {
		return xhi < yhi
	}
	if xlo != ylo {
		return xlo < ylo
	}
	return p.x.jobs[x.head].before(&p.x.jobs[y.head])
}

// elect finds the tenant's candidate.
func (p *Pass) elect(tenant int32) {
	s := &p.seats[tenant]
	plain := p.clear(&s.plain, p.byRank)
	fair := p.clear(&s.fair, p.byTurn)
	s.queue = plain
	if plain == none || fair != none && p.rankLess(fair, plain) {
		s.queue = fair
	}
}

// clear brings a queue to the top whose first job can be offered, and returns it. The
// top of the heap may have another first job than when it came there, none may come
// to be further ahead: heads only get later, and use only grows.
func (p *Pass) clear(h *heap, before less) int32 {
	for len(h.ids) > 0 {
		top := h.ids[0]
		switch {
		case p.queues[top].head == none:
			h.remove(0, before, nil)
		default:
			h.fix(0, before, nil)
			if h.ids[0] == top && p.stands(top) {
				return top
			}
		}
	}
	return none
}
