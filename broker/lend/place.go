package lend

import (
	"cmp"
	"slices"
)

// reserve fixes what admissions must leave: the room for owed pods and headroom on
// what is free or comes free, and the room for all that lenders own on what
// evicting loans would give back. What cannot be placed even now is not counted:
// an admission can make it no worse.
func (d *decision) reserve() {
	for _, flavor := range d.flavors {
		p := d.pools[flavor]
		byShape := slices.Clone(p.lenders)
		slices.SortStableFunc(byShape, func(a, b *lender) int { return cmp.Compare(b.UnitsPerPod, a.UnitsPerPod) })
		for _, l := range byShape {
			size := l.UnitsPerPod
			if size == 0 {
				continue
			}
			if n := len(p.sizes); n == 0 || p.sizes[n-1] != size {
				p.sizes = append(p.sizes, size)
			}
			if n := p.soon.reach(p.claims, shape{size, l.claim}); n > 0 {
				p.claims = with(p.claims, shape{size, n})
			}
			if n := p.back.reach(p.rights, shape{size, l.ownedPods - l.Running}); n > 0 {
				p.rights = with(p.rights, shape{size, n})
			}
		}
		p.keepForOwners()
		for _, l := range p.lenders {
			if l.short {
				l.lendable = 0
			}
		}
	}
}

// keepForOwners claims what is not for loans beyond what lenders claim, so that what is
// kept for a waiting job is not counted on it.
func (p *pool) keepForOwners() {
	if p.kept == 0 {
		return
	}
	rest := p.kept
	for _, c := range p.claims {
		rest -= c.size * c.pods
	}
	if n := p.soon.reach(p.claims, shape{1, rest}); n > 0 {
		p.claims = with(p.claims, shape{1, n})
	}
}

// spot is a number of a gang's pods on one node.
type spot struct {
	room int
	pods int64
}

// place finds nodes for a gang, takes its units there and returns the spots in
// order of node; nil if the gang does not fit, would take what lenders are owed,
// would be spread over more than most nodes, or if clear, asked last, says no. spread
// is over how many it would be, 0 if it does not fit. own is as in take.
func (p *pool) place(pods, size int64, own bool, most int, clear func([]spot) bool) (spots []spot, spread int) {
	if !p.hasSlots(size, pods) {
		return nil, 0
	}
	for placed := int64(0); placed < pods; placed++ {
		i := p.best(size, own)
		p.take(i, size, own)
		if at := slices.IndexFunc(spots, func(s spot) bool { return s.room == i }); at >= 0 {
			spots[at].pods++
		} else {
			spots = append(spots, spot{i, 1})
		}
	}
	spread = len(spots)
	if spread > most || !p.soon.fits(p.claims) || (own && !p.back.fits(p.rights)) || !clear(spots) {
		for _, s := range spots {
			p.take(s.room, -s.pods*size, own)
		}
		return nil, spread
	}
	for _, s := range spots {
		p.rooms[s.room].lent = true
	}
	slices.SortFunc(spots, func(a, b spot) int { return cmp.Compare(p.rooms[a.room].node, p.rooms[b.room].node) })
	return spots, spread
}

// freeSlots is how many pods of the size fit on units that are free now.
func (p *pool) freeSlots(size int64) int64 {
	var n int64
	for i := range p.rooms {
		n += max(p.rooms[i].free, 0) / size
	}
	return n
}

// hasSlots reports whether as many pods of the size fit on units that are free now.
func (p *pool) hasSlots(size, pods int64) bool {
	for i := range p.rooms {
		if free := p.rooms[i].free; free >= size {
			if pods -= free / size; pods <= 0 {
				return true
			}
		}
	}
	return pods <= 0
}

// barredSlots counts those as well on which nothing new may be lent.
func (p *pool) barredSlots(size int64) int64 {
	var n int64
	for i := range p.rooms {
		n += (max(p.rooms[i].free, 0) + p.rooms[i].barred) / size
	}
	return n
}

// barredText says of the first node on which nothing new may be lent why that is.
func (p *pool) barredText() string {
	for i := range p.rooms {
		if r := &p.rooms[i]; r.barred > 0 {
			return "and nothing new is lent on node " + r.node + ": " + r.why
		}
	}
	return "and nothing new is lent on others"
}

// best is the room where a pod of the size does least harm: it is none that services
// prefer, costs the fewest slots of the lenders' shapes, largest first, then leaves the fewest units over,
// then joins other loans. At least one room has the units.
func (p *pool) best(size int64, own bool) int {
	best, b := -1, (*room)(nil)
	sorted := p.nodes != nil && p.nodes.sorted
	for i := range p.rooms {
		r := &p.rooms[i]
		if r.free < size || b != nil && (r.last > b.last || r.equals(b) && (sorted || b.node <= r.node)) {
			continue
		}
		if b == nil || p.compare(r, b, size, own) < 0 {
			best, b = i, r
		}
	}
	return best
}

// equals reports whether compare tells the rooms apart by their nodes alone.
func (r *room) equals(o *room) bool {
	return r.free == o.free && r.soon == o.soon && r.back == o.back && r.lent == o.lent && r.last == o.last
}

func (p *pool) compare(a, b *room, size int64, own bool) int {
	if c := cmp.Compare(a.last, b.last); c != 0 {
		return c
	}
	for _, shape := range p.sizes {
		c := cmp.Compare(slotsLost(a.soon, size, shape), slotsLost(b.soon, size, shape))
		if c == 0 && own {
			c = cmp.Compare(slotsLost(a.back, size, shape), slotsLost(b.back, size, shape))
		}
		if c != 0 {
			return c
		}
	}
	if c := cmp.Compare(a.free, b.free); c != 0 {
		return c
	}
	if a.lent != b.lent {
		if a.lent {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.node, b.node)
}

func slotsLost(have, taken, shape int64) int64 {
	return max(have, 0)/shape - max(have-taken, 0)/shape
}
