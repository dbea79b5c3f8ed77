package lend

import "slices"

// bound says what the slots of one size must cost at least that one flavor lacks. All
// pods of that size and larger ones need slots of it: a larger pod as many as it has
// room for.
type bound struct {
	market *market
	size   int64
	needs  int64
	places []place
	at     []int // by site: its place; -1: none
}

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

func (e *exact) addBounds() {
	for _, m := range e.markets {
		for i, o := range m.owed {
			b := bound{market: m, size: o.size, needs: m.slotsFor(i), at: make([]int, len(e.sites))}
			for k := range e.sites {
				b.at[k] = -1
				if e.sites[k].market == m && len(e.sites[k].on) > 0 {
					b.at[k] = len(b.places)
					b.places = append(b.places, place{site: k, stale: true})
				}
			}
			e.bounds = append(e.bounds, b)
		}
	}
	e.scratch = scratch{least: make([]price, exactUnits+1), last: make([]int, exactUnits+1)}
}

// touch notes that something changed where the piece is. How many pods a loan can still
// give up matters on all its nodes.
func (e *exact) touch(i int) {
	at := e.pieces[i].parts
	if e.pieces[i].pod {
		at = e.pieces[e.candidates[e.pieces[i].owner].whole].parts
	}
	for k := range e.bounds {
		b := &e.bounds[k]
		for _, p := range at {
			if n := b.at[p.site]; n >= 0 {
				b.places[n].stale = true
			}
		}
	}
}

// lower returns a price that whatever is still missing cannot be below, and a piece of
// which to decide next, -1 if any will do. ok is false if it cannot be had at all.
//
// It is the higher of two. By nodes: a gang's price is shared among its nodes, and
// every node then gives its slots as cheaply as it can. Flavors add up, since they
// share nothing. By pieces: each gives on every node no more slots than it has units
// for, and altogether no more than are missing.
func (e *exact) lower() (least price, branch int, ok bool) {
	branch = -1
	var worst, sum price
	for k := range e.bounds {
		b := &e.bounds[k]
		lacks := b.needs - b.market.bins.slots(b.size)
		if lacks > 0 {
			byNode, piece, ok := e.byNode(b, lacks)
			if !ok {
				return price{}, -1, false
			}
			if branch < 0 || byNode.compare(worst) > 0 {
				worst, branch = byNode, piece
			}
		}
		if k+1 == len(e.bounds) || e.bounds[k+1].market != b.market {
			sum, worst = sum.plus(worst), price{}
		}
	}
	if !e.promises(e.price.plus(sum)) {
		return sum, branch, true
	}
	for k := range e.bounds {
		b := &e.bounds[k]
		if lacks := b.needs - b.market.bins.slots(b.size); lacks > 0 {
			byPiece := e.byPiece(b, lacks)
			if byPiece.compare(sum) > 0 {
				sum = byPiece
			}
		}
	}
	return sum, branch, true
}

// byNode buys the cheapest slots, node by node.
func (e *exact) byNode(b *bound, lacks int64) (least price, branch int, ok bool) {
	all := e.scratch.stairs[:0]
	for n := range b.places {
		if p := &b.places[n]; p.stale {
			e.climb(b, p)
			p.stale = false
		}
		all = append(all, b.places[n].steps...)
	}
	e.scratch.stairs = all
	slices.SortStableFunc(all, func(x, y stair) int { return x.price.per(x.slots, y.price, y.slots) })
	branch = -1
	for _, s := range all {
		if branch < 0 {
			branch = s.piece
		}
		if s.slots >= lacks {
			return least.withPart(s.price, lacks, s.slots), branch, true
		}
		lacks -= s.slots
		least = least.plus(s.price)
	}
	return least, branch, false
}

// withPart is p + q·n/of, rounded up to what a sum of whole prices can be: whatever costs
// more in what comes first can cost nothing in what comes after it.
func (p price) withPart(q price, n, of int64) price {
	q = q.times(n)
	switch {
	case q.stop%of != 0:
		return price{stop: p.stop + upward(q.stop, of)}
	case q.shed%of != 0:
		return price{stop: p.stop + q.stop/of, shed: p.shed + upward(q.shed, of)}
	}
	return price{p.stop + q.stop/of, p.shed + q.shed/of, p.victims + upward(q.victims, of)}
}

// upward divides and rounds up.
func upward(n, by int64) int64 {
	if n > 0 {
		return (n + by - 1) / by
	}
	return n / by
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

// byPiece buys the pieces that are cheapest for each slot.
func (e *exact) byPiece(b *bound, lacks int64) (least price) {
	all := e.scratch.stairs[:0]
	for _, i := range e.useful {
		if e.fate[i] != undecided {
			continue
		}
		var slots int64
		for _, p := range e.pieces[i].parts {
			if e.sites[p.site].market == b.market {
				slots += (p.count + b.size - 1) / b.size
			}
		}
		if slots > 0 {
			all = append(all, stair{slots: min(slots, lacks), price: e.pieces[i].price})
		}
	}
	e.scratch.stairs = all
	slices.SortStableFunc(all, func(x, y stair) int { return x.price.per(x.slots, y.price, y.slots) })
	for _, s := range all {
		if s.slots >= lacks {
			return least.withPart(s.price, lacks, s.slots)
		}
		lacks -= s.slots
		least = least.plus(s.price)
	}
	return least
}
