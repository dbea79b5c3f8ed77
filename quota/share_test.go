package quota

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A share is the largest part of what could be lent, by weight, also computed with
// numbers that know no bounds.
func TestShareByDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		held := w.fill(r, rapid.IntRange(0, 30).Draw(t, "steps"))
		lately := map[NodeID]*[3]int64{}
		for n := range NodeID(w.tree.Nodes()) {
			lately[n] = new([3]int64)
		}
		for range r.IntN(6) {
			n, f, milli := w.tenant(r), w.flavor(r), r.Int64N(9000)
			w.tree.OrderShare(n)
			w.tree.Remember(n, f, milli)
			for up := n; up != None; up = w.tree.Parent(up) {
				for dim, per := range takes[w.tree.flavors[f].name] {
					lately[up][dim] += per * milli
				}
			}
		}
		for i := range w.nodes {
			n := &w.nodes[i]
			id := w.tree.id(n)
			now, order := w.share(n, held, [3]int64{}), w.share(n, held, *lately[id])
			if got := w.tree.Share(id); got != now {
				t.Fatalf("%s: share %d, want %d\n%s", n.Name, got, now, w.tree)
			}
			if got := w.tree.OrderShare(id); got != order {
				t.Fatalf("%s: share with history %d, want %d\n%s", n.Name, got, order, w.tree)
			}
		}
	})
}

func (w *world) share(n *Node, held []inUse, lately [3]int64) Share {
	parent := slices.IndexFunc(w.nodes, func(p Node) bool { return p.Cohort && p.Name == n.Parent })
	if parent < 0 {
		return 0
	}
	weight := int64(1)
	if n.Weight != nil {
		weight = *n.Weight
	}
	most := new(big.Int)
	for dim := range perCard {
		r := rules{w, dim}
		borrowed := max(0, r.uses(n, held)-r.subtree(n))
		lendable := r.potential(&w.nodes[parent])
		if weight == 0 || lendable == 0 {
			if borrowed > 0 {
				return Infinite
			}
			continue
		}
		part := big.NewInt(borrowed*1000 + lately[dim])
		part.Mul(part, big.NewInt(1000)).Div(part, big.NewInt(lendable)).Div(part, big.NewInt(weight))
		if part.Cmp(most) > 0 {
			most = part
		}
	}
	return Share(most.Int64())
}

// The shares that a claim would lead to are those it leads to, and asking changes
// nothing.
func TestSharesWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		w.fill(r, rapid.IntRange(0, 30).Draw(t, "steps"))
		for range r.IntN(6) {
			w.tree.OrderShare(NodeID(r.IntN(w.tree.Nodes())))
			w.tree.Remember(w.tenant(r), w.flavor(r), r.Int64N(9000))
		}
		n, f, units := w.tenant(r), w.flavor(r), Amount(r.IntN(20))
		before := answers(w, w.tree)
		got := w.tree.SharesWith(n, f, units, nil)
		if after := answers(w, w.tree); !slices.EqualFunc(before, after, slices.Equal) {
			t.Fatalf("asking changed the tree from %v to %v", before, after)
		}
		used := w.tree.Clone()
		used.Use(n, f, units)
		var want []Share
		for up := n; used.Parent(up) != None; up = used.Parent(up) {
			want = append(want, used.OrderShare(up))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("shares %v, and then they are %v", got, want)
		}
	})
}

func TestPortion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Int64Min(0).Draw(t, "part")
		whole, weight := rapid.Int64Min(1).Draw(t, "whole"), rapid.Int64Range(1, 1000).Draw(t, "weight")
		want := new(big.Int).Mul(big.NewInt(part), big.NewInt(wholeShare))
		want.Div(want, big.NewInt(whole)).Div(want, big.NewInt(weight))
		if most := big.NewInt(math.MaxInt64 - 1); want.Cmp(most) > 0 {
			want = most
		}
		if got := portion(Amount(part), wholeShare, Amount(whole), weight); int64(got) != want.Int64() {
			t.Fatalf("%d of %d by %d: %d, want %d", part, whole, weight, got, want)
		}
	})
}

// Claims are compared where the ways to them part.
func TestCompare(t *testing.T) {
	tree := NewTree(nil, []Node{
		{Name: "root", Cohort: true}, {Name: "left", Cohort: true, Parent: "root"}, {Name: "deep", Cohort: true, Parent: "left"},
		{Name: "a", Parent: "left"}, {Name: "b", Parent: "deep"}, {Name: "c", Parent: "root"}, {Name: "d"}, {Name: "e", Parent: "other"},
	})
	id := func(name string) NodeID {
		n, ok := tree.Tenant(name)
		if !ok {
			t.Fatalf("no tenant %s", name)
		}
		return n
	}
	shares := map[string][]Share{"a": {5, 3}, "b": {1, 4, 9}, "c": {6}, "d": nil, "e": {7}}
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"a", "b", 1},  // 5 of a and 4 of deep, both in left
		{"a", "c", -1}, // 3 of left and 6 of c
		{"b", "c", 1},  // 9 of left and 6 of c
		{"a", "a", 0},
		{"d", "a", -1}, // a root borrows nothing
		{"b", "e", 1},  // 9 and 7 next to their roots
	} {
		if got := tree.Compare(id(tc.a), shares[tc.a], id(tc.b), shares[tc.b]); got != tc.want {
			t.Errorf("%s against %s: %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := tree.Compare(id(tc.b), shares[tc.b], id(tc.a), shares[tc.a]); got != -tc.want {
			t.Errorf("%s against %s: %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}
