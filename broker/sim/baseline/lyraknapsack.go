package baseline

// option is one way to serve a group: what it weighs, and what that is worth.
type option struct {
	weight int64
	value  float64
}

// knapsack chooses at most one option of each group, of no more than the capacity
// together, such that no other choice is worth more. It returns their indexes, -1 where a
// group gets none. Options worth nothing are not chosen. Of choices that are worth the
// same it takes that in which earlier groups have theirs, as far as it can.
//
// This is the multiple-choice knapsack by dynamic programming over the groups and the
// capacity (Kellerer, Pferschy, Pisinger: Knapsack Problems, 2004, section 11.5). It takes
// options times capacity steps, the capacity counted in the weights' greatest common
// divisor, and hardly any where the best of each group fit together.
func knapsack(groups [][]option, capacity int64) []int {
	chosen, fits := bestOfEach(groups, capacity)
	if fits {
		return chosen
	}
	unit := divisor(groups)
	size := int(capacity/unit) + 1
	// worth[c] is what the groups so far are worth within c; beyond reach, where all of them
	// have their heaviest option, it is the same. picks tells by which option of each group,
	// from 1, that came about.
	worth, next, reach := make([]float64, size), make([]float64, size), 0
	picks := make([][]int32, len(groups))
	for g, options := range groups {
		top := min(size-1, reach+int(heaviest(options)/unit))
		picks[g] = make([]int32, top+1)
		for c := range next[:top+1] {
			next[c] = worth[min(c, reach)]
		}
		for i, o := range options {
			if !(o.value > 0) || o.weight > capacity {
				continue
			}
			weight := int(o.weight / unit)
			for c := weight; c <= top; c++ {
				if v := worth[min(c-weight, reach)] + o.value; v > next[c] {
					next[c], picks[g][c] = v, int32(i)+1
				}
			}
		}
		worth, next, reach = next, worth, top
	}
	at := size - 1
	for g := len(groups) - 1; g >= 0; g-- {
		at = min(at, len(picks[g])-1)
		if chosen[g] = int(picks[g][at]) - 1; chosen[g] >= 0 {
			at -= int(groups[g][chosen[g]].weight / unit)
		}
	}
	return chosen
}

func heaviest(options []option) (weight int64) {
	for _, o := range options {
		weight = max(weight, o.weight)
	}
	return weight
}

// bestOfEach is the option that is worth most of each group, and whether they fit together.
func bestOfEach(groups [][]option, capacity int64) (chosen []int, fit bool) {
	chosen = make([]int, len(groups))
	total := int64(0)
	for g, options := range groups {
		chosen[g] = -1
		best := option{}
		for i, o := range options {
			if o.value > best.value || chosen[g] >= 0 && o.value == best.value && o.weight < best.weight {
				chosen[g], best = i, o
			}
		}
		total += best.weight
	}
	return chosen, total <= capacity
}

// divisor is the greatest number that divides all weights; 1 if there is none.
func divisor(groups [][]option) int64 {
	d := int64(0)
	for _, options := range groups {
		for _, o := range options {
			for a := o.weight; a > 0; {
				d, a = a, d%a
			}
		}
	}
	return max(d, 1)
}
