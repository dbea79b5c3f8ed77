package lend

import (
	"cmp"
	"slices"
	"sort"
)

// exchangeSteps bounds the local exchange, in looks at whether something is enough or
// what a node would cost.
const exchangeSteps = 3000

// exchange improves the best choice by small changes, until none helps or the steps
// are used up: one or two victims out and whatever mends that best in; one or two out and
// one or two cheaper in; one or two in and all others anew.
func (s *search) exchange() {
	x := &exchange{search: s}
	s.steps = exchangeSteps
	for _, i := range s.useful {
		// What costs as much as all victims together never helps.
		if s.pieces[i].price.compare(s.bestPrice) < 0 {
			x.cheap = append(x.cheap, i)
		}
	}
	slices.SortFunc(x.cheap, func(a, b int) int {
		return cmp.Or(s.pieces[a].price.compare(s.pieces[b].price), cmp.Compare(a, b))
	})
	for x.improve() && s.steps > 0 {
	}
}

// exchange is a local search around the best choice.
type exchange struct {
	*search
	cheap []int // useful pieces, the cheapest first
}

// improve makes the first change that helps.
func (x *exchange) improve() bool {
	victims := slices.Clone(x.best)
	slices.SortStableFunc(victims, func(a, b int) int { return x.pieces[b].price.compare(x.pieces[a].price) })
	for _, change := range []func([]int) bool{
		x.mend, x.oneForOne, x.oneForTwo, x.twoForOne, x.grow, x.mendTwo, x.growTwo, x.twoForTwo,
	} {
		if change(victims) {
			return true
		}
	}
	return false
}

// settled keeps what is taken if it is enough and better, and else goes back.
func (x *exchange) settled(enough bool) bool {
	before := x.bestPrice
	if enough {
		x.reprieve()
		if x.keep() && x.bestPrice != before {
			return true
		}
	}
	x.restore(x.best)
	return false
}

// anew goes from the best without some, which are barred, and with some, and clears
// nodes until there is enough.
func (x *exchange) anew(without, with []int) bool {
	for _, by := range []rate{perSlot, perGain} {
		if x.steps <= 0 {
			return false
		}
		if len(without) > 0 {
			x.restore(x.best)
		} else {
			x.reset()
		}
		for _, i := range with {
			if x.open(i) {
				x.take(i)
			}
		}
		for _, i := range without {
			x.spare(i)
			x.bar(i, true)
		}
		done := x.clearNodes(by)
		for _, i := range without {
			x.bar(i, false)
		}
		if x.settled(done) {
			return true
		}
	}
	return false
}

// mend takes each victim out and bars it, and mends the rest.
func (x *exchange) mend(victims []int) bool {
	return slices.ContainsFunc(victims, func(out int) bool { return x.anew([]int{out}, nil) })
}

func (x *exchange) mendTwo(victims []int) bool {
	return x.pairs(victims, func(out []int, _ price) bool { return x.anew(out, nil) })
}

// grow begins with one piece that is not taken, and clears nodes beside it: what a gang
// frees here and there may be just what small ones lack.
func (x *exchange) grow([]int) bool {
	return slices.ContainsFunc(x.cheap, func(in int) bool { return x.anew(nil, []int{in}) })
}

func (x *exchange) growTwo([]int) bool {
	return x.pairs(x.cheap, func(in []int, _ price) bool { return x.anew(nil, in) })
}

// swap tries to let some out and others in. The best may have become another since they
// were listed, at the same price: who is not in it cannot be let out of it.
func (x *exchange) swap(out, in []int) bool {
	x.steps--
	if slices.ContainsFunc(out, func(i int) bool { return !x.taken[i] }) {
		return false
	}
	for _, i := range out {
		x.spare(i)
	}
	for _, i := range in {
		if x.open(i) {
			x.take(i)
		}
	}
	if x.enough() {
		return x.settled(true)
	}
	for _, i := range in {
		x.spare(i)
	}
	for _, i := range out {
		x.take(i)
	}
	return false
}

// oneForOne lets one out and a cheaper one in.
func (x *exchange) oneForOne(victims []int) bool {
	x.restore(x.best)
	for _, out := range victims {
		for _, in := range x.cheap[:x.below(x.pieces[out].price)] {
			if x.steps <= 0 {
				return false
			}
			if x.fresh(in) && x.swap([]int{out}, []int{in}) {
				return true
			}
		}
	}
	return false
}

// oneForTwo lets one out and two in that together are cheaper.
func (x *exchange) oneForTwo(victims []int) bool {
	for _, out := range victims {
		if x.twoIn([]int{out}, x.pieces[out].price) {
			return true
		}
	}
	return false
}

// twoIn lets some out and two in that are cheaper than the limit.
func (x *exchange) twoIn(out []int, limit price) bool {
	below := x.cheap[:x.below(limit)]
	for n, a := range below {
		if !x.fresh(a) {
			continue
		}
		for _, b := range below[:min(n, x.below(limit.minus(x.pieces[a].price)))] {
			if x.steps <= 0 {
				return false
			}
			if x.fresh(b) && x.swap(out, []int{b, a}) {
				return true
			}
		}
	}
	return false
}

// pairs calls try with pairs of pieces until it says true.
func (x *exchange) pairs(pieces []int, try func(out []int, prices price) bool) bool {
	for n, a := range pieces {
		for _, b := range pieces[:n] {
			if x.steps <= 0 {
				return false
			}
			if try([]int{a, b}, x.pieces[a].price.plus(x.pieces[b].price)) {
				return true
			}
		}
	}
	return false
}

// twoForOne lets two out and one in. One that is cheaper than either would have been
// found in the exchange of that one already.
func (x *exchange) twoForOne(victims []int) bool {
	return x.pairs(victims, func(out []int, prices price) bool {
		from, to := x.below(x.pieces[out[1]].price), x.below(prices)
		for _, in := range x.cheap[min(from, to):to] {
			if x.steps <= 0 {
				return false
			}
			if x.fresh(in) && x.swap(out, []int{in}) {
				return true
			}
		}
		return false
	})
}

func (x *exchange) twoForTwo(victims []int) bool { return x.pairs(victims, x.twoIn) }

// below is how many pieces are cheaper than the price.
func (x *exchange) below(p price) int {
	return sort.Search(len(x.cheap), func(i int) bool { return x.pieces[x.cheap[i]].price.compare(p) >= 0 })
}

// fresh: the piece can come in. The whole of a loan that gives up pods would throw
// these out, and so would another number of its first pods.
func (x *exchange) fresh(i int) bool {
	c := &x.candidates[x.pieces[i].owner]
	if x.taken[i] || x.taken[c.whole] {
		return false
	}
	return x.pieces[i].pod && !c.tails || c.shedding == 0
}
