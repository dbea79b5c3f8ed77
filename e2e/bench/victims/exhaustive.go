package victims

import "math"

// cheapest tries every set of loans, and returns what the cheapest costs of those that
// make room for everything that is owed; ok is false if there is none.
func (in instance) cheapest() (cost float64, ok bool) {
	cost = math.Inf(1)
	free := make([]int64, len(in.rooms))
	at := map[string]int{}
	for i, r := range in.rooms {
		at[r.Node] = i
	}
	for set := range 1 << len(in.candidates) {
		sum := 0.0
		for i, c := range in.candidates {
			if set>>i&1 == 1 {
				sum += c.LostWork
			}
		}
		if sum >= cost {
			continue
		}
		for i, r := range in.rooms {
			free[i] = r.Free
		}
		for i, c := range in.candidates {
			if set>>i&1 == 0 {
				continue
			}
			for _, g := range c.Grants {
				free[at[g.Node]] += g.Count
			}
		}
		if in.roomFor(free) {
			cost, ok = sum, true
		}
	}
	return cost, ok
}

// roomFor reports whether all that is owed fits. Sizes are powers of two, so that it does
// not matter where a pod goes as long as the larger ones went first.
func (in instance) roomFor(free []int64) bool {
	for size := int64(perNode); size > 0; size /= 2 {
		for _, o := range in.owed {
			if o.UnitsPerPod != size {
				continue
			}
			left := o.Pods
			for i := range free {
				n := min(max(free[i], 0)/size, left)
				free[i] -= n * size
				left -= n
			}
			if left > 0 {
				return false
			}
		}
	}
	return true
}
