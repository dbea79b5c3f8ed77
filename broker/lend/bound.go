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
