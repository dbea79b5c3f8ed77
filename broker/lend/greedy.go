package lend

import (
	"cmp"
	"slices"
)

// heuristics tries several ways to choose, improves each by a reprieve and the best of
// them by exchange. None is best always: clearing a node suits large pods, cost per
// unit suits small ones, and few jobs or new jobs suit dear restarts. The rules of
// others are among them, so that no answer is worse than theirs.
func (s *search) heuristics() {
	for _, by := range s.orders() {
		if s.takeInOrder(by, 8*s.owedUnits()+64) {
			s.settle()
		}
		s.reset()
	}
	if s.fill() {
		s.settle()
	}
	s.reset()
	for _, r := range []rate{perSlot, perGain} {
		if s.clearNodes(r) {
			s.settle()
		}
		s.reset()
	}
	for _, rule := range VictimRules() {
		if s.follow(rule) {
			s.settle()
		}
		s.reset()
	}
	s.exchange()
	s.reset()
}

// ranked is a piece and its place in an order: first goes before second, and then the
// piece that comes first.
type ranked struct {
	first, second float64
	piece         int
}

func (r ranked) before(q ranked) bool {
	if r.first != q.first {
		return r.first < q.first
	}
	if r.second != q.second {
		return r.second < q.second
	}
	return r.piece < q.piece
}

// order ranks pieces. Pods that can be given up come before loans that must be stopped,
// whatever it says.
type order func(p *piece) (first, second float64)

func (s *search) orders() []order {
	lacks := s.owedUnits()
	return []order{
		func(p *piece) (first, second float64) { return p.price.over(p.units), 0 },
		func(p *piece) (first, second float64) { return p.price.over(min(p.units, lacks)), 0 },
		func(p *piece) (first, second float64) { return p.price.over(1), 0 },
		func(p *piece) (first, second float64) { return -float64(p.units), p.price.over(1) },
		func(p *piece) (first, second float64) {
			c := &s.candidates[p.owner]
			return float64(c.Priority), -float64(c.Since.Unix())
		},
	}
}

// over is the price of one of n units, of a piece that is either stopped or given up.
func (p price) over(n int64) float64 { return float64(p.stop+p.shed) / float64(max(n, 1)) }

// owedUnits is how many units all owed pods need.
func (s *search) owedUnits() (n int64) {
	for _, m := range s.markets {
		for _, o := range m.owed {
			n = min(n+o.size*min(o.pods, 1<<20), 1<<40)
		}
	}
	return n
}

// fill takes the pieces of the least price for a unit, the largest of equal ones first, as
// long as they free no more than is lacking, and clears nodes for what is left. Where all
// units cost the same, as of jobs that save at the same time, that is few victims.
func (s *search) fill() bool {
	lacks := s.owedUnits()
	for i := range s.sites {
		lacks -= max(s.sites[i].free, 0)
	}
	line := slices.Clone(s.useful)
	slices.SortStableFunc(line, func(a, b int) int {
		p, q := &s.pieces[a], &s.pieces[b]
		return cmp.Or(cmp.Compare(p.price.over(p.units), q.price.over(q.units)), cmp.Compare(q.units, p.units))
	})
	for _, i := range line {
		if n := s.adds(i); n <= lacks && s.open(i) {
			s.take(i)
			lacks -= n
		}
	}
	return s.enough() || s.clearNodes(perGain)
}

// takeInOrder takes piece by piece until that is enough, and reports whether it is. It
// gives up when it has taken so many units that others will have done better.
func (s *search) takeInOrder(by order, most int64) bool {
	if s.line == nil {
		s.line = make([]ranked, 2*len(s.useful))
	}
	pods, loans := s.line[:0:len(s.useful)], s.line[len(s.useful):len(s.useful)]
	for _, i := range s.useful {
		p := &s.pieces[i]
		first, second := by(p)
		if p.pod {
			pods = append(pods, ranked{first, second, i})
		} else {
			loans = append(loans, ranked{first, second, i})
		}
	}
	for _, line := range [][]ranked{pods, loans} {
		heapify(line)
		for len(line) > 0 && most > 0 {
			if s.enough() {
				return true
			}
			i := line[0].piece
			line = pop(line)
			if s.open(i) {
				most -= s.adds(i)
				s.take(i)
			}
		}
	}
	return s.enough()
}

// heapify puts the first of a line at its head; mostly only the first few of thousands
// are wanted.
func heapify(line []ranked) {
	for i := len(line)/2 - 1; i >= 0; i-- {
		sink(line, i)
	}
}

// pop removes the head of a line.
func pop(line []ranked) []ranked {
	last := len(line) - 1
	line[0] = line[last]
	sink(line[:last], 0)
	return line[:last]
}

func sink(line []ranked, i int) {
	for {
		next := 2*i + 1
		if next >= len(line) {
			return
		}
		if next+1 < len(line) && line[next+1].before(line[next]) {
			next++
		}
		if !line[next].before(line[i]) {
			return
		}
		line[i], line[next] = line[next], line[i]
		i = next
	}
}

// settle spares what can be spared, keeps the result and starts afresh.
func (s *search) settle() {
	s.reprieve()
	s.keep()
	s.reset()
}

// reprieve spares what is taken, the most expensive first, as long as the rest is
// still enough. It repeats until nothing can be spared: for sizes that do not divide
// each other one pass need not find all.
func (s *search) reprieve() {
	victims := s.set()
	slices.SortStableFunc(victims, func(a, b int) int { return s.pieces[b].price.compare(s.pieces[a].price) })
	for again := true; again; {
		again = false
		for n, i := range victims {
			if !s.taken[i] {
				continue
			}
			s.spare(i)
			if s.enough() {
				again = true
				continue
			}
			if fewer := s.shorten(i); fewer >= 0 {
				victims[n], again = fewer, true
				continue
			}
			s.take(i)
		}
	}
}

// way is what to take for one more slot at a site.
type way struct {
	size   int64
	pieces []int // nil: there is none
	price  price
	gain   int64 // slots on all sites
	// It holds as long as nothing has changed at the site.
	changes int
}

// rate says what a way is judged by.
type rate int

const (
	perSlot rate = iota // its price
	perGain             // its price for each slot that it gives anywhere and that is lacking
)

// clearNodes frees one slot after the other for the largest shape that lacks one,
// each where that is cheapest; what a gang holds elsewhere comes free with it. It
// reports whether that was enough.
func (s *search) clearNodes(by rate) bool {
	for !s.enough() {
		m, size, lacks := s.lacking()
		var best *way
		for i := range s.sites {
			at := &s.sites[i]
			if at.market != m {
				continue
			}
			if at.way.size != size || at.way.changes != at.changes {
				s.clear(at, size)
				s.steps--
			}
			if at.way.pieces != nil && (best == nil || by.compare(&at.way, best, lacks) < 0) {
				best = &at.way
			}
		}
		if best == nil {
			return false
		}
		for _, i := range slices.Clone(best.pieces) {
			s.take(i)
		}
	}
	return true
}

func (r rate) compare(a, b *way, lacks int64) int {
	if r == perSlot {
		return a.price.compare(b.price)
	}
	return a.price.per(min(a.gain, lacks), b.price, min(b.gain, lacks))
}

// lacking is the first flavor and the largest size of it that cannot all be placed,
// and how many slots of it are missing: 1 where the slots suffice but sizes that do
// not divide each other cannot use them.
func (s *search) lacking() (m *market, size, slots int64) {
	for _, m := range s.markets {
		for i, o := range m.owed {
			if !m.bins.fits(m.owed[:i+1]) {
				return m, o.size, max(m.slotsFor(i)-m.bins.slots(o.size), 1)
			}
		}
	}
	return nil, 0, 0
}

// slotsFor is how many slots of the i-th size the pods of that size and the larger
// ones need at least.
func (m *market) slotsFor(i int) int64 {
	var n int64
	for _, o := range m.owed[:i+1] {
		n += o.size / m.owed[i].size * o.pods
	}
	return n
}

// clear finds out what to take for one more slot of the size at a site: the cheapest per
// unit first, without what turns out not to be needed.
func (s *search) clear(at *site, size int64) {
	at.way = way{size: size, changes: at.changes}
	lacks := size - max(at.free, 0)%size - min(at.free, 0)
	on := s.openAt(at)
	// Units beyond what is lacking are of no use.
	slices.SortStableFunc(on, func(a, b stake) int {
		return s.pieces[a.piece].price.per(min(a.count, lacks), s.pieces[b.piece].price, min(b.count, lacks))
	})
	chosen := on[:0]
	for _, k := range on {
		if lacks <= 0 {
			break
		}
		p := &s.pieces[k.piece]
		tail := p.pod && s.candidates[p.owner].tails
		if tail && slices.ContainsFunc(chosen, func(c stake) bool { return s.pieces[c.piece].owner == p.owner && c.count >= k.count }) {
			continue
		}
		if tail || !p.pod {
			// Its pods come free with it, and are not given up besides.
			chosen = slices.DeleteFunc(chosen, func(pod stake) bool {
				mine := s.pieces[pod.piece].owner == p.owner
				if mine {
					lacks += pod.count
				}
				return mine
			})
		} else if s.podsAmong(chosen, p.owner) >= s.candidates[p.owner].spare-s.candidates[p.owner].shedding {
			continue
		}
		chosen = append(chosen, k)
		lacks -= k.count
	}
	if lacks > 0 {
		return
	}
	w := &at.way
	slices.SortStableFunc(chosen, func(a, b stake) int { return s.pieces[b.piece].price.compare(s.pieces[a.piece].price) })
	for _, k := range chosen {
		if lacks+k.count <= 0 {
			lacks += k.count
			continue
		}
		w.pieces = append(w.pieces, k.piece)
		w.price = w.price.plus(s.pieces[k.piece].price)
	}
	w.gain = s.gain(w.pieces, at.market, size)
}

// openAt lists what can be taken at a site, with what it would free there. The list holds
// until the next one is made.
func (s *search) openAt(at *site) []stake {
	on := s.near[:0]
	for _, k := range at.on {
		if !s.open(k.piece) {
			continue
		}
		if c := &s.candidates[s.pieces[k.piece].owner]; c.shedding > 0 && (c.tails || k.piece == c.whole) {
			k.count -= s.shedAt(c, at)
		}
		if k.count > 0 {
			on = append(on, k)
		}
	}
	s.near = on
	return on
}

// shedAt is how many units the candidate gives up at a site so far.
func (s *search) shedAt(c *candidate, at *site) (n int64) {
	for _, pod := range c.pods {
		if !s.taken[pod] {
			continue
		}
		for _, p := range s.pieces[pod].parts {
			if &s.sites[p.site] == at {
				n += p.count
			}
		}
	}
	return n
}

// podsAmong is how many of the pieces are pods of the owner.
func (s *search) podsAmong(chosen []stake, owner int) (n int64) {
	for _, k := range chosen {
		if p := &s.pieces[k.piece]; p.pod && p.owner == owner {
			n++
		}
	}
	return n
}

// gain is how many slots of the size taking the pieces gives, on all nodes.
func (s *search) gain(pieces []int, m *market, size int64) int64 {
	var n int64
	for _, sign := range []int64{1, -1} {
		for _, i := range pieces {
			for _, p := range s.pieces[i].parts {
				if at := &s.sites[p.site]; at.market == m {
					before := max(at.free, 0) / size
					at.free += sign * p.count
					if sign > 0 {
						n += max(at.free, 0)/size - before
					}
				}
			}
		}
	}
	return n
}
