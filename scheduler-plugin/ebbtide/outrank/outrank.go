// Package outrank chooses who makes way within one tenant's nominal quota. It is
// pure: whether a choice is enough is for the caller to say.
package outrank

import (
	"cmp"
	"slices"
	"time"
)

// Junior is what can be ended, whole: a pod, a gang of pods, or a job on its
// tenant's own quota.
type Junior struct {
	// Name breaks ties, so that equal input gives an equal choice.
	Name string
	// Violates: ending it would break a PodDisruptionBudget.
	Violates bool
	// Priority of the highest of its pods.
	Priority int32
	// Since is when it was made.
	Since time.Time
}

// before orders juniors by who makes way first: those whose end breaks no budget,
// then the lowest priority, then the newest.
func before(a, b Junior) int {
	return cmp.Or(compare(a.Violates, b.Violates), cmp.Compare(a.Priority, b.Priority),
		b.Since.Compare(a.Since), cmp.Compare(a.Name, b.Name))
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Choose returns the indexes of juniors, ascending, that are enough together; ok is
// false if not even all of them are. They are taken in order until it is enough; then
// each but the last is spared again, in reverse order, if the rest still is. So none
// of them could be spared, provided that more juniors are never less than enough.
// Nobody is chosen if it is enough with none.
func Choose(juniors []Junior, enough func(ended []int) bool) (ended []int, ok bool) {
	order := make([]int, len(juniors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(before(juniors[i], juniors[j]), cmp.Compare(i, j)) })
	for n := 0; ; n++ {
		if enough(order[:n]) {
			ended = slices.Clone(order[:n])
			break
		}
		if n == len(order) {
			return nil, false
		}
	}
	for i := len(ended) - 2; i >= 0; i-- {
		without := slices.Delete(slices.Clone(ended), i, i+1)
		if enough(without) {
			ended = without
		}
	}
	slices.Sort(ended)
	return ended, true
}

// Worse compares two choices that are each enough: it reports whether a hurts more
// than b. The first thing that matters is how many break a budget, then the highest
// priority among them, then how many they are, then the names.
func Worse(a, b []Junior) bool {
	names := func(of []Junior) []string {
		out := make([]string, len(of))
		for i, j := range of {
			out[i] = j.Name
		}
		slices.Sort(out)
		return out
	}
	return cmp.Or(cmp.Compare(violations(a), violations(b)), cmp.Compare(highest(a), highest(b)),
		cmp.Compare(len(a), len(b)), slices.Compare(names(a), names(b))) > 0
}

func violations(of []Junior) int {
	n := 0
	for _, j := range of {
		if j.Violates {
			n++
		}
	}
	return n
}

func highest(of []Junior) int64 {
	top := int64(-1 << 40) // below any priority: nobody is hurt
	for _, j := range of {
		top = max(top, int64(j.Priority))
	}
	return top
}
