package lend

// place is one site's part in a bound: what its next slots cost.
type place struct {
	site  int
	stale bool
	steps []stair
}

// stair is a number of slots and what they cost together; each slot of the stair before
// costs no more. piece is one of those to take for it.
type stair struct {
	slots int64
	price price
	piece int
}

// scratch is memory that is used again and again.
type scratch struct {
	least  []price // by units: the least price at which so many come free
	last   []int   // by units: the piece that came last, -1: none, -2: no way
	stairs []stair
}

// climb finds out what the next slots cost at a site: the lower convex hull of the
// least prices for each number of them.
func (e *exact) climb(b *bound, p *place) {
	at := &e.sites[p.site]
	have := max(at.free, 0) / b.size
	most := max(at.free+e.atMost(at), 0)/b.size - have
	p.steps = p.steps[:0]
	if most == 0 {
		return
	}
	e.knapsack(at, (have+most)*b.size-at.free)
	for n := int64(1); n <= most; n++ {
		units := (have+n)*b.size - at.free
		if e.scratch.last[units] == -2 {
			break
		}
		s := stair{slots: n, price: e.scratch.least[units], piece: e.scratch.last[units]}
		for top := len(p.steps) - 1; top >= 0; top-- {
			before, after := p.rise(top), s.from(p.steps[top])
			if after.price.per(after.slots, before.price, before.slots) >= 0 {
				break
			}
			p.steps = p.steps[:top]
		}
		p.steps = append(p.steps, s)
	}
	for n := len(p.steps) - 1; n >= 0; n-- {
		p.steps[n] = p.rise(n)
	}
}

// atMost is how many more units can come free at a site.
func (e *exact) atMost(at *site) (units int64) {
	var before stake // a piece of the same loan that this one replaces
	for _, k := range at.on {
		p := &e.pieces[k.piece]
		c := &e.candidates[p.owner]
		// The pods of a loan that could be stopped are part of it.
		if e.fate[k.piece] != undecided || p.pod && e.fate[c.whole] == undecided {
			continue
		}
		units += k.count
		if !c.tails {
			continue
		}
		if p.pod && before.count > 0 && e.pieces[before.piece].owner == p.owner {
			units -= before.count
		}
		before = k
	}
	return units
}

// rise is the n-th stair of a hull of which the points are known.
func (p *place) rise(n int) stair {
	if n == 0 {
		return p.steps[0]
	}
	return p.steps[n].from(p.steps[n-1])
}

func (s stair) from(t stair) stair { return stair{s.slots - t.slots, s.price.minus(t.price), s.piece} }

// knapsack finds the least price at which so many units, and each smaller number, come
// free at a site: of every loan nothing, the whole, or some pods.
func (e *exact) knapsack(at *site, units int64) {
	least, last := e.scratch.least[:units+1], e.scratch.last[:units+1]
	for i := range last {
		least[i], last[i] = price{}, -2
	}
	least[0], last[0] = price{}, -1
	for n := 0; n < len(at.on); {
		owner := e.pieces[at.on[n].piece].owner
		end := n + 1
		for end < len(at.on) && e.pieces[at.on[end].piece].owner == owner {
			end++
		}
		e.offer(at.on[n:end], least, last)
		n = end
	}
}

// offer adds what one loan can give at a site.
func (e *exact) offer(on []stake, least []price, last []int) {
	c := &e.candidates[e.pieces[on[0].piece].owner]
	if c.tails {
		e.offerTails(on, least, last)
		return
	}
	var pods []stake
	for n, k := range on {
		if e.openPod(k.piece) {
			pods = on[n:min(len(on), n+int(c.spare-c.shedding))]
			break
		}
	}
	whole := on[:0]
	if !e.pieces[on[0].piece].pod && e.fate[on[0].piece] == undecided {
		whole = on[:1]
	}
	for w := len(least) - 1; w > 0 && len(whole)+len(pods) > 0; w-- {
		for _, k := range whole {
			improve(least, last, w, k)
		}
		var some stake
		for _, k := range pods {
			if !e.openPod(k.piece) {
				break
			}
			some = stake{pods[0].piece, some.count + k.count, some.share.plus(k.share)}
			improve(least, last, w, some)
		}
	}
}

// offerTails is offer where at most one of the pieces can be taken.
func (e *exact) offerTails(on []stake, least []price, last []int) {
	for w := len(least) - 1; w > 0; w-- {
		for _, k := range on {
			if e.fate[k.piece] == undecided {
				improve(least, last, w, k)
			}
		}
	}
}

// improve looks whether so many units are cheaper with something than without.
func improve(least []price, last []int, units int, with stake) {
	rest := int(max(int64(units)-with.count, 0))
	if last[rest] == -2 {
		return
	}
	if p := least[rest].plus(with.share); last[units] == -2 || p.compare(least[units]) < 0 {
		least[units], last[units] = p, with.piece
	}
}

// openPod: the piece is a pod that can still be given up.
func (e *exact) openPod(i int) bool { return e.pieces[i].pod && e.fate[i] == undecided }
