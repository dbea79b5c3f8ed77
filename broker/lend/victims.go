package lend

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Room is what one schedulable node can give of one flavor without taking
// anything back: free units and those that come free. It may be negative where
// more is held than the node has.
type Room struct {
	Node   string
	Flavor string
	Free   int64
}

// Candidate is a loan that may be taken back.
type Candidate struct {
	// Name breaks ties, so that equal input gives equal victims.
	Name string
	// LostWork is what stopping it costs, in unit-seconds. What is not a number of
	// at least 0 counts as 0.
	LostWork float64
	// Priority and Since decide between equal costs only in the order of the
	// search: lower priority and newer loans are tried first.
	Priority int32
	Since    time.Time
	// Grants is what it holds, all of which comes free at once.
	Grants []Grant
}

// exactUpTo is the number of candidates up to which every subset is considered.
const exactUpTo = 12

// ChooseVictims says which candidates to take back so that all owed pods can be
// placed together, each on one node, and what that costs is small. It returns the
// victims' indexes in ascending order; none if the owed pods fit already. ok is
// false, and there are no victims, if not even taking everything back is enough.
//
// It guarantees that no victim could be spared with the rest still enough, and
// that the cost is the least possible for up to 12 candidates that hold anything
// of use; for more, it is the least that several greedy orders find, each followed
// by a reprieve. Among equal costs fewer victims win, then their names. The result
// does not depend on the order of the arguments' elements.
func ChooseVictims(rooms []Room, owed []Owed, candidates []Candidate) (victims []int, ok bool) {
	s := newSearch(rooms, owed, candidates)
	if s.enough() {
		return nil, true
	}
	if !s.possible() {
		return nil, false
	}
	s.greedy()
	if len(s.useful) <= exactUpTo {
		s.exact(0, 0)
	}
	victims = make([]int, 0, len(s.best))
	for _, i := range s.best {
		victims = append(victims, s.candidates[i].index)
	}
	slices.Sort(victims)
	return victims, true
}

// search is the state of one choice. Candidates are sorted by name.
type search struct {
	candidates []candidate
	useful     []int // candidates that hold anything on the rooms
	sites      []site
	markets    []*market // per owed flavor, by flavor
	taken      []bool
	count      int

	best     []int
	bestCost float64
}

type candidate struct {
	Candidate
	index int // in the caller's slice
	cost  float64
	units int64 // of use
	parts []part
}

type part struct {
	site  int
	count int64
}

// site is one room and the candidates on it.
type site struct {
	node   string
	market *market
	free   int64
	on     []int
	// way is the cheapest way to one more slot here, until something changes here.
	way *way
}

type way struct {
	size    int64
	victims []int // nil: there is none
	cost    float64
}

// market is what is to be had and what is owed of one flavor.
type market struct {
	flavor string
	bins   bins
	owed   []shape
}

func newSearch(rooms []Room, owed []Owed, candidates []Candidate) *search {
	s := &search{bestCost: math.Inf(1)}
	byFlavor := map[string]*market{}
	for _, o := range owed {
		if o.Pods <= 0 || o.UnitsPerPod <= 0 {
			continue
		}
		m := byFlavor[o.Flavor]
		if m == nil {
			m = &market{flavor: o.Flavor}
			byFlavor[o.Flavor] = m
			s.markets = append(s.markets, m)
		}
		m.owed = with(m.owed, shape{clamp(o.UnitsPerPod), clamp(o.Pods)})
	}
	slices.SortFunc(s.markets, func(a, b *market) int { return cmp.Compare(a.flavor, b.flavor) })
	s.addSites(rooms, byFlavor)
	s.addCandidates(candidates)
	return s
}

func (s *search) addSites(rooms []Room, markets map[string]*market) {
	for _, r := range rooms {
		if m := markets[r.Flavor]; m != nil {
			s.sites = append(s.sites, site{node: r.Node, market: m, free: r.Free})
			m.bins.add(r.Free, 1)
		}
	}
	slices.SortStableFunc(s.sites, func(a, b site) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.market.flavor, b.market.flavor))
	})
}

func (s *search) addCandidates(candidates []Candidate) {
	at := map[[2]string]int{}
	for i := len(s.sites) - 1; i >= 0; i-- {
		at[[2]string{s.sites[i].node, s.sites[i].market.flavor}] = i
	}
	for i, c := range candidates {
		k := candidate{Candidate: c, index: i, cost: c.LostWork}
		if !(k.cost >= 0) {
			k.cost = 0
		}
		k.cost = min(k.cost, 1e18)
		for _, g := range c.Grants {
			if where, ok := at[[2]string{g.Node, g.Flavor}]; ok && g.Count > 0 {
				k.parts = append(k.parts, part{where, clamp(g.Count)})
				k.units += clamp(g.Count)
			}
		}
		s.candidates = append(s.candidates, k)
	}
	slices.SortStableFunc(s.candidates, func(a, b candidate) int { return cmp.Compare(a.Name, b.Name) })
	s.taken = make([]bool, len(s.candidates))
	for i, c := range s.candidates {
		for _, p := range c.parts {
			s.sites[p.site].on = append(s.sites[p.site].on, i)
		}
		if c.units > 0 {
			s.useful = append(s.useful, i)
		}
	}
}

// take makes a candidate a victim; spare undoes it.
func (s *search) take(i int)  { s.move(i, true) }
func (s *search) spare(i int) { s.move(i, false) }

func (s *search) move(i int, take bool) {
	if s.taken[i] == take {
		return
	}
	s.taken[i] = take
	sign := int64(1)
	if !take {
		sign = -1
	}
	s.count += int(sign)
	for _, p := range s.candidates[i].parts {
		at := &s.sites[p.site]
		at.market.bins.shift(at.free, at.free+sign*p.count, 1)
		at.free += sign * p.count
		at.way = nil
	}
}

// enough reports whether all owed pods fit with the victims gone.
func (s *search) enough() bool {
	for _, m := range s.markets {
		if !m.bins.fits(m.owed) {
			return false
		}
	}
	return true
}

// possible reports whether taking everything back is enough.
func (s *search) possible() bool {
	for _, i := range s.useful {
		s.take(i)
	}
	ok := s.enough()
	s.reset()
	return ok
}

func (s *search) reset() {
	for _, i := range s.useful {
		s.spare(i)
	}
}

// keep remembers the present victims if they are the best so far.
func (s *search) keep() {
	var set []int
	var cost float64
	for i, taken := range s.taken {
		if taken {
			set = append(set, i)
			cost += s.candidates[i].cost
		}
	}
	better := s.best == nil || cost < s.bestCost
	if !better && cost == s.bestCost {
		// Candidates are sorted by name, so indexes compare like names.
		better = cmp.Or(cmp.Compare(len(set), len(s.best)), slices.Compare(set, s.best)) < 0
	}
	if better {
		s.best, s.bestCost = set, cost
	}
}

// exact tries every set of useful candidates from the i-th on, beside those taken.
// A set that is enough is not added to: more victims never cost less.
func (s *search) exact(i int, cost float64) {
	if s.enough() {
		s.keep()
		return
	}
	if i == len(s.useful) || cost > s.bestCost {
		return
	}
	c := s.useful[i]
	s.take(c)
	s.exact(i+1, cost+s.candidates[c].cost)
	s.spare(c)
	s.exact(i+1, cost)
}
