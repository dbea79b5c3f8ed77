package quota

import (
	"fmt"
	"math/rand/v2"
)

// world is a random forest of quotas with the flavors of its cards: two whole cards,
// one of which is also used in slices.
type world struct {
	flavors []Flavor
	nodes   []Node
	tree    *Tree
	tenants []NodeID
	ids     []FlavorID
}

var sliced = []Flavor{
	{Name: "h100-1g", SliceOf: "h100", Compute: 1, Memory: 1},
	{Name: "h100-2g", SliceOf: "h100", Compute: 2, Memory: 2},
	{Name: "h100-3g", SliceOf: "h100", Compute: 3, Memory: 4},
}

// drawWorld makes cohorts up to four levels deep, with limits and weights here and
// there.
func drawWorld(r *rand.Rand) *world {
	w := &world{flavors: sliced}
	cohorts := 1 + r.IntN(5)
	for i := range cohorts {
		n := Node{Name: fmt.Sprint("c", i), Cohort: true, Weight: drawWeight(r)}
		if i > 0 && r.IntN(6) > 0 {
			n.Parent = fmt.Sprint("c", r.IntN(i))
		}
		if r.IntN(3) == 0 {
			n.Quotas = drawQuotas(r, 6)
		} else if r.IntN(3) == 0 {
			n.Quotas = drawQuotas(r, 1)
		}
		w.nodes = append(w.nodes, n)
	}
	for i := range 2 + r.IntN(6) {
		n := Node{Name: fmt.Sprint("t", i), Weight: drawWeight(r), Quotas: drawQuotas(r, 12)}
		if r.IntN(12) > 0 {
			n.Parent = fmt.Sprint("c", r.IntN(cohorts))
		}
		for _, f := range sliced {
			n.Quotas = append(n.Quotas, Quota{Flavor: f.Name})
		}
		w.nodes = append(w.nodes, n)
	}
	return w.plant()
}

// drawContested makes cohorts up to three levels deep with much to borrow for tenants
// with little of their own.
func drawContested(r *rand.Rand) *world {
	w := &world{flavors: sliced}
	cohorts := 1 + r.IntN(3)
	for i := range cohorts {
		n := Node{Name: fmt.Sprint("c", i), Cohort: true, Weight: drawWeight(r)}
		if i > 0 {
			n.Parent = fmt.Sprint("c", r.IntN(i))
		}
		n.Quotas = []Quota{{Flavor: "h100", Nominal: Amount(4 + r.IntN(16))}, {Flavor: "a100", Nominal: Amount(r.IntN(20))}}
		w.nodes = append(w.nodes, n)
	}
	for i := range 2 + r.IntN(4) {
		n := Node{Name: fmt.Sprint("t", i), Parent: fmt.Sprint("c", r.IntN(cohorts)), Quotas: drawQuotas(r, 4)}
		if r.IntN(3) == 0 {
			n.Weight = drawWeight(r)
		}
		for _, f := range sliced {
			n.Quotas = append(n.Quotas, Quota{Flavor: f.Name})
		}
		w.nodes = append(w.nodes, n)
	}
	return w.plant()
}

// plant makes the tree.
func (w *world) plant() *world {
	w.tree = NewTree(w.flavors, w.nodes)
	for _, n := range w.nodes {
		if id, ok := w.tree.Tenant(n.Name); ok && !n.Cohort {
			w.tenants = append(w.tenants, id)
		}
	}
	for _, name := range []string{"a100", "h100", "h100-1g", "h100-2g", "h100-3g"} {
		if id, ok := w.tree.Flavor(name); ok {
			w.ids = append(w.ids, id)
		}
	}
	return w
}

func drawQuotas(r *rand.Rand, most int) []Quota {
	limit := func() *Amount {
		if r.IntN(3) > 0 {
			return nil
		}
		n := Amount(r.IntN(most + 2))
		return &n
	}
	return []Quota{
		{Flavor: "h100", Nominal: Amount(r.IntN(most)), BorrowingLimit: limit(), LendingLimit: limit()},
		{Flavor: "a100", Nominal: Amount(r.IntN(most)), BorrowingLimit: limit(), LendingLimit: limit()},
	}
}

func drawWeight(r *rand.Rand) *int64 {
	if r.IntN(2) == 0 {
		return nil
	}
	n := int64(r.IntN(4))
	return &n
}

func (w *world) tenant(r *rand.Rand) NodeID   { return w.tenants[r.IntN(len(w.tenants))] }
func (w *world) flavor(r *rand.Rand) FlavorID { return w.ids[r.IntN(len(w.ids))] }

// inUse is some use of the tree.
type inUse struct {
	tenant NodeID
	flavor FlavorID
	units  Amount
}

// fill uses random amounts as long as they fit.
func (w *world) fill(r *rand.Rand, steps int) (done []inUse) {
	for range steps {
		b := inUse{w.tenant(r), w.flavor(r), Amount(1 + r.IntN(8))}
		if b.units <= w.tree.Available(b.tenant, b.flavor) {
			w.tree.Use(b.tenant, b.flavor, b.units)
			done = append(done, b)
		}
	}
	return done
}

// rules states what the quotas mean without the tree's shortcuts: from what each tenant
// holds in one dimension it says of each node what it uses, and whether that is
// within all limits.
type rules struct {
	w   *world
	dim int // 0: a100, 1: compute of h100, 2: memory of h100
}

var perCard = []int64{1, 7, 8}

// takes is what one unit of a flavor takes in each dimension.
var takes = map[string][3]int64{
	"a100": {1, 0, 0}, "h100": {0, 7, 8}, "h100-1g": {0, 1, 1}, "h100-2g": {0, 2, 2}, "h100-3g": {0, 3, 4},
}

func (r rules) quota(n *Node) Quota {
	for _, q := range n.Quotas {
		if q.Flavor == []string{"a100", "h100", "h100"}[r.dim] {
			return q
		}
	}
	return Quota{}
}

func (r rules) children(n *Node) (out []*Node) {
	for i := range r.w.nodes {
		if c := &r.w.nodes[i]; n.Cohort && c.Parent == n.Name {
			out = append(out, c)
		}
	}
	return out
}

func (r rules) subtree(n *Node) int64 {
	sum := int64(r.quota(n).Nominal) * perCard[r.dim]
	for _, c := range r.children(n) {
		sum += r.subtree(c) - r.home(c)
	}
	return sum
}

func (r rules) home(n *Node) int64 {
	if l := r.quota(n).LendingLimit; l != nil {
		return max(0, r.subtree(n)-int64(*l)*perCard[r.dim])
	}
	return 0
}

// uses is what the node's tenants hold beyond what is kept home below it.
func (r rules) uses(n *Node, held []inUse) int64 {
	var sum int64
	for _, b := range held {
		if name, cohort := r.w.tree.Name(b.tenant); name == n.Name && !n.Cohort && !cohort {
			sum += int64(b.units) * takes[r.w.tree.flavors[b.flavor].name][r.dim]
		}
	}
	for _, c := range r.children(n) {
		sum += max(0, r.uses(c, held)-r.home(c))
	}
	return sum
}

// legal: no root uses more than there is, nobody borrows beyond its limit.
func (w *world) legal(held []inUse) bool {
	for dim := range perCard {
		r := rules{w, dim}
		for i := range w.nodes {
			n := &w.nodes[i]
			over := r.uses(n, held) - r.subtree(n)
			if n.Parent == "" && over > 0 {
				return false
			}
			if l := r.quota(n).BorrowingLimit; n.Parent != "" && l != nil && over > int64(*l)*perCard[dim] {
				return false
			}
		}
	}
	return true
}
