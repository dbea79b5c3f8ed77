package lend

import (
	"slices"
	"sort"
)

// Some jobs choose for themselves which of their pods stop when they get smaller: those
// of the highest index. Of such a candidate the search has a piece for each number of
// pods that it can give up, in their order. At most one of these is taken at a time.

// readOrder finds out whether the candidate's pods go in a certain order. Of several
// flavors nobody knows which one the pods there are of: then it cannot give any up.
func (c *candidate) readOrder() {
	if len(c.Order) == 0 {
		return
	}
	c.tails = true
	if slices.ContainsFunc(c.Grants, func(g Grant) bool { return g.Flavor != c.Grants[0].Flavor }) || len(c.Grants) == 0 {
		c.spare = 0
	}
}

// addTails makes those pieces, as far as the order agrees with what the candidate holds.
// One that frees no more than the one before it is of no use.
func (s *search) addTails(owner int, site func(node, flavor string) (int, bool), each price) {
	c := &s.candidates[owner]
	held, flavor := map[string]int64{}, c.Grants[0].Flavor
	for _, g := range c.Grants {
		held[g.Node] += clamp(g.Count)
	}
	tail := piece{owner: owner, pod: true}
	for _, node := range c.Order[:min(c.spare, int64(len(c.Order)), mostShed)] {
		if held[node] -= c.UnitsPerPod; held[node] < 0 {
			break
		}
		tail.pods++
		tail.price = tail.price.plus(each)
		if at, ok := site(node, flavor); ok {
			tail.parts = slices.Clone(tail.parts)
			tail.hold(at, c.UnitsPerPod)
			tail.split()
			c.pods = append(c.pods, len(s.pieces))
			s.pieces = append(s.pieces, tail)
		}
	}
	c.spare = tail.pods
}

// full: no further piece of the candidate's pods can be taken, or not this one.
func (c *candidate) full(p *piece) bool {
	if c.tails {
		return p.pods <= c.shedding
	}
	return c.shedding >= c.spare
}

// adds is how many units come free if a piece is taken, beside those of a piece that it
// replaces.
func (s *search) adds(i int) int64 {
	p := &s.pieces[i]
	n, c := p.units, &s.candidates[p.owner]
	if p.pod && c.tails && c.shedding > 0 {
		for _, pod := range c.pods {
			if s.taken[pod] {
				n -= s.pieces[pod].units
			}
		}
	}
	return n
}

// shorten takes instead of a piece the one of the fewest pods that is enough, and
// returns it; -1, and nothing taken of that candidate, if there is none.
func (s *search) shorten(i int) int {
	c := &s.candidates[s.pieces[i].owner]
	if !s.pieces[i].pod || !c.tails {
		return -1
	}
	shorter := c.pods[:slices.Index(c.pods, i)]
	n := sort.Search(len(shorter), func(n int) bool {
		s.take(shorter[n])
		enough := s.enough()
		s.spare(shorter[n])
		return enough
	})
	if n == len(shorter) {
		return -1
	}
	s.take(shorter[n])
	return shorter[n]
}
