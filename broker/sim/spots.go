package sim

import "math/bits"

// rooms finds spots by how much is free on them, without looking at all of them.
type rooms struct {
	homes int // services, and one for nobody's
	// groups are by flavor, then home from Nobody on, and in each, sets by free units.
	groups [][]spotSet
	free   []int64 // by flavor
	listed []int64 // by spot: as how free it is in a set
}

// spotSet is a set of spots as bits.
type spotSet struct {
	words []uint64
	n     int
}

func newRooms(w *World) rooms {
	homes := len(w.services) + 1
	r := rooms{
		homes: homes, groups: make([][]spotSet, homes*len(w.flavors)),
		free: make([]int64, len(w.flavors)), listed: make([]int64, len(w.spots)),
	}
	for i := range w.spots {
		r.list(int32(i), &w.spots[i], w.spots[i].Free())
	}
	return r
}

// move follows a change of a spot.
func (r *rooms) move(i int32, spot *Spot) {
	free := spot.Free()
	if free == r.listed[i] {
		return
	}
	r.groups[r.group(spot)][r.listed[i]].remove(i)
	r.free[spot.Flavor] -= r.listed[i]
	r.list(i, spot, free)
}

func (r *rooms) list(i int32, spot *Spot, free int64) {
	group := &r.groups[r.group(spot)]
	for int64(len(*group)) <= free {
		*group = append(*group, spotSet{})
	}
	(*group)[free].add(i, len(r.listed))
	r.listed[i] = free
	r.free[spot.Flavor] += free
}

func (r *rooms) group(spot *Spot) int { return int(spot.Flavor)*r.homes + int(spot.Home-Nobody) }

// home is the fullest spot among those of one home with so many units free, the first of
// several.
func (r *rooms) home(flavor, home int32, units int64) (spot int32, ok bool) {
	group := r.groups[int(flavor)*r.homes+int(home-Nobody)]
	for free := units; free < int64(len(group)); free++ {
		if group[free].n > 0 {
			return group[free].first(), true
		}
	}
	return 0, false
}

// any is the same among all spots.
func (r *rooms) any(flavor int32, units int64) (spot int32, ok bool) {
	groups := r.groups[int(flavor)*r.homes : int(flavor+1)*r.homes]
	most := 0
	for _, g := range groups {
		most = max(most, len(g))
	}
	for free := units; free < int64(most); free++ {
		for _, g := range groups {
			if free >= int64(len(g)) || g[free].n == 0 {
				continue
			}
			if first := g[free].first(); !ok || first < spot {
				spot, ok = first, true
			}
		}
		if ok {
			return spot, true
		}
	}
	return 0, false
}

func (s *spotSet) add(i int32, of int) {
	if s.words == nil {
		s.words = make([]uint64, (of+63)/64)
	}
	s.words[i/64] |= 1 << (i % 64)
	s.n++
}

func (s *spotSet) remove(i int32) {
	s.words[i/64] &^= 1 << (i % 64)
	s.n--
}

// first of a set that is not empty.
func (s *spotSet) first() int32 {
	for k, word := range s.words {
		if word != 0 {
			return int32(k*64 + bits.TrailingZeros64(word))
		}
	}
	return 0
}

func (s *spotSet) has(i int32) bool { return s.words != nil && s.words[i/64]>>(i%64)&1 == 1 }
