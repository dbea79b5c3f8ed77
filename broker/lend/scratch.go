package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// scratchpad is memory that one decision leaves to the next. What is in it means nothing
// any more: nothing of a plan or a state is in it, and of a snapshot nothing stays.
type scratchpad struct {
	pools    map[string]*pool
	lenders  []lender
	loans    []loan
	list     []*loan
	bookings []booking
	// taken are what holdings are made of, and holders the loans behind them.
	taken   []quota.Held
	holders []*loan
	// verdicts are those on lenders and loans.
	verdicts []Verdict
	// held are texts by numbers of units, which are kept.
	held [513]string
}

// pool is an empty one of the flavor.
func (s *scratchpad) pool(flavor string, nodes *atlas) *pool {
	p := s.pools[flavor]
	if p == nil {
		p = &pool{}
	}
	*p = pool{flavor: flavor, nodes: nodes, rooms: p.rooms[:0], at: zeroed(p.at, len(nodes.names))}
	return p
}

// lend is room for so many lenders.
func (s *scratchpad) lend(lenders int) []lender {
	s.lenders = slices.Grow(s.lenders[:0], lenders)[:lenders]
	return s.lenders
}

// loan is an empty one. No more are asked for than there is room for.
func (s *scratchpad) loan() *loan {
	s.loans = s.loans[:len(s.loans)+1]
	return &s.loans[len(s.loans)-1]
}

// room makes room for so many loans.
func (s *scratchpad) room(loans int) {
	if cap(s.loans) < loans {
		s.loans, s.list = make([]loan, 0, loans+loans/8), make([]*loan, 0, loans+loans/8)
	}
	s.loans, s.bookings = s.loans[:0], s.bookings[:0]
}

// keep notes that bookings were added to those that there are, unless they are elsewhere for
// want of room.
func (s *scratchpad) keep(added []booking) {
	n := len(s.bookings) + len(added)
	if n > cap(s.bookings) {
		s.bookings = make([]booking, 0, 2*n)
		return
	}
	s.bookings = s.bookings[:n]
}

// hold notes that the holdings were added to those that there are, unless they are elsewhere
// for want of room.
func (s *scratchpad) hold(h *holdings) {
	n := len(s.taken) + len(h.held)
	if n > cap(s.taken) || n > cap(s.holders) {
		s.taken, s.holders = make([]quota.Held, 0, 2*n), make([]*loan, 0, 2*n)
		return
	}
	s.taken, s.holders = s.taken[:n], s.holders[:n]
}

// holds is what loans of so many units are told; most have few.
func (s *scratchpad) holds(units int64) string {
	if units < 0 || units >= int64(len(s.held)) {
		return "holds " + plural(units, "unit")
	}
	if s.held[units] == "" {
		s.held[units] = "holds " + plural(units, "unit")
	}
	return s.held[units]
}

// end forgets what the decision was about.
func (s *scratchpad) end(d *decision) {
	s.pools = d.pools
	for _, p := range s.pools {
		clear(p.rooms)
		*p = pool{rooms: p.rooms, at: p.at}
	}
	clear(s.lenders)
	clear(s.loans)
	clear(s.list[:cap(s.list)])
	clear(s.taken)
	clear(s.holders)
	s.taken, s.holders = s.taken[:0], s.holders[:0]
	if !d.brief {
		s.verdicts = d.verdicts[:0]
		clear(s.verdicts[:cap(s.verdicts)])
	}
}
