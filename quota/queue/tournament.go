package queue

import "github.com/ebbtide/ebbtide/quota"

// seat is a node's place in the tournament.
type seat struct {
	// plain and fair are a tenant's queues, those that take turns apart; queue is the
	// one whose first job is the candidate.
	plain, fair heap[int32]
	queue       int32
	// children are a cohort's that have a candidate.
	children heap[int32]
	// winner is the tenant whose candidate is the node's, and claim what it is worth.
	winner int32
	claim  claim
}

// claim is a job as one node of the tree puts it forward.
type claim struct {
	borrows, aged bool
	share         quota.Share
	queued        instant
	rank          int32
	slot          int32
}

// seat fills the tournament from the tenants up.
func (p *Pass) seat() {
	for i := range p.seats {
		p.seats[i].queue, p.seats[i].winner, p.places[i] = none, none, none
		for up := p.t.Parent(quota.NodeID(i)); up != quota.None; up = p.t.Parent(up) {
			p.depths[i]++
		}
	}
	for i := range p.queues {
		if p.queues[i].head == none {
			continue
		}
		s := &p.seats[p.x.queues[i].Tenant]
		if p.x.queues[i].Order == FairShare {
			s.fair.items = append(s.fair.items, int32(i))
		} else {
			s.plain.items = append(s.plain.items, int32(i))
		}
	}
	for _, n := range p.deepestFirst() {
		s := &p.seats[n]
		s.plain.arrange(p.byRank, nil)
		s.fair.arrange(p.byTurn, nil)
		s.children.arrange(p.byClaim, p.placed)
		p.elect(n)
		if p.measured = none; p.win(n) {
			p.rivals(n).items = append(p.rivals(n).items, n)
		}
	}
	p.roots.arrange(p.byClaim, p.placed)
}

// deepestFirst lists the nodes so that children come before their parents.
func (p *Pass) deepestFirst() []int32 {
	var deepest int32
	for _, d := range p.depths {
		deepest = max(deepest, d)
	}
	starts := make([]int32, deepest+2)
	for _, d := range p.depths {
		starts[d]++
	}
	for d := len(starts) - 2; d >= 0; d-- {
		starts[d] += starts[d+1]
	}
	order := make([]int32, len(p.depths))
	for n, d := range p.depths {
		order[starts[d+1]] = int32(n)
		starts[d+1]++
	}
	return order
}

// rivals are what the node competes with, itself included.
func (p *Pass) rivals(n int32) *heap[int32] {
	if up := p.t.Parent(quota.NodeID(n)); up != quota.None {
		return &p.seats[up].children
	}
	return &p.roots
}

// win finds the node's winner and what its candidate is worth here; false if it has
// none.
func (p *Pass) win(n int32) bool {
	s := &p.seats[n]
	switch {
	case s.queue != none:
		s.winner = n
		s.claim = p.enter(n, s.queue)
	case len(s.children.items) > 0:
		child := &p.seats[s.children.items[0]]
		s.winner, s.claim = child.winner, child.claim
	default:
		s.winner = none
		return false
	}
	p.measure(s.winner)
	up := int(p.depths[s.winner] - p.depths[n])
	s.claim.borrows, s.claim.share = p.borrows[up], 0
	if up < len(p.shares) {
		s.claim.share = p.shares[up]
	}
	return true
}

// enter is what of a claim is the same at all levels.
func (p *Pass) enter(tenant, queue int32) claim {
	q := &p.queues[queue]
	c := claim{queued: p.x.roster.records[q.head].queued, rank: q.rank, slot: q.head}
	c.aged = p.ages && !c.queued.after(p.aged) && p.t.Weight(quota.NodeID(tenant)) > 0
	return c
}

// measure finds what the tenant's candidate does to the nodes above it.
func (p *Pass) measure(tenant int32) {
	if p.measured == tenant {
		return
	}
	p.measured = tenant
	h := p.top(p.seats[tenant].queue)
	p.shares = p.t.SharesWith(quota.NodeID(tenant), h.flavor, h.units, p.shares)
	p.borrows = p.t.BorrowsWith(quota.NodeID(tenant), h.flavor, h.units, p.borrows)
}

// climb plays the matches again that the tenant's candidate or use can have changed:
// those of itself and of the cohorts above it.
func (p *Pass) climb(tenant int32) {
	p.measured = none
	for n := tenant; n != none; n = int32(p.t.Parent(quota.NodeID(n))) {
		h, at := p.rivals(n), int(p.places[n])
		switch stays := p.win(n); {
		case stays && at == none:
			h.push(n, p.byClaim, p.placed)
		case stays:
			h.fix(at, p.byClaim, p.placed)
		case at != none:
			h.remove(at, p.byClaim, p.placed)
		}
	}
}

// claimLess is the order of the tournament, of roots as well: those have no share.
func (p *Pass) claimLess(n, m *int32) bool {
	a, b := &p.seats[*n].claim, &p.seats[*m].claim
	if a.borrows != b.borrows {
		return b.borrows
	}
	if a.aged != b.aged {
		return a.aged
	}
	if a.aged && a.queued != b.queued {
		return b.queued.after(a.queued)
	}
	if a.share != b.share {
		return a.share < b.share
	}
	if a.rank != b.rank {
		return a.rank > b.rank
	}
	return p.x.roster.before(a.slot, b.slot)
}
