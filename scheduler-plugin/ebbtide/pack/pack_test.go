package pack

import (
	"cmp"
	"math"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFragmentation(t *testing.T) {
	ones := []Class{{1, 10}}
	half := []Class{{1, 5}, {8, 5}}
	for name, tc := range map[string]struct {
		mix  []Class
		free int64
		want int64
	}{
		"nothing known":                     {free: 5, want: 0},
		"one-unit pods use everything":      {mix: ones, free: 5, want: 0},
		"half the pods need a whole node":   {mix: half, free: 5, want: 2500},
		"a whole node serves all":           {mix: half, free: 8, want: 0},
		"a full node has nothing to lose":   {mix: half, free: 0, want: 0},
		"a node that lost units":            {mix: half, free: -2, want: 0},
		"classes without pods do not count": {mix: []Class{{1, 1}, {8, 0}, {0, 7}, {4, -1}}, free: 5, want: 0},
		"three sizes":                       {mix: []Class{{1, 6}, {4, 3}, {8, 1}}, free: 3, want: 1200},
	} {
		t.Run(name, func(t *testing.T) {
			if got := NewMix(tc.mix).Fragmentation(tc.free); got != tc.want {
				t.Errorf("fragmentation = %d, want %d", got, tc.want)
			}
		})
	}
}

// TestScoreOrdersPools: what loans would lose comes before pools, and these before all
// that packing says.
func TestScoreOrdersPools(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		place := func(label string) Place {
			return Place{
				Later: rapid.Int64Range(0, 15).Draw(t, label+" later"), Growth: rapid.Int64().Draw(t, label+" growth"),
				Left: rapid.Int64().Draw(t, label+" left"), Displaced: rapid.SampledFrom([]float64{0, 1, 60, 1e6, 1e18, math.Inf(1)}).Draw(t, label+" displaced"),
			}
		}
		a, b := place("a"), place("b")
		if got := Later(Score(a)); got != a.Later {
			t.Errorf("Later of %+v is %d", a, got)
		}
		if got := Displaces(Score(a)); got != (a.Displaced > 0) {
			t.Errorf("Displaces of %+v is %v", a, got)
		}
		want := cmp.Or(cmp.Compare(min(b.Displaced, 1e18), min(a.Displaced, 1e18)), cmp.Compare(b.Later, a.Later))
		if got := cmp.Compare(Score(a), Score(b)); want != 0 && got != want {
			t.Errorf("%+v against %+v is %d, want %d", a, b, got, want)
		}
	})
	if got := Later(Score(Place{Later: 99})); got != 15 {
		t.Errorf("the 99th pool is the %dth", got)
	}
}

func TestScoreOrdersNodes(t *testing.T) {
	type node struct {
		name      string
		free      int64
		displaced float64
	}
	for name, tc := range map[string]struct {
		mix   []Class
		units int64
		nodes []node
		want  []string // best first
	}{
		"whole nodes stay whole": {
			mix: []Class{{1, 5}, {8, 5}}, units: 1,
			nodes: []node{{name: "whole", free: 8}, {name: "broken", free: 7}, {name: "nearly full", free: 1}},
			want:  []string{"nearly full", "broken", "whole"},
		},
		"four units are kept for pods of four": {
			// On 4 free, a pod of 1 would leave 3 that no pod of 4 can use; 7 has room for
			// both.
			mix: []Class{{1, 5}, {4, 5}}, units: 1,
			nodes: []node{{name: "four", free: 4}, {name: "five", free: 5}, {name: "seven", free: 7}, {name: "three", free: 3}},
			want:  []string{"three", "five", "seven", "four"},
		},
		"with one size, the fullest": {
			mix: []Class{{1, 5}}, units: 1,
			nodes: []node{{name: "eight", free: 8}, {name: "two", free: 2}, {name: "four", free: 4}},
			want:  []string{"two", "four", "eight"},
		},
		"units that no loan counts on come first, then the cheapest loan": {
			mix: []Class{{1, 5}, {8, 5}}, units: 1,
			nodes: []node{{name: "dear", free: 1, displaced: 1e6}, {name: "cheap", free: 2, displaced: 100}, {name: "free", free: 8}},
			want:  []string{"free", "cheap", "dear"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			mix := NewMix(tc.mix)
			score := func(n node) int64 {
				return Score(Place{Displaced: n.displaced, Growth: mix.Growth(n.free, tc.units), Left: n.free - tc.units})
			}
			slices.SortFunc(tc.nodes, func(a, b node) int { return cmp.Compare(score(b), score(a)) })
			var got []string
			for _, n := range tc.nodes {
				got = append(got, n.name)
			}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

// A score is the lexicographic order of its parts, whatever their size.
func TestScoreIsLexicographic(t *testing.T) {
	place := rapid.Custom(func(t *rapid.T) Place {
		return Place{
			Displaced: rapid.SampledFrom([]float64{0, 0, 1, 1e3, 1e9}).Draw(t, "displaced"),
			Growth:    rapid.Int64Range(-mostFree*1000, mostFree*1000).Draw(t, "growth"),
			Left:      rapid.Int64Range(0, mostFree).Draw(t, "left"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := place.Draw(t, "a"), place.Draw(t, "b")
		want := cmp.Or(cmp.Compare(b.Displaced, a.Displaced), cmp.Compare(b.Growth, a.Growth), cmp.Compare(b.Left, a.Left))
		if got := cmp.Compare(Score(a), Score(b)); got != want {
			t.Fatalf("scores compare %d, want %d", got, want)
		}
	})
}

func TestAbsurdNumbersAreHarmless(t *testing.T) {
	mix := NewMix([]Class{{math.MaxInt64, math.MaxInt64}, {1, math.MaxInt64}})
	if got := mix.Fragmentation(math.MaxInt64); got < 0 {
		t.Errorf("fragmentation = %d", got)
	}
	worst := Score(Place{Displaced: math.Inf(1), Growth: math.MaxInt64, Left: math.MaxInt64})
	if best := Score(Place{Growth: math.MinInt64}); worst >= best || best > 0 {
		t.Errorf("worst = %d, best = %d", worst, best)
	}
}

// The gradient is what the paper sums: over all pods placed one after another by it,
// the growths add up to the fragmentation in the end.
func TestGrowthsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mix := NewMix([]Class{{1, rapid.Int64Range(0, 9).Draw(t, "ones")}, {4, rapid.Int64Range(0, 9).Draw(t, "fours")}, {8, rapid.Int64Range(1, 9).Draw(t, "eights")}})
		free, sum := int64(8), int64(0)
		for free > 0 {
			units := rapid.Int64Range(1, free).Draw(t, "units")
			sum += mix.Growth(free, units)
			free -= units
		}
		if want := mix.Fragmentation(0) - mix.Fragmentation(8); sum != want {
			t.Fatalf("growths add up to %d, want %d", sum, want)
		}
	})
}
