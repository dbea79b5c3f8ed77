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
func (b *bins) shift(from, to, nodes int64) { *b = b.shifted(from, to, nodes) }

func (b *bins) add(free, nodes int64) { *b = b.added(free, nodes) }

// shifted and added work in place as far as there is room, so that a list on the stack
// can stay there.
func (b bins) shifted(from, to, nodes int64) bins {
	if nodes <= 0 || from == to {
		return b
	}
	return b.added(from, -nodes).added(to, nodes)
}

func (b bins) added(free, nodes int64) bins {
	if free <= 0 {
		return b
	}
	i := b.from(free)
	if i == len(b) || b[i].free != free {
		b = append(b, bin{})
		copy(b[i+1:], b[i:])
		b[i] = bin{free: free}
	}
	if b[i].nodes += nodes; b[i].nodes == 0 {
		return append(b[:i], b[i+1:]...)
	}
	return b
}

// count adds up nodes by what they have to give; few have much.
type count struct {
	few  [65]int64
	much bins
}

func (c *count) add(free int64) {
	switch {
	case free <= 0:
	case free < int64(len(c.few)):
		c.few[free]++
	default:
		c.much.add(free, 1)
	}
}

func (c *count) bins() bins {
	var out bins
	for free, nodes := range c.few {
		if nodes > 0 {
			out = append(out, bin{int64(free), nodes})
		}
	}
	return append(out, c.much...)
}

// few bins are looked through more quickly one by one.
const few = 16

// from is the index of the first bin with at least size units.
func (b bins) from(size int64) int {
	if len(b) <= few {
		for i := range b {
			if b[i].free >= size {
				return i
			}
		}
		return len(b)
	}
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
		var fit bool
		if left, fit = left.put(w); !fit {
			return false
		}
	}
	return true
}

// put places the pods of one shape, and reports whether they fit.
func (b bins) put(w shape) (left bins, fit bool) {
	for w.pods > 0 {
		i := b.from(w.size)
		if i == len(b) {
			return b, false
		}
		tightest := b[i]
		each := tightest.free / w.size
		full := min(tightest.nodes, w.pods/each)
		if full == 0 { // fewer pods are left than one node takes
			return b.shifted(tightest.free, tightest.free-w.pods*w.size, 1), true
		}
		b = b.shifted(tightest.free, tightest.free-each*w.size, full)
		w.pods -= each * full
	}
	return b, true
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
func without(list []shape, w shape) []shape { return takenOut(slices.Clone(list), w) }

// takenOut takes a shape out of the list itself.
func takenOut(list []shape, w shape) []shape {
	i := slices.IndexFunc(list, func(s shape) bool { return s.size == w.size })
	if i < 0 {
		return list
	}
	if list[i].pods -= w.pods; list[i].pods <= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
