package outrank

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func TestChoose(t *testing.T) {
	type who struct {
		Junior
		units int64
	}
	junior := func(name string, priority int32, age time.Duration, units int64) who {
		return who{Junior{Name: name, Priority: priority, Since: epoch.Add(-age)}, units}
	}
	violating := func(w who) who { w.Violates = true; return w }
	for name, tc := range map[string]struct {
		who  []who
		need int64
		want []string
		no   bool
	}{
		"nobody, if nothing is needed": {who: []who{junior("a", 0, 0, 1)}},
		"the lowest priority":          {who: []who{junior("a", 5, 0, 1), junior("b", 1, time.Hour, 1)}, need: 1, want: []string{"b"}},
		"of equals, the newest":        {who: []who{junior("a", 1, time.Hour, 1), junior("b", 1, 0, 1)}, need: 1, want: []string{"b"}},
		"of twins, the first by name":  {who: []who{junior("b", 1, 0, 1), junior("a", 1, 0, 1)}, need: 1, want: []string{"a"}},
		"whom no budget protects":      {who: []who{violating(junior("a", 1, 0, 1)), junior("b", 5, 0, 1)}, need: 1, want: []string{"b"}},
		"the small are spared again, if a large one is needed": {
			who: []who{junior("a", 1, 0, 1), junior("b", 2, 0, 1), junior("c", 3, 0, 8)}, need: 8, want: []string{"c"},
		},
		"spared in reverse": {
			who: []who{junior("a", 1, 0, 2), junior("b", 2, 0, 1), junior("c", 3, 0, 2)}, need: 4, want: []string{"a", "c"},
		},
		"all, if it takes all":       {who: []who{junior("a", 1, 0, 1), junior("b", 2, 0, 1)}, need: 2, want: []string{"a", "b"}},
		"nobody, if all are too few": {who: []who{junior("a", 1, 0, 1)}, need: 2, no: true},
	} {
		t.Run(name, func(t *testing.T) {
			juniors := make([]Junior, len(tc.who))
			for i, w := range tc.who {
				juniors[i] = w.Junior
			}
			ended, ok := Choose(juniors, func(ended []int) bool {
				var sum int64
				for _, i := range ended {
					sum += tc.who[i].units
				}
				return sum >= tc.need
			})
			if ok == tc.no {
				t.Fatalf("ok = %v", ok)
			}
			var got []string
			for _, i := range ended {
				got = append(got, juniors[i].Name)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("chosen (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChooseIsMinimalAndDoesNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		juniors, units := make([]Junior, n), map[string]int64{}
		for i := range juniors {
			juniors[i] = Junior{
				Name: string(rune('a' + i)), Violates: rapid.Bool().Draw(t, "violates"),
				Priority: rapid.Int32Range(0, 3).Draw(t, "priority"), Since: epoch.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "since"))),
			}
			units[juniors[i].Name] = rapid.Int64Range(0, 4).Draw(t, "units")
		}
		need := rapid.Int64Range(0, 16).Draw(t, "need")
		choose := func(of []Junior) ([]string, bool) {
			enough := func(ended []int) bool {
				var sum int64
				for _, i := range ended {
					sum += units[of[i].Name]
				}
				return sum >= need
			}
			ended, ok := Choose(of, enough)
			if !ok {
				if len(ended) != 0 {
					t.Fatal("somebody is chosen although it is not enough")
				}
				var sum int64
				for _, u := range units {
					sum += u
				}
				if sum >= need {
					t.Fatal("all together are enough, and none were chosen")
				}
				return nil, false
			}
			for i := range ended {
				if enough(slices.Delete(slices.Clone(ended), i, i+1)) {
					t.Fatalf("%s could be spared", of[ended[i]].Name)
				}
			}
			names := make([]string, 0, len(ended))
			for _, i := range ended {
				names = append(names, of[i].Name)
			}
			slices.Sort(names)
			return names, true
		}
		got, ok := choose(juniors)
		again, okAgain := choose(rapid.Permutation(juniors).Draw(t, "order"))
		if ok != okAgain || !slices.Equal(got, again) {
			t.Fatalf("%v in one order, %v in another", got, again)
		}
	})
}

func TestWorse(t *testing.T) {
	a, b := Junior{Name: "a", Priority: 1}, Junior{Name: "b", Priority: 2}
	protected := Junior{Name: "c", Priority: math.MinInt32, Violates: true}
	for name, tc := range map[string]struct {
		x, y []Junior
		want bool
	}{
		"a higher priority":       {x: []Junior{b}, y: []Junior{a}, want: true},
		"a lower priority":        {x: []Junior{a}, y: []Junior{b}},
		"more of them":            {x: []Junior{a, a}, y: []Junior{a}, want: true},
		"a broken budget":         {x: []Junior{protected}, y: []Junior{b}, want: true},
		"nobody hurts the least":  {x: []Junior{a}, want: true},
		"a choice and itself":     {x: []Junior{a, b}, y: []Junior{b, a}},
		"the later name at worst": {x: []Junior{{Name: "z"}}, y: []Junior{{Name: "y"}}, want: true},
	} {
		if got := Worse(tc.x, tc.y); got != tc.want {
			t.Errorf("%s: worse = %v", name, got)
		}
	}
}
