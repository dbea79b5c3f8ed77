package baseline

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestKnapsack(t *testing.T) {
	for name, tt := range map[string]struct {
		groups   [][]option
		capacity int64
		want     []int
	}{
		"nothing to choose":        {nil, 5, []int{}},
		"no room":                  {[][]option{{{1, 1}}, {{2, 9}}}, 0, []int{-1, -1}},
		"all fit":                  {[][]option{{{1, 1}, {2, 3}}, {{2, 9}}}, 4, []int{1, 0}},
		"one option of a group":    {[][]option{{{1, 5}, {2, 7}, {3, 8}}}, 3, []int{2}},
		"the lighter of equals":    {[][]option{{{3, 5}, {1, 5}}}, 9, []int{1}},
		"spread over groups":       {[][]option{{{1, 5}, {2, 7}}, {{1, 4}, {2, 5}}}, 2, []int{0, 0}},
		"not by worth per weight":  {[][]option{{{1, 3}}, {{4, 8}}}, 4, []int{-1, 0}},
		"the earlier of equals":    {[][]option{{{2, 3}}, {{2, 3}}, {{2, 3}}}, 4, []int{0, 0, -1}},
		"worth nothing":            {[][]option{{{0, 0}}, {{1, -4}}, {{1, math.NaN()}}}, 9, []int{-1, -1, -1}},
		"weighs nothing":           {[][]option{{{0, 2}}, {{8, 1}}}, 4, []int{0, -1}},
		"weights of a common part": {[][]option{{{8, 3}, {16, 4}}, {{8, 2}}, {{24, 9}}}, 35, []int{0, -1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := knapsack(tt.groups, tt.capacity); !slices.Equal(got, tt.want) {
				t.Errorf("chose %v, want %v", got, tt.want)
			}
		})
	}
}

// tryAll is the most that any choice is worth.
func tryAll(groups [][]option, capacity int64) float64 {
	if len(groups) == 0 {
		return 0
	}
	best := tryAll(groups[1:], capacity)
	for _, o := range groups[0] {
		if o.weight <= capacity {
			best = max(best, o.value+tryAll(groups[1:], capacity-o.weight))
		}
	}
	return best
}

func TestKnapsackIsBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.SampledFrom([]int64{1, 1, 4, 8}).Draw(t, "scale")
		single := rapid.Custom(func(t *rapid.T) option {
			return option{scale * rapid.Int64Range(0, 6).Draw(t, "weight"), float64(rapid.IntRange(-2, 20).Draw(t, "value"))}
		})
		groups := rapid.SliceOfN(rapid.SliceOfN(single, 0, 4), 0, 5).Draw(t, "groups")
		capacity := rapid.Int64Range(0, 24*scale).Draw(t, "capacity")
		chosen := knapsack(groups, capacity)
		weight, value := int64(0), 0.0
		for g, i := range chosen {
			if i >= 0 {
				weight, value = weight+groups[g][i].weight, value+groups[g][i].value
			}
		}
		if best := tryAll(groups, capacity); weight > capacity || value != best {
			t.Fatalf("chose %v: worth %v, weighs %d of %d; the best is worth %v", chosen, value, weight, capacity, best)
		}
	})
}
