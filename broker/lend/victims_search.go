package lend

import (
	"cmp"
	"math"
	"slices"
)

// search is the state of one choice. Candidates are sorted by name, and pieces in
// the order of their candidates.
type search struct {
	candidates []candidate
	pieces     []piece
	useful     []int // the pieces that hold anything on the rooms
	sites      []site
	markets    []*market // per owed flavor, by flavor
	taken      []bool    // by piece
	barred     []bool    // by piece: not to be taken just now
	price      price     // of what is taken
	steps      int       // left for the local exchange
	near       []stake   // memory that is used again and again
	line       []ranked

	best      []int // pieces; nil before there is any
	bestPrice price
}

// candidate is a loan with its pieces: the whole of it, and, if it is elastic, each
// pod on the rooms; or each number of pods, where these go in a certain order.
type candidate struct {
	Candidate
	index    int // in the caller's slice
	whole    int
	pods     []int
	spare    int64 // pods that it can give up
	shedding int64 // pods that are taken
	tails    bool  // pods are pieces of several pods each, of which one can be taken
}

// piece is what is taken at once: a loan, or some of its pods: one, but for tails.
type piece struct {
	owner int // candidate
	pod   bool
	pods  int64
	price price
	units int64 // of use
	parts []part
}

type part struct {
	site  int
	count int64
	share price // of the piece's price; all parts' shares together are the price
}

// site is one room and the pieces on it.
type site struct {
	node   string
	market *market
	free   int64
	on     []stake
	// changes counts what was taken, spared and barred here.
	changes int
	way     way
}

// stake is what a piece holds on a site.
type stake struct {
	piece int
	count int64
	share price // of the piece's price
}

// market is what is to be had and what is owed of one flavor.
type market struct {
	flavor string
	bins   bins
	owed   []shape
}

// price orders choices: what stopping costs, then what shedding costs, both on the
// scale of the search, then how many are victims. Whole numbers, so that sums do not
// depend on their order.
type price struct{ stop, shed, victims int64 }

func (p price) compare(q price) int {
	return cmp.Or(cmp.Compare(p.stop, q.stop), cmp.Compare(p.shed, q.shed), cmp.Compare(p.victims, q.victims))
}

func (p price) plus(q price) price {
	return price{p.stop + q.stop, p.shed + q.shed, p.victims + q.victims}
}

func (p price) minus(q price) price { return p.plus(q.times(-1)) }

func (p price) times(n int64) price { return price{p.stop * n, p.shed * n, p.victims * n} }

// per compares p/a with q/b. It is exact as long as a and b are below 2^12.
func (p price) per(a int64, q price, b int64) int {
	if a|b < 1<<12 {
		return p.times(b).compare(q.times(a))
	}
	x, y := float64(a), float64(b)
	return cmp.Or(cmp.Compare(float64(p.stop)*y, float64(q.stop)*x), cmp.Compare(float64(p.shed)*y, float64(q.shed)*x),
		cmp.Compare(float64(p.victims)*y, float64(q.victims)*x))
}

func newSearch(rooms []Room, owed []Owed, candidates []Candidate) *search {
	s := &search{}
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
	s.addPieces()
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
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.market.flavor, b.market.flavor), cmp.Compare(a.free, b.free))
	})
}

func (s *search) addCandidates(candidates []Candidate) {
	s.candidates = make([]candidate, len(candidates))
	for i, c := range candidates {
		c.LostWork, c.ShedCost = sane(c.LostWork), sane(c.ShedCost)
		s.candidates[i] = candidate{Candidate: c, index: i}
	}
	slices.SortStableFunc(s.candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.LostWork, b.LostWork))
	})
}

// stopPrice is what stopping a loan costs in whole numbers. Those of several loans are
// each rounded, by up to a half; so that they never seem to cost less than a single one
// that loses as much, each stands for slack more.
func stopPrice(scaled float64, slack int64) int64 {
	if scaled <= 0 {
		return 0
	}
	return int64(math.Round(scaled)) + slack
}

// slack is 2, or 0 where nothing has to be rounded.
func (s *search) slack(stops float64) int64 {
	for i := range s.candidates {
		if scaled := s.candidates[i].LostWork * stops; scaled != math.Round(scaled) {
			return 2
		}
	}
	return 0
}

// sane reads a cost.
func sane(cost float64) float64 {
	if !(cost >= 0) {
		return 0
	}
	return min(cost, 1e18)
}

// addPieces splits the candidates into what can be taken of them.
func (s *search) addPieces() {
	at := map[[2]string]int{}
	for i := len(s.sites) - 1; i >= 0; i-- {
		at[[2]string{s.sites[i].node, s.sites[i].market.flavor}] = i
	}
	site := func(node, flavor string) (int, bool) {
		i, ok := at[[2]string{node, flavor}]
		return i, ok
	}
	stops, sheds := s.scales()
	slack := s.slack(stops)
	s.pieces = make([]piece, 0, len(s.candidates))
	grants := 0
	for i := range s.candidates {
		grants += len(s.candidates[i].Grants)
	}
	memory := make([]part, 0, grants)
	for i := range s.candidates {
		c := &s.candidates[i]
		stop, each := price{stopPrice(c.LostWork*stops, slack), 0, 1}, price{0, int64(math.Round(c.ShedCost * sheds)), 0}
		whole := s.addWhole(i, site, stop, memory[len(memory):])
		memory = memory[:len(memory)+len(whole)]
		c.readElastic(whole)
		switch {
		case c.spare > 0 && c.tails:
			s.addTails(i, site, each)
		case c.spare > 0:
			s.addPods(i, whole, each)
		}
	}
	s.takeStakes()
}

// addWhole makes a piece of all that a candidate has on the sites, in memory that has
// room for it, and returns its parts.
func (s *search) addWhole(owner int, site func(node, flavor string) (int, bool), stop price, memory []part) []part {
	c := &s.candidates[owner]
	c.whole = len(s.pieces)
	whole := piece{owner: owner, price: stop, parts: memory}
	for _, g := range c.Grants {
		if where, ok := site(g.Node, g.Flavor); ok && g.Count > 0 {
			whole.hold(where, clamp(g.Count))
		}
	}
	whole.parts = slices.Clip(whole.parts)
	whole.split()
	s.pieces = append(s.pieces, whole)
	return whole.parts
}

// takeStakes notes on the sites which pieces they have, and that none is taken.
func (s *search) takeStakes() {
	s.taken = make([]bool, len(s.pieces))
	s.barred = make([]bool, len(s.pieces))
	s.useful = make([]int, 0, len(s.pieces))
	for i, p := range s.pieces {
		for _, part := range p.parts {
			s.sites[part.site].on = append(s.sites[part.site].on, stake{i, part.count, part.share})
		}
		if p.units > 0 {
			s.useful = append(s.useful, i)
		}
	}
}

// digits is how many binary digits all costs together have: few enough that they can
// be multiplied by a number of units.
const digits = 48

// scales returns by what costs are multiplied to become whole numbers: powers of two,
// so that whole costs stay exact.
func (s *search) scales() (stops, sheds float64) {
	var stop, shed float64
	for i := range s.candidates {
		stop += s.candidates[i].LostWork
		shed += s.candidates[i].ShedCost * float64(clamp(s.candidates[i].Pods))
	}
	return scale(stop), scale(shed)
}

func scale(total float64) float64 {
	if total == 0 {
		return 1
	}
	_, exponent := math.Frexp(total)
	return math.Ldexp(1, digits-exponent)
}

func (p *piece) hold(site int, count int64) {
	p.units += count
	for i := range p.parts {
		if p.parts[i].site == site {
			p.parts[i].count += count
			return
		}
	}
	p.parts = append(p.parts, part{site: site, count: count})
}

// split shares the price among the parts, by their units.
func (p *piece) split() {
	if len(p.parts) > 1 {
		slices.SortFunc(p.parts, func(a, b part) int { return cmp.Compare(a.site, b.site) })
	}
	left := p.price
	for i := range p.parts {
		if i == len(p.parts)-1 {
			p.parts[i].share = left
			return
		}
		of := float64(p.parts[i].count) / float64(p.units)
		share := price{stop: min(int64(float64(p.price.stop)*of), left.stop), shed: min(int64(float64(p.price.shed)*of), left.shed)}
		p.parts[i].share = share
		left = left.minus(share)
	}
}

// readElastic finds out how many pods a candidate can give up.
func (c *candidate) readElastic(parts []part) {
	if c.MinPods <= 0 || c.MinPods >= c.Pods || c.UnitsPerPod <= 0 {
		return
	}
	for _, p := range parts {
		if p.count%c.UnitsPerPod != 0 {
			return
		}
	}
	c.spare = clamp(c.Pods) - min(clamp(c.MinPods), clamp(c.Pods))
	c.readOrder()
}

// addPods makes a piece of each pod, as far as the candidate can give them up.
func (s *search) addPods(owner int, parts []part, each price) {
	c := &s.candidates[owner]
	for _, on := range parts {
		for range min(on.count/c.UnitsPerPod, c.spare, mostShed) {
			c.pods = append(c.pods, len(s.pieces))
			s.pieces = append(s.pieces, piece{
				owner: owner, pod: true, pods: 1, price: each, units: c.UnitsPerPod,
				parts: []part{{site: on.site, count: c.UnitsPerPod, share: each}},
			})
		}
	}
}

// mostShed is how many pods of one loan on one node can be given up at most.
const mostShed = 1024

// open reports whether a piece can be taken.
func (s *search) open(i int) bool {
	p := &s.pieces[i]
	c := &s.candidates[p.owner]
	return !s.taken[i] && !s.barred[i] && !(p.pod && (s.taken[c.whole] || c.full(p)))
}

// bar keeps a piece from being taken, or no longer.
func (s *search) bar(i int, barred bool) {
	s.barred[i] = barred
	for _, p := range s.pieces[i].parts {
		s.sites[p.site].changes++
	}
}

// take takes a piece; the whole of a loan instead of its pods, and more of its pods
// instead of fewer.
func (s *search) take(i int) {
	if c := &s.candidates[s.pieces[i].owner]; c.shedding > 0 && (c.tails || !s.pieces[i].pod) {
		for _, pod := range c.pods {
			s.spare(pod)
		}
	}
	s.move(i, true)
}

func (s *search) spare(i int) { s.move(i, false) }

func (s *search) move(i int, take bool) {
	if s.taken[i] == take {
		return
	}
	s.taken[i] = take
	p := &s.pieces[i]
	sign := int64(1)
	if !take {
		sign = -1
	}
	s.price = s.price.plus(p.price.times(sign))
	if p.pod {
		c := &s.candidates[p.owner]
		before := min(c.shedding, 1)
		c.shedding += sign * p.pods
		s.price.victims += min(c.shedding, 1) - before
		// How many more pods it can give up has changed on all its nodes.
		for _, part := range s.pieces[c.whole].parts {
			s.sites[part.site].changes++
		}
	}
	for _, part := range p.parts {
		at := &s.sites[part.site]
		at.market.bins.shift(at.free, at.free+sign*part.count, 1)
		at.free += sign * part.count
		at.changes++
	}
}

// enough reports whether all owed pods fit with what is taken.
func (s *search) enough() bool {
	for _, m := range s.markets {
		if !m.bins.fits(m.owed) {
			return false
		}
	}
	return true
}

// possible reports whether stopping everybody is enough.
func (s *search) possible() bool {
	for _, i := range s.useful {
		if !s.pieces[i].pod {
			s.take(i)
		}
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

// set lists what is taken.
func (s *search) set() []int {
	set := []int{}
	for _, i := range s.useful {
		if s.taken[i] {
			set = append(set, i)
		}
	}
	return set
}

// restore takes a set of pieces, and nothing else.
func (s *search) restore(set []int) {
	for _, i := range s.useful {
		if !s.taken[i] {
			continue
		}
		if _, in := slices.BinarySearch(set, i); !in {
			s.spare(i)
		}
	}
	for _, i := range set {
		s.take(i)
	}
}

// keep remembers what is taken if it is the best so far, and reports whether it is.
func (s *search) keep() bool {
	c := s.price.compare(s.bestPrice)
	if s.best != nil && c > 0 {
		return false
	}
	set := s.set()
	// Candidates are sorted by name, so pieces compare like names.
	if s.best != nil && c == 0 && slices.Compare(set, s.best) >= 0 {
		return false
	}
	s.best, s.bestPrice = set, s.price
	return true
}
