package lend

import (
	"cmp"
	"slices"
)

const (
	// exactNodes is the number of nodes with candidates up to which the best choice is
	// searched for, and exactUnits how many units each of these can have.
	exactNodes = 16
	exactUnits = 256
	// exactSteps bounds the search for the best choice, tieSteps that for the first
	// names among equals.
	exactSteps = 6000
	tieSteps   = 2000
)

// prove looks for a better choice than the best so far by branch and bound, and
// reports whether there certainly is none.
func (s *search) prove() bool {
	if !s.small() {
		return false
	}
	e := newExact(s)
	e.steps = exactSteps
	e.walk()
	s.reset()
	if e.steps < 0 {
		return false
	}
	e.forNames, e.steps = true, tieSteps
	e.walk()
	s.reset()
	return true
}

// small: few nodes hold candidates, and all costs can be compared exactly.
func (s *search) small() bool {
	nodes, last := 0, -1
	for i := range s.sites {
		at := &s.sites[i]
		if len(at.on) == 0 {
			continue
		}
		if last < 0 || s.sites[last].node != at.node {
			nodes, last = nodes+1, i
		}
		units := max(at.free, -at.free)
		for _, k := range at.on {
			if !s.pieces[k.piece].pod {
				units += k.count
			}
		}
		if nodes > exactNodes || units > exactUnits {
			return false
		}
	}
	return true
}

// exact is a branch and bound over pieces: each is in, out or not decided yet.
type exact struct {
	*search
	steps    int
	forNames bool // among equals, find the first names; else, find the best price
	done     bool
	fate     []fate // by piece
	trail    []int  // decided pieces
	next     []int  // by piece: one that is never better to take than this one; -1: none
	bounds   []bound
	scratch  scratch
}

type fate int8

const (
	undecided fate = iota
	included
	excluded
)

func newExact(s *search) *exact {
	e := &exact{search: s, fate: make([]fate, len(s.pieces)), next: make([]int, len(s.pieces))}
	for i := range e.next {
		e.next[i] = -1
	}
	e.chainPods()
	e.chainLoans()
	e.addBounds()
	return e
}

// chainPods: of a loan's pods on one node, any stands for any other.
func (e *exact) chainPods() {
	for i := range e.candidates {
		pods := e.candidates[i].pods
		for n := 1; n < len(pods) && !e.candidates[i].tails; n++ {
			if e.pieces[pods[n-1]].parts[0].site == e.pieces[pods[n]].parts[0].site {
				e.next[pods[n-1]] = pods[n]
			}
		}
	}
}

// chainLoans: of loans that hold the same, the cheaper one is taken first. Not so of
// elastic ones, which may be of more use when they are not stopped.
func (e *exact) chainLoans() {
	var chain []int
	for _, i := range e.useful {
		if len(e.candidates[e.pieces[i].owner].pods) == 0 {
			chain = append(chain, i)
		}
	}
	slices.SortStableFunc(chain, func(a, b int) int {
		return cmp.Or(compareParts(e.pieces[a].parts, e.pieces[b].parts), e.pieces[a].price.compare(e.pieces[b].price))
	})
	for n := 1; n < len(chain); n++ {
		if compareParts(e.pieces[chain[n-1]].parts, e.pieces[chain[n]].parts) == 0 {
			e.next[chain[n-1]] = chain[n]
		}
	}
}

func compareParts(a, b []part) int {
	return slices.CompareFunc(a, b, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(a.count, b.count))
	})
}

// walk searches beneath what is decided.
func (e *exact) walk() {
	if e.steps--; e.steps < 0 || e.done {
		return
	}
	if e.enough() {
		e.keepThis()
		return
	}
	least, branch, ok := e.lower()
	if !ok || !e.promises(e.price.plus(least)) {
		return
	}
	if e.forNames || branch < 0 {
		branch = e.first()
	}
	if branch < 0 {
		return
	}
	mark := len(e.trail)
	e.include(branch)
	e.walk()
	e.undo(mark)
	e.exclude(branch)
	e.walk()
	e.undo(mark)
}

// keepThis keeps what is taken if it is the best. Those with the first names are found
// first, since pieces are then decided in their order, each tried as taken first.
func (e *exact) keepThis() {
	if c := e.price.compare(e.bestPrice); c < 0 || c == 0 && e.forNames {
		e.keep()
		e.done = e.forNames
	}
}

// promises reports whether what costs at least so much can be of use.
func (e *exact) promises(least price) bool {
	c := least.compare(e.bestPrice)
	return c < 0 || c == 0 && e.forNames
}

// first is the first piece that is not decided.
func (e *exact) first() int {
	for _, i := range e.useful {
		if e.fate[i] == undecided {
			return i
		}
	}
	return -1
}

func (e *exact) include(i int) {
	p := &e.pieces[i]
	c := &e.candidates[p.owner]
	e.decide(i, included)
	e.take(i)
	if !p.pod {
		for _, pod := range c.pods {
			e.decide(pod, excluded)
		}
		return
	}
	e.decide(c.whole, excluded)
	if c.shedding < c.spare && !c.tails {
		return
	}
	for _, pod := range c.pods {
		e.decide(pod, excluded)
	}
}

// exclude rules a piece out, and all that are never better.
func (e *exact) exclude(i int) {
	for ; i >= 0; i = e.next[i] {
		e.decide(i, excluded)
	}
}

func (e *exact) decide(i int, f fate) {
	if e.fate[i] != undecided {
		return
	}
	e.fate[i] = f
	e.trail = append(e.trail, i)
	e.touch(i)
}

func (e *exact) undo(mark int) {
	for _, i := range e.trail[mark:] {
		if e.fate[i] == included {
			e.spare(i)
		}
		e.fate[i] = undecided
		e.touch(i)
	}
	e.trail = e.trail[:mark]
}
