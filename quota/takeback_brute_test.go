package quota

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Where every tenant holds one loan and nothing of its own, one victim does not change
// another's right to stay. There the claim fits exactly if some set of loans that the
// rules allow is enough, and what is taken is such a set that nothing can be left
// out of. All sets are tried.
func TestFairSharingAgainstAllSets(t *testing.T) {
	fitting, failing := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		lab := 6 + r.Int64N(20)
		nodes := []Node{{Name: "lab", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: Amount(lab)}}}}
		weights := make([]int64, 2+r.IntN(6))
		for i := range weights {
			weights[i] = r.Int64N(4)
			nodes = append(nodes, Node{Name: fmt.Sprint("t", i), Parent: "lab", Weight: &weights[i], Quotas: []Quota{{Flavor: "h100"}}})
		}
		tree := NewTree(nil, nodes)
		held, free := oneEach(r, tree, len(weights), lab)
		claim := Claim{Tenant: 0, Units: Amount(1 + r.Int64N(lab))}

		var enough [][]int
		for set := range 1 << len(held) {
			var victims []int
			sum, allowed := free, true
			for i, h := range held {
				if set&(1<<i) != 0 {
					victims = append(victims, i)
					sum += int64(h.Units)
					allowed = allowed && weights[0] > 0 && !h.Young &&
						(weights[h.Tenant] == 0 || int64(claim.Units)*wholeShare/lab/weights[0] < int64(h.Units)*wholeShare/lab/weights[h.Tenant])
				}
			}
			if allowed && sum >= int64(claim.Units) {
				enough = append(enough, victims)
			}
		}
		got, _, ok := tree.TakeBack(claim, held, bothRules, always)
		if ok != (len(enough) > 0) {
			t.Fatalf("%+v of %d with %+v: ok is %v, and these sets would do: %v", claim, lab, held, ok, enough)
		}
		if !ok {
			failing++
			return
		}
		fitting++
		slices.Sort(got)
		if !slices.ContainsFunc(enough, func(s []int) bool { return slices.Equal(s, got) }) {
			t.Fatalf("%v is none of %v", got, enough)
		}
		for _, s := range enough {
			if len(s) < len(got) && !slices.ContainsFunc(s, func(i int) bool { return !slices.Contains(got, i) }) {
				t.Fatalf("of %v, %v is enough", got, s)
			}
		}
	})
	if fitting == 0 || failing == 0 {
		t.Errorf("%d claims could take, %d could not", fitting, failing)
	}
}

// oneEach lends something to every tenant but the first, and says what is left.
func oneEach(r *rand.Rand, tree *Tree, tenants int, lab int64) (held []Held, free int64) {
	free = lab
	for i := 1; i < tenants && free > 0; i++ {
		units := 1 + r.Int64N(free)
		free -= units
		tree.Use(NodeID(i), 0, Amount(units))
		held = append(held, Held{Name: fmt.Sprint("j", i), Tenant: NodeID(i), Units: Amount(units), Priority: int32(r.IntN(3)), Young: r.IntN(8) == 0})
	}
	return held, free
}

// A victim whose units nobody needs stays one where the claim's cohort would have, with it
// given back, no smaller a share than the cohort that another is taken from.
func TestFairSharingSparesNobodyAtOthersCost(t *testing.T) {
	zero := int64(0)
	tree := NewTree(nil, []Node{
		{Name: "lab", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: 11}}},
		{Name: "near", Cohort: true, Parent: "lab"},
		{Name: "far", Cohort: true, Parent: "lab"},
		{Name: "asks", Parent: "near", Quotas: []Quota{{Flavor: "h100"}}},
		{Name: "beside", Parent: "near", Weight: &zero, Quotas: []Quota{{Flavor: "h100"}}},
		{Name: "other", Parent: "far", Quotas: []Quota{{Flavor: "h100", Nominal: 4}}},
	})
	hold := func(name, tenant string, units Amount) Held {
		id, _ := tree.Tenant(tenant)
		tree.Use(id, 0, units)
		return Held{Name: name, Tenant: id, Units: units}
	}
	asks, _ := tree.Tenant("asks")
	for _, tc := range []struct {
		near Amount // what the claim's neighbour holds
		want []string
	}{
		{2, []string{"beside", "other"}}, // 2 and 3 of 15 are as much as what the other borrows
		{1, []string{"other"}},
	} {
		held := []Held{hold("beside", "beside", tc.near), hold("other", "other", 9)}
		// There is room where the other runs.
		victims, causes, ok := tree.TakeBack(Claim{Tenant: asks, Units: 3}, held, bothRules, func(victims []int) bool { return slices.Contains(victims, 1) })
		var got []string
		for _, v := range victims {
			got = append(got, held[v].Name)
		}
		if !ok || !slices.Equal(got, tc.want) || slices.ContainsFunc(causes, func(c Cause) bool { return c != FairShare }) {
			t.Errorf("beside %d it takes %v by %v (%t), want %v by fair sharing", tc.near, got, causes, ok, tc.want)
		}
		for _, h := range held {
			tree.Use(h.Tenant, 0, -h.Units)
		}
	}
}
