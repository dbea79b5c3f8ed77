// Package pack says where a pod does the least harm to those that come later. It is
// pure: it knows of numbers only.
//
// Fragmentation is measured as in Weng et al., "Beware of Fragmentation: Scheduling
// GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC '23): what
// a node's free units are worth is how many of them each class of pods could not
// use there, weighted by how common the class is. A pod goes where it makes this
// grow least; among equal nodes, where the fewest units are left. So whole nodes
// stay whole as long as there are pods that need them.
package pack

import "math"

// Class is a size of pods, in units, and how many there are of it.
type Class struct{ Units, Count int64 }

// Mix is what sizes pods come in. Make it with NewMix.
type Mix struct {
	classes []Class
	total   int64
}

// mostCounted keeps the arithmetic far from overflow.
const mostCounted = 1 << 20

// NewMix reads the classes; those without units or pods are left out.
func NewMix[C ~struct{ Units, Count int64 }](classes []C) Mix {
	var m Mix
	for _, each := range classes {
		c := Class(each)
		if c.Units <= 0 || c.Count <= 0 {
			continue
		}
		c.Count = min(c.Count, mostCounted)
		m.classes = append(m.classes, c)
		m.total += c.Count
	}
	return m
}

// Fragmentation returns the free units of a node that the average pod cannot use,
// in thousandths of a unit. 0 if nothing is known of the mix.
func (m Mix) Fragmentation(free int64) int64 {
	free = clamp(free)
	var lost int64
	for _, c := range m.classes {
		if c.Units > free {
			lost += c.Count
		}
	}
	if m.total == 0 {
		return 0
	}
	return free * lost * 1000 / m.total
}

// Growth returns by how much the node's fragmentation grows when a pod takes so many
// of its free units; negative if it shrinks.
func (m Mix) Growth(free, units int64) int64 {
	return m.Fragmentation(free-units) - m.Fragmentation(free)
}

// mostFree is more than any node has.
const mostFree = 1 << 16

func clamp(free int64) int64 { return min(max(free, 0), mostFree) }

// Place is what is to be known of one node for one pod.
type Place struct {
	// Displaced is what it would cost the loans that count on the units the pod would
	// take; 0 if there are none.
	Displaced float64
	// Later is how many pools of nodes the pod's service prefers to this one; 0 without
	// pools.
	Later int64
	// Growth of the fragmentation, summed over the resources that the pod asks for.
	Growth int64
	// Left is how many units are free after it.
	Left int64
}

// Of the bits of a score, costs have the uppermost, and units left the lowest.
const (
	leftBits   = 19
	growthBits = 28
	laterBits  = 4
	costBits   = 63 - laterBits - growthBits - leftBits
)

// Displaces reports whether a score is of a place where a loan would lose something.
func Displaces(score int64) bool { return -score>>(laterBits+growthBits+leftBits) > 0 }

// Later returns the Later of a score's place, of which all above 15 are one.
func Later(score int64) int64 { return -score >> (growthBits + leftBits) & (1<<laterBits - 1) }

// Score orders places: higher is better, and the scale means nothing. What loans
// would lose comes first, then the pools, then the growth of fragmentation, then the
// units left.
func Score(p Place) int64 {
	cost := int64(0)
	if p.Displaced > 0 {
		// Costs span unit-seconds to unit-months: their order of magnitude is enough.
		cost = 1 + int64(math.Log2(1+min(p.Displaced, 1e18))*64)
	}
	const half = 1 << (growthBits - 1)
	growth := min(max(p.Growth, -half+1), half-1) + half
	left := min(max(p.Left, 0), 1<<leftBits-1)
	later := min(max(p.Later, 0), 1<<laterBits-1)
	return -(min(cost, 1<<costBits-1)<<(laterBits+growthBits+leftBits) | later<<(growthBits+leftBits) | growth<<leftBits | left)
}
