// Package decisions audits what the broker decided, from the records it keeps of
// its decisions: that none is missing, that every one replays to the identical plan
// from the state that the one before left, that no victim of a reclaim could have
// been spared, that what it says is owed is borne out by the facts, and that
// nothing is lent against laws 1, 2, 4 and 6.
//
// Only the replay runs the decision core. All else shares no code with it but the
// types of the record: it reads load, counts rooms and fits pods by itself, from
// the recorded snapshot. It trusts the snapshot; whether that is what the cluster
// was like is for package audit to see.
package decisions

import (
	"cmp"
	"slices"
)

// Shape is a number of pods that each need Units on one node.
type Shape struct{ Units, Pods int64 }

// Fits reports whether all pods can be placed together on nodes with that many
// free units. A true answer is always right. A false one is exact where each size
// divides the next larger one, as with 1, 2, 4 and 8 GPUs; for other sizes it may
// be too careful.
func Fits(free []int64, want []Shape) bool {
	rooms := slices.Clone(free)
	slices.Sort(rooms)
	order := slices.Clone(want)
	slices.SortFunc(order, func(a, b Shape) int { return cmp.Compare(b.Units, a.Units) })
	for _, w := range order {
		if w.Units <= 0 {
			continue
		}
		left := w.Pods
		for i := range rooms { // the tightest room first keeps the roomy ones whole
			n := min(left, max(0, rooms[i])/w.Units)
			rooms[i] -= n * w.Units
			if left -= n; left == 0 {
				break
			}
		}
		if left > 0 {
			return false
		}
		slices.Sort(rooms)
	}
	return true
}
