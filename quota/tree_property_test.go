package quota

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func seeded(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
}

// What is available is exactly what can be used with everything still within its
// limits, by a definition that walks all limits of all nodes.
func TestAvailableIsWhatTheLimitsAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		held := w.fill(r, rapid.IntRange(0, 30).Draw(t, "steps"))
		if !w.legal(held) {
			t.Fatalf("only what fitted was used, and limits are broken\n%s", w.tree)
		}
		for _, n := range w.tenants {
			for _, f := range w.ids {
				most := w.tree.Available(n, f)
				with := append(held[:len(held):len(held)], inUse{n, f, most})
				more := append(held[:len(held):len(held)], inUse{n, f, most + 1})
				if most < 0 || !w.legal(with) || w.legal(more) {
					t.Fatalf("%s %s: available %d; that many: %v, one more: %v\n%s",
						w.tree.nodes[n].name, w.tree.flavors[f].name, most, w.legal(with), w.legal(more), w.tree)
				}
			}
		}
	})
}

// A cohort uses what its children use beyond what they keep home, and a node's room
// and borrowing are what its usage leaves of its quota.
func TestUsageConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		held := w.fill(r, rapid.IntRange(0, 30).Draw(t, "steps"))
		for i := range w.nodes {
			n := &w.nodes[i]
			id := w.tree.id(n)
			for dim := range perCard {
				rules := rules{w, dim}
				c := w.tree.cell(id, dim)
				want := []int64{rules.subtree(n), rules.home(n), rules.uses(n, held)}
				if got := []int64{int64(c.subtree), int64(c.local), int64(c.usage)}; !cmp.Equal(got, want) {
					t.Fatalf("%s in dimension %d: quota, home, usage = %v, want %v", n.Name, dim, got, want)
				}
				if potential := rules.potential(n); int64(c.potential) != potential {
					t.Fatalf("%s in dimension %d: potential %d, want %d", n.Name, dim, c.potential, potential)
				}
			}
			f, _ := w.tree.Flavor("a100")
			used, quota := w.tree.Used(id, f), w.tree.Subtree(id, f)
			if room := w.tree.NominalRoom(id, f); room != max(0, quota-used) {
				t.Fatalf("%s uses %d of %d and has room for %d", n.Name, used, quota, room)
			}
			if borrowed := w.tree.Borrowed(id, f); borrowed != max(0, used-quota) {
				t.Fatalf("%s uses %d of %d and borrows %d", n.Name, used, quota, borrowed)
			}
		}
	})
}

// potential is the most a node could use if nobody else used anything.
func (r rules) potential(n *Node) int64 {
	for i := range r.w.nodes {
		if p := &r.w.nodes[i]; p.Cohort && p.Name == n.Parent {
			most := r.home(n) + r.potential(p)
			if l := r.quota(n).BorrowingLimit; l != nil {
				most = min(most, r.subtree(n)+int64(*l)*perCard[r.dim])
			}
			return most
		}
	}
	return r.subtree(n)
}

// Neither the order of the same operations nor what was given back in between changes
// any answer.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := seeded(t)
		w := drawWorld(r)
		fresh := w.tree.Clone()
		var all []inUse
		for range rapid.IntRange(0, 25).Draw(t, "steps") {
			b := inUse{w.tenant(r), w.flavor(r), Amount(r.IntN(9))} // fitting or not
			all = append(all, b)
			w.tree.Use(b.tenant, b.flavor, b.units)
			w.tree.Remember(b.tenant, b.flavor, int64(b.units)*300)
		}
		other := fresh.Clone()
		for _, i := range r.Perm(len(all)) {
			b := all[i]
			passing := inUse{w.tenant(r), w.flavor(r), Amount(r.IntN(30))}
			other.Use(passing.tenant, passing.flavor, passing.units)
			other.Remember(b.tenant, b.flavor, int64(b.units)*300)
			if r.IntN(2) == 0 {
				other.Share(passing.tenant)
				other.OrderShare(passing.tenant)
			}
			other.Use(b.tenant, b.flavor, b.units)
			other.Use(passing.tenant, passing.flavor, -passing.units)
		}
		if diff := cmp.Diff(answers(w, w.tree), answers(w, other)); diff != "" {
			t.Fatalf("another order, other answers (-want +got):\n%s", diff)
		}
		for _, i := range r.Perm(len(all)) {
			w.tree.Use(all[i].tenant, all[i].flavor, -all[i].units)
		}
		for i, c := range w.tree.cells {
			if c.usage != 0 {
				t.Fatalf("cell %d has %d left of nothing", i, c.usage)
			}
		}
	})
}

// answers is all that a tree says.
func answers(w *world, t *Tree) (out [][]int64) {
	for n := range NodeID(t.Nodes()) {
		out = append(out, []int64{int64(t.Share(n)), int64(t.OrderShare(n))})
		for _, f := range w.ids {
			out = append(out, []int64{
				int64(t.Used(n, f)), int64(t.Borrowed(n, f)), int64(t.Available(n, f)), int64(t.NominalRoom(n, f)),
			})
		}
	}
	return out
}
