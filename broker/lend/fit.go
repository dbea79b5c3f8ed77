package lend

import (
	"slices"
	"sort"
)

// bin is a number of nodes that have equally many units to give.
type bin struct{ free, nodes int64 }

// bins is what the nodes have to give of one flavor, smallest first. Which node is
// which does not matter to whether pods fit, so a few bins stand for hundreds of
// nodes. Nodes with nothing to give are not in it.
type bins []bin

// shape is a number of pods that need the same number of units, each on one node.
type shape struct{ size, pods int64 }

// shift moves nodes from one bin to another.
func (b *bins) shift(from, to, nodes int64) {
	if nodes <= 0 || from == to {
		return
	}
	b.add(from, -nodes)
	b.add(to, nodes)
}

func (b *bins) add(free, nodes int64) {
	if free <= 0 {
		return
	}
	i := b.from(free)
	if i == len(*b) || (*b)[i].free != free {
		*b = slices.Insert(*b, i, bin{free, 0})
	}
	(*b)[i].nodes += nodes
	if (*b)[i].nodes == 0 {
		*b = slices.Delete(*b, i, i+1)
	}
}

// from is the index of the first bin with at least size units.
func (b bins) from(size int64) int {
	return sort.Search(len(b), func(i int) bool { return b[i].free >= size })
}

// slots is how many pods of one size fit if there are no others.
func (b bins) slots(size int64) int64 {
	var n int64
	for _, bin := range b[b.from(size):] {
		n += bin.free / size * bin.nodes
	}
	return n
}

// fits reports whether all pods can be placed together. The largest are placed
// first, each on the fullest node that can take it. Where every size divides the
// next larger one, as with 1, 2, 4 and 8, the answer is exact: a pod then costs the
// same number of smaller slots wherever it goes. For other sizes it is
// conservative: true is always right, false may be too careful.
//
// want is sorted by size, largest first.
func (b bins) fits(want []shape) bool {
	if len(want) == 1 {
		return b.slots(want[0].size) >= want[0].pods
	}
	var buf [32]bin
	left := append(bins(buf[:0]), b...)
	for _, w := range want {
		if !left.put(w) {
			return false
		}
	}
	return true
}

// put places the pods of one shape, or reports that they do not fit.
func (b *bins) put(w shape) bool {
	for w.pods > 0 {
		i := b.from(w.size)
		if i == len(*b) {
			return false
		}
		tightest := (*b)[i]
		each := tightest.free / w.size
		full := min(tightest.nodes, w.pods/each)
		if full == 0 { // fewer pods are left than one node takes
			b.shift(tightest.free, tightest.free-w.pods*w.size, 1)
			return true
		}
		b.shift(tightest.free, tightest.free-each*w.size, full)
		w.pods -= each * full
	}
	return true
}

// reach is how many of the pods can be placed beside what is placed already.
func (b bins) reach(placed []shape, w shape) int64 {
	most := min(w.pods, b.slots(w.size))
	if most <= 0 {
		return 0
	}
	if b.fits(with(placed, shape{w.size, most})) {
		return most
	}
	// The largest k that fits is below most; none at all always fits.
	return int64(sort.Search(int(most), func(k int) bool {
		return !b.fits(with(placed, shape{w.size, int64(k) + 1}))
	}))
}

// with adds a shape to a sorted list, and leaves the list as it is.
func with(list []shape, w shape) []shape {
	i := sort.Search(len(list), func(i int) bool { return list[i].size <= w.size })
	out := make([]shape, 0, len(list)+1)
	out = append(out, list[:i]...)
	if i < len(list) && list[i].size == w.size {
		out = append(out, shape{w.size, list[i].pods + w.pods})
		return append(out, list[i+1:]...)
	}
	out = append(out, w)
	return append(out, list[i:]...)
}

// without takes a shape that is in a sorted list out of it, and leaves the list as it
// is.
func without(list []shape, w shape) []shape {
	out := slices.Clone(list)
	i := slices.IndexFunc(out, func(s shape) bool { return s.size == w.size })
	if i < 0 {
		return out
	}
	if out[i].pods -= w.pods; out[i].pods <= 0 {
		out = slices.Delete(out, i, i+1)
	}
	return out
}
