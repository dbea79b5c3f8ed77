package baseline

import "github.com/ebbtide/ebbtide/broker/sim"

// ground is where jobs may go: what one service owns, by its index, or one of these.
type ground int32

const (
	// pool is what is nobody's: there a job is on its tenant's own quota.
	pool = ground(sim.Nobody)
	// loaned is what services own: there a job has their units.
	loaned ground = pool - 1
	// anywhere is both.
	anywhere ground = pool - 2
)

// has reports whether who owns a spot is of the ground.
func (g ground) has(owner int32) bool {
	return g == anywhere || g == ground(owner) || g == loaned && owner != sim.Nobody
}

// owners says whose each spot is: the service whose home its node is, if the service runs
// on that flavor, until it has what it owns. Where a scenario gives a service fewer units at
// home than it owns, the last nodes that are nobody's are counted as its own, as many as it
// takes; where it gives it more, the last of its homes are nobody's.
func owners(w *sim.World) []int32 {
	spots := w.Spots()
	owner := make([]int32, len(spots))
	lacks := make([]int64, len(w.Services()))
	for i, s := range w.Services() {
		lacks[i] = s.Lender.Owned
	}
	for i := range spots {
		owner[i] = sim.Nobody
		if h := spots[i].Home; h != sim.Nobody && w.Services()[h].FlavorID == spots[i].Flavor && lacks[h] > 0 {
			owner[i] = h
			lacks[h] -= spots[i].Capacity
		}
	}
	for k, s := range w.Services() {
		for i := len(spots) - 1; i >= 0 && lacks[k] > 0; i-- {
			if owner[i] == sim.Nobody && spots[i].Home == sim.Nobody && spots[i].Flavor == s.FlavorID {
				owner[i] = int32(k)
				lacks[k] -= spots[i].Capacity
			}
		}
	}
	return owner
}

// holes are the units that jobs may take now, by spot. They are laid out anew for every
// decision, and only shrink until the next.
type holes struct {
	owner  []int32
	free   []int64 // by spot
	fields []field // by flavor, and of each the pool's and then those of services
	wide   int32   // fields of one flavor
	left   int64   // units, of all flavors
}

// field has the spots of one flavor on one ground, by how much of them is free.
type field struct {
	levels [][]int32 // the last one is taken first; those whose hole is not the level are gone
	counts []int64   // how many are not gone
	total  int64
	top    int // no hole is larger
}

// reset lays the holes out. hole says how much of a spot jobs may take.
func (h *holes) reset(w *sim.World, owner []int32, hole func(spot int32) int64) {
	spots := w.Spots()
	h.owner = owner
	h.free = append(h.free[:0], make([]int64, len(spots))...)
	h.left = 0
	if h.wide = int32(len(w.Services()) + 1); len(h.fields) != int(h.wide)*len(w.Flavors()) {
		h.fields = make([]field, int(h.wide)*len(w.Flavors()))
	}
	for i := range h.fields {
		h.fields[i].clear()
	}
	for i := len(spots) - 1; i >= 0; i-- {
		n := min(hole(int32(i)), spots[i].Lendable())
		if n <= 0 {
			continue
		}
		h.free[i] = n
		h.left += n
		h.field(spots[i].Flavor, owner[i]).add(int32(i), n)
	}
}

func (h *holes) field(flavor, owner int32) *field { return &h.fields[flavor*h.wide+owner+1] }

// on are the fields of a flavor on some ground.
func (h *holes) on(flavor int32, where ground) []field {
	all := h.fields[flavor*h.wide : (flavor+1)*h.wide]
	switch where {
	case anywhere:
		return all
	case loaned:
		return all[1:]
	}
	return all[where+1 : where+2]
}

// total is how many units are free.
func (h *holes) total(flavor int32, where ground) (n int64) {
	for _, f := range h.on(flavor, where) {
		n += f.total
	}
	return n
}

// largest is the largest hole.
func (h *holes) largest(flavor int32, where ground) (n int64) {
	fields := h.on(flavor, where)
	for i := range fields {
		n = max(n, fields[i].largest())
	}
	return n
}

// slots is how many pods of a size fit, all together.
func (h *holes) slots(flavor int32, unitsPerPod int64, where ground) (n int64) {
	fields := h.on(flavor, where)
	for i := range fields {
		for size := fields[i].largest(); size >= unitsPerPod; size-- {
			n += fields[i].counts[size] * (size / unitsPerPod)
		}
	}
	return n
}

// within is slots, of which no more than so many in the pool.
func (h *holes) within(inPool int64, flavor int32, unitsPerPod int64, where ground) int64 {
	if where != anywhere {
		return h.slots(flavor, unitsPerPod, where)
	}
	return min(h.slots(flavor, unitsPerPod, pool), inPool) + h.slots(flavor, unitsPerPod, loaned)
}

// take finds places for equal pods and takes them, all or none. As many pods as possible
// are put together, and those on the fullest spot on which they fit: best fit, the largest
// part first. Where two spots are as full, the pool's is taken.
func (h *holes) take(flavor int32, pods, unitsPerPod int64, where ground) (places []sim.Place, ok bool) {
	return h.takeWithin(pods, flavor, pods, unitsPerPod, where)
}

// takeWithin is take, with no more pods in the pool than so many where they may be
// anywhere.
func (h *holes) takeWithin(inPool int64, flavor int32, pods, unitsPerPod int64, where ground) (places []sim.Place, ok bool) {
	if pods*unitsPerPod > h.total(flavor, where) || h.within(inPool, flavor, unitsPerPod, where) < pods {
		return nil, false
	}
	for pods > 0 {
		if where == anywhere && inPool <= 0 {
			where = loaned
		}
		n := min(pods, h.largest(flavor, where)/unitsPerPod)
		spot := h.fullest(flavor, n*unitsPerPod, where)
		if where == anywhere && h.owner[spot] == sim.Nobody {
			n = min(n, inPool)
			inPool -= n
		}
		h.shrink(flavor, spot, n*unitsPerPod)
		places = append(places, sim.Place{Spot: spot, Lender: h.owner[spot], Pods: n})
		pods -= n
	}
	return places, true
}

// fullest is a spot with the smallest hole that has so many units; there is one.
func (h *holes) fullest(flavor int32, units int64, where ground) int32 {
	fields := h.on(flavor, where)
	for size := int(units); ; size++ {
		for i := range fields {
			if spot, ok := fields[i].first(size, h.free); ok {
				return spot
			}
		}
	}
}

// shrink takes units of a spot's hole away.
func (h *holes) shrink(flavor, spot int32, units int64) {
	f := h.field(flavor, h.owner[spot])
	f.counts[h.free[spot]]--
	f.total -= h.free[spot]
	h.left -= units
	if h.free[spot] -= units; h.free[spot] > 0 {
		f.add(spot, h.free[spot])
	}
}

func (f *field) clear() {
	for i := range f.levels {
		f.levels[i], f.counts[i] = f.levels[i][:0], 0
	}
	f.total, f.top = 0, 0
}

func (f *field) add(spot int32, hole int64) {
	for int64(len(f.levels)) <= hole {
		f.levels, f.counts = append(f.levels, nil), append(f.counts, 0)
	}
	f.levels[hole] = append(f.levels[hole], spot)
	f.counts[hole]++
	f.total += hole
	f.top = max(f.top, int(hole))
}

func (f *field) largest() int64 {
	for f.top > 0 && f.counts[f.top] == 0 {
		f.top--
	}
	return int64(f.top)
}

// first is a spot whose hole has that size.
func (f *field) first(size int, free []int64) (int32, bool) {
	if size >= len(f.levels) || f.counts[size] == 0 {
		return 0, false
	}
	for list := f.levels[size]; ; list = f.levels[size] {
		spot := list[len(list)-1]
		if free[spot] == int64(size) {
			return spot, true
		}
		f.levels[size] = list[:len(list)-1]
	}
}
