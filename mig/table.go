package mig

import (
	"math/bits"
	"slices"
)

// Table is what plans for one board need to be fast: which places exclude each other,
// and Phi of each set of slots. It is built once for a board and never changes; any
// number of callers may use it at once.
//
// Places are numbered by start, then profile, so that a set of instances is a set of
// bits, of which the lower ones are lower places.
type Table struct {
	geometry Geometry
	err      error // what is wrong with the geometry: nothing can be planned
	places   []place
	numbers  []int8   // by profile*maxSlots+start: the place, or -1
	of       []uint64 // by profile: its places
	phi      []int32  // by slots in use
	// strict: there are sets of places that are allowed in pairs, and not together.
	// No known board has such.
	strict bool
}

// place is one place of one profile.
type place struct {
	at    Placed
	slots uint16
	// clash has all places that cannot be there at the same time, and itself.
	clash uint64
}

// set is a set of places.
type set = uint64

// maxPairwise is how many sets NewTable looks at to see whether pairs say it all.
const maxPairwise = 1 << 18

// NewTable builds the table of a board. A geometry that Validate refuses gives a table
// for which every plan is that error.
func NewTable(g *Geometry) *Table {
	t := &Table{geometry: *g}
	if t.err = g.Validate(); t.err != nil {
		return t
	}
	top := ProfileID(0)
	for _, p := range g.Profiles {
		top = max(top, p.ID)
	}
	t.numbers = slices.Repeat([]int8{-1}, int(top+1)*maxSlots)
	t.of = make([]set, top+1)
	for i, at := range g.places() {
		p, _ := g.Profile(at.Profile)
		t.places = append(t.places, place{at: at, slots: (1<<p.Memory - 1) << at.Start})
		t.numbers[int(at.Profile)*maxSlots+at.Start] = int8(i)
		t.of[at.Profile] |= 1 << i
	}
	for i := range t.places {
		for k := range t.places {
			if i == k || g.Check([]Placed{t.places[i].at, t.places[k].at}) != nil {
				t.places[i].clash |= 1 << k
			}
		}
	}
	t.countPhi()
	t.strict = !t.pairwise()
	return t
}

// Geometry returns the board's.
func (t *Table) Geometry() Geometry { return t.geometry }

// countPhi computes, for all slots that may be in use, the sum of the sizes of all places
// that are still open. Profiles that may be at the same places, as 1g and 1g+me, count
// once: who has a place for one has it for the other, and no more.
func (t *Table) countPhi() {
	var shapes []Profile
	for _, p := range t.geometry.Profiles {
		if !slices.ContainsFunc(shapes, func(s Profile) bool { return s.Memory == p.Memory && slices.Equal(s.Starts, p.Starts) }) {
			shapes = append(shapes, p)
		}
	}
	t.phi = make([]int32, 1<<t.geometry.Slots)
	for used := range t.phi {
		for _, s := range shapes {
			for _, start := range s.Starts {
				if used>>start&(1<<s.Memory-1) == 0 {
					t.phi[used] += int32(s.Memory)
				}
			}
		}
	}
}

// pairwise reports whether each set of places of which each two are allowed is allowed.
func (t *Table) pairwise() bool {
	left := maxPairwise
	at := make([]Placed, 0, maxSlots)
	var fits func(open set) bool
	fits = func(open set) bool {
		if left--; left < 0 || t.geometry.Check(at) != nil {
			return false
		}
		for open != 0 {
			i := bits.TrailingZeros64(open)
			open &^= 1 << i
			at = append(at, t.places[i].at)
			if !fits(open &^ t.places[i].clash) {
				return false
			}
			at = at[:len(at)-1]
		}
		return true
	}
	return fits(t.all())
}

func (t *Table) all() set { return 1<<len(t.places) - 1 }

// number returns the place's, or -1 if there is none such.
func (t *Table) number(at Placed) int {
	if at.Profile < 0 || int(at.Profile) >= len(t.of) || at.Start < 0 || at.Start >= maxSlots {
		return -1
	}
	return int(t.numbers[int(at.Profile)*maxSlots+at.Start])
}

// placesOf returns the places of a profile, none if the board does not have it.
func (t *Table) placesOf(profile ProfileID) set {
	if profile < 0 || int(profile) >= len(t.of) {
		return 0
	}
	return t.of[profile]
}

// slots returns the slots that a set of places takes.
func (t *Table) slots(s set) uint16 {
	var used uint16
	for ; s != 0; s &= s - 1 {
		used |= t.places[bits.TrailingZeros64(s)].slots
	}
	return used
}

// clashes returns the places that cannot be there beside a set.
func (t *Table) clashes(s set) set {
	var out set
	for ; s != 0; s &= s - 1 {
		out |= t.places[bits.TrailingZeros64(s)].clash
	}
	return out
}

// placed lists a set, by start and profile.
func (t *Table) placed(s set) []Placed {
	if s == 0 {
		return nil
	}
	all := make([]Placed, 0, bits.OnesCount64(s))
	for ; s != 0; s &= s - 1 {
		all = append(all, t.places[bits.TrailingZeros64(s)].at)
	}
	return all
}

// state is a GPU's layout by what may be done with it.
type state struct {
	// fixed may not be touched. idle and remnants may be destroyed, and idle ones used.
	fixed, idle, remnant set
	lent                 set // those of fixed that are lent
}

func (s state) free() set { return s.idle | s.remnant }

// read sorts a GPU's instances. A layout that the board does not allow is an error: what
// the driver says of it was misread, or the board is another.
func (t *Table) read(gpu *GPU) (state, error) {
	var s state
	if t.err != nil {
		return s, t.err
	}
	var seen set
	for k := range gpu.Instances {
		i := t.number(gpu.Instances[k].Placed)
		if i < 0 || seen&t.places[i].clash != 0 || t.strict {
			if err := t.check(gpu); err != nil {
				return s, err
			}
		}
		bit := set(1) << i
		seen |= bit
		switch use := gpu.Instances[k].Use; {
		case use == Remnant:
			s.remnant |= bit
		case use.Free():
			s.idle |= bit
		case use == Lent:
			s.lent |= bit
			s.fixed |= bit
		default:
			s.fixed |= bit
		}
	}
	return s, nil
}

// Phi is the worth of what can still be placed when the slots are in use: the sum of the
// sizes, in slots, of all places that are open then, of every profile. After slots that
// the board does not have, nothing is open.
func (t *Table) Phi(slots uint16) int {
	if int(slots) >= len(t.phi) {
		return 0
	}
	return int(t.phi[slots])
}

// Loss is by how much Phi falls if an instance at the place is used from now on, beside
// those that may not be destroyed; idle instances are open to others. ok is false if it
// cannot be there beside them.
func (t *Table) Loss(gpu GPU, at Placed) (loss int, ok bool) {
	s, err := t.read(&gpu)
	if err != nil {
		return 0, false
	}
	i := t.number(at)
	if i < 0 || !t.allowed(s.fixed|1<<i) || t.clashes(s.fixed)>>i&1 == 1 {
		return 0, false
	}
	return t.loss(t.slots(s.fixed), i), true
}

func (t *Table) loss(used uint16, i int) int {
	return int(t.phi[used] - t.phi[used|t.places[i].slots])
}

// allowed reports whether the board allows a set of which each two are allowed.
func (t *Table) allowed(s set) bool { return !t.strict || t.geometry.Check(t.placed(s)) == nil }

// Best is where an instance of the profile loses least, by Loss, among all places where
// it could be beside what may not be destroyed; the lowest of several. ok is false if
// there is none.
func (t *Table) Best(gpu GPU, profile ProfileID) (start int, ok bool) {
	s, err := t.read(&gpu)
	if err != nil {
		return 0, false
	}
	used := t.slots(s.fixed)
	least := 0
	for open := t.placesOf(profile) &^ t.clashes(s.fixed); open != 0; open &= open - 1 {
		i := bits.TrailingZeros64(open)
		if !t.allowed(s.fixed | 1<<i) {
			continue
		}
		if loss := t.loss(used, i); !ok || loss < least {
			start, least, ok = t.places[i].at.Start, loss, true
		}
	}
	return start, ok
}

// Order returns all starts of a profile in which to offer them to who takes the first that
// is open: first those that Best gives one after the other on an empty GPU, then the rest
// as the board lists them.
func (t *Table) Order(profile ProfileID) []int {
	var order []int
	var gpu GPU
	for {
		start, ok := t.Best(gpu, profile)
		if !ok {
			break
		}
		order = append(order, start)
		gpu.Instances = append(gpu.Instances, Instance{Placed: Placed{Profile: profile, Start: start}, Use: Busy})
	}
	p, _ := t.geometry.Profile(profile)
	for _, start := range p.Starts {
		if !slices.Contains(order, start) {
			order = append(order, start)
		}
	}
	return order
}
