package lend

import (
	"cmp"
	"math"
	"slices"
)

// greedy tries several ways to choose victims, improves each by a reprieve and
// keeps the cheapest. None is best always: clearing a node suits large pods, cost
// per unit suits small ones, and few jobs or new jobs suit dear restarts.
func (s *search) greedy() {
	orders := []func(a, b *candidate) int{
		func(a, b *candidate) int { return cmp.Compare(a.cost*float64(b.units), b.cost*float64(a.units)) },
		func(a, b *candidate) int { return cmp.Compare(a.cost, b.cost) },
		func(a, b *candidate) int { return cmp.Compare(b.units, a.units) },
		func(a, b *candidate) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), b.Since.Compare(a.Since))
		},
	}
	for _, by := range orders {
		s.takeInOrder(by)
		s.settle()
	}
	if s.clearNodes() {
		s.settle()
	}
	s.reset()
}

// takeInOrder makes candidates victims one by one until that is enough.
func (s *search) takeInOrder(by func(a, b *candidate) int) {
	order := slices.Clone(s.useful)
	slices.SortStableFunc(order, func(a, b int) int { return by(&s.candidates[a], &s.candidates[b]) })
	for _, i := range order {
		if s.enough() {
			return
		}
		s.take(i)
	}
}

// settle spares who can be spared, keeps the result and starts afresh.
func (s *search) settle() {
	s.reprieve()
	s.keep()
	s.reset()
}

// reprieve spares victims, the most expensive first, as long as the others are
// still enough. It repeats until nobody can be spared: for sizes that do not
// divide each other one pass need not find all.
func (s *search) reprieve() {
	var victims []int
	for _, i := range s.useful {
		if s.taken[i] {
			victims = append(victims, i)
		}
	}
	slices.SortStableFunc(victims, func(a, b int) int {
		return cmp.Compare(s.candidates[b].cost, s.candidates[a].cost)
	})
	for again := true; again; {
		again = false
		for _, i := range victims {
			if !s.taken[i] {
				continue
			}
			s.spare(i)
			if s.enough() {
				again = true
				continue
			}
			s.take(i)
		}
	}
}

// clearNodes frees one slot after the other for the largest shape that lacks one,
// each on the node where that costs least; what a gang holds elsewhere comes free
// with it. It reports whether that was enough.
func (s *search) clearNodes() bool {
	for !s.enough() {
		m, size := s.lacking()
		var cheapest []int
		least := math.Inf(1)
		for i := range s.sites {
			if s.sites[i].market != m {
				continue
			}
			at := &s.sites[i]
			if at.way == nil || at.way.size != size {
				victims, cost := s.clear(at, size)
				at.way = &way{size, victims, cost}
			}
			if at.way.victims != nil && at.way.cost < least {
				cheapest, least = at.way.victims, at.way.cost
			}
		}
		if cheapest == nil {
			return false
		}
		for _, i := range cheapest {
			s.take(i)
		}
	}
	return true
}

// lacking is the first flavor and the largest size of it that cannot all be placed.
func (s *search) lacking() (*market, int64) {
	for _, m := range s.markets {
		for i := range m.owed {
			if !m.bins.fits(m.owed[:i+1]) {
				return m, m.owed[i].size
			}
		}
	}
	return nil, 0
}

// clear says which candidates to take for one more slot of the size at a site, the
// cheapest per unit first; nil if it cannot be had there.
func (s *search) clear(at *site, size int64) (victims []int, cost float64) {
	lacks := size - max(at.free, 0)%size - min(at.free, 0)
	held := map[int]int64{}
	order := make([]int, 0, len(at.on))
	for _, i := range at.on {
		if s.taken[i] || held[i] > 0 {
			continue
		}
		for _, p := range s.candidates[i].parts {
			if &s.sites[p.site] == at {
				held[i] += p.count
			}
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(s.candidates[a].cost*float64(held[b]), s.candidates[b].cost*float64(held[a]))
	})
	for _, i := range order {
		if lacks <= 0 {
			break
		}
		victims = append(victims, i)
		cost += s.candidates[i].cost
		lacks -= held[i]
	}
	if lacks > 0 {
		return nil, 0
	}
	return victims, cost
}
