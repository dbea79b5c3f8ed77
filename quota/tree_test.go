package quota

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func amount(n Amount) *Amount { return &n }

// What the tree says of nodes that do not fit together.
func TestTreeOfMistakes(t *testing.T) {
	tree := NewTree([]Flavor{
		{Name: "1g", SliceOf: "h100", Compute: 1, Memory: 1},
		{Name: "1g", SliceOf: "a100", Compute: 7, Memory: 8}, // the first counts
		{Name: "self", SliceOf: "self"},                      // not a slice
		{Name: "half", SliceOf: "1g", Compute: 1, Memory: 1}, // of what is no card: not a slice either
	}, []Node{
		{Name: "x", Cohort: true, Parent: "y", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
		{Name: "y", Cohort: true, Parent: "x"},
		{Name: "below", Cohort: true, Parent: "y"},
		{Name: "lost", Parent: "below", Quotas: []Quota{{Flavor: "h100", Nominal: 4}}},
		{Name: "team", Parent: "named", Quotas: []Quota{
			{Flavor: "h100", Nominal: 2}, {Flavor: "h100", Nominal: 99},
			{Flavor: "half", Nominal: 3},
			{Flavor: "1g", Nominal: 5}, // a slice has no quota of its own
			{Flavor: "a100", Nominal: -3, BorrowingLimit: amount(-1), LendingLimit: amount(-1)},
		}},
		{Name: "team", Quotas: []Quota{{Flavor: "h100", Nominal: 50}}},
		{Name: "team", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: 1}}}, // a cohort may have a tenant's name
	})
	const circle = "its cohorts go round in a circle of parents; nothing is admitted below it"
	want := []Problem{{"lost", false, circle}, {"x", true, circle}, {"y", true, circle}, {"below", true, circle}}
	if diff := cmp.Diff(want, tree.Problems()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	h100, _ := tree.Flavor("h100")
	a100, _ := tree.Flavor("a100")
	slice, _ := tree.Flavor("1g")
	half, _ := tree.Flavor("half")
	team, _ := tree.Tenant("team")
	lost, _ := tree.Tenant("lost")
	same, _ := tree.Cohort("team")
	named, _ := tree.Cohort("named")
	for name, tc := range map[string]struct{ got, want Amount }{
		"in a circle":           {tree.Available(lost, h100), 0},
		"own quota in a circle": {tree.NominalRoom(lost, h100), 0},
		"the first quota":       {tree.Available(team, h100), 2},
		"a slice of a slice":    {tree.Available(team, half), 3},
		"slices of it":          {tree.Available(team, slice), 14},
		"a negative promise":    {tree.Available(team, a100), 0},
		"a cohort's own":        {tree.Nominal(same, h100), 1},
		"a cohort only named":   {tree.Subtree(named, h100), 2},
		"its own":               {tree.Nominal(named, h100), 0},
		"at most":               {tree.Potential(team, h100), 2},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d, want %d", name, tc.got, tc.want)
		}
	}
	if tree.Root(team) != named || tree.Root(lost) != lost || tree.Parent(named) != None {
		t.Error("roots")
	}
	if _, ok := tree.Flavor("2g"); ok {
		t.Error("a flavor that nobody named")
	}
	if _, ok := tree.Tenant("named"); ok {
		t.Error("a cohort found as a tenant")
	}
	if !tree.Lists(team, slice) || tree.Lists(lost, slice) {
		t.Error("lists")
	}
	_, _, ok := tree.TakeBack(Claim{Tenant: lost, Flavor: h100, Units: 1}, nil, bothRules, always)
	if ok {
		t.Error("a claim in a circle fits")
	}
}

// Absurd amounts neither wrap around nor make room.
func TestAbsurdAmounts(t *testing.T) {
	tree := NewTree(sliced, []Node{
		{Name: "lab", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: math.MaxInt64}}},
		{Name: "a", Parent: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: math.MaxInt64, BorrowingLimit: amount(math.MaxInt64)}, {Flavor: "h100-1g"}}},
		{Name: "b", Parent: "lab", Quotas: []Quota{{Flavor: "h100", BorrowingLimit: amount(math.MaxInt64), LendingLimit: amount(math.MaxInt64)}}},
	})
	a, _ := tree.Tenant("a")
	b, _ := tree.Tenant("b")
	h100, _ := tree.Flavor("h100")
	for range 2 {
		tree.Use(a, h100, math.MaxInt64)
		tree.Use(b, h100, math.MaxInt64)
		tree.Remember(b, h100, math.MaxInt64)
	}
	for _, n := range []NodeID{a, b} {
		if room := tree.Available(n, h100); room != 0 {
			t.Errorf("room %d", room)
		}
		for _, s := range append(tree.SharesWith(n, h100, math.MaxInt64, nil), tree.Share(n), tree.OrderShare(n)) {
			if s < 0 || s == Infinite {
				t.Errorf("share %d", s)
			}
		}
	}
	if _, _, ok := tree.TakeBack(Claim{Tenant: b, Flavor: h100, Units: math.MaxInt64}, nil, bothRules, always); ok {
		t.Error("what is too much fits")
	}
}

func TestTreeString(t *testing.T) {
	tree := NewTree(nil, []Node{
		{Name: "team", Parent: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 8, LendingLimit: amount(6)}}},
		{Name: "other", Parent: "lab"},
	})
	team, _ := tree.Tenant("team")
	tree.Use(team, 0, 5)
	if diff := cmp.Diff("lab 3/6\n  team 5/8\n  other 0/0\n", tree.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
