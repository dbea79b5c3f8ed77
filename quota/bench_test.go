package quota

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// company is 1,000 tenants in cohorts four levels deep with 8 flavors, half in use.
func company(b testing.TB) (*Tree, []Held) {
	r := rand.New(rand.NewPCG(1, 1))
	var flavors []Flavor
	for i := range 2 {
		flavors = append(flavors, Flavor{Name: fmt.Sprintf("f%d-1g", i), SliceOf: fmt.Sprint("f", i), Compute: 1, Memory: 1})
	}
	nodes := []Node{{Name: "top", Cohort: true}}
	for level, parents := 0, []string{"top"}; level < 3; level++ {
		var next []string
		for _, p := range parents {
			for i := range 4 {
				n := Node{Name: fmt.Sprint(p, ".", i), Cohort: true, Parent: p}
				next, nodes = append(next, n.Name), append(nodes, n)
			}
		}
		parents = next
	}
	quotas := func() (q []Quota) {
		for f := range 6 {
			q = append(q, Quota{Flavor: fmt.Sprint("f", f), Nominal: 8})
		}
		return append(q, Quota{Flavor: "f0-1g"}, Quota{Flavor: "f1-1g"})
	}
	for i := range 1000 {
		nodes = append(nodes, Node{Name: fmt.Sprint("t", i), Parent: nodes[len(nodes)-1-i-r.IntN(64)].Name, Quotas: quotas()})
	}
	t := NewTree(flavors, nodes)
	var held []Held
	for i := range 5000 {
		h := Held{Name: fmt.Sprint("loan", i), Tenant: NodeID(r.IntN(1000)), Flavor: FlavorID(r.IntN(8)), Units: Amount(1 + r.IntN(16)), Since: time.Unix(int64(i), 0)}
		h.Own = h.Units <= t.NominalRoom(h.Tenant, h.Flavor)
		if h.Units <= t.Available(h.Tenant, h.Flavor) {
			t.Use(h.Tenant, h.Flavor, h.Units)
			held = append(held, h)
		}
		t.Remember(h.Tenant, h.Flavor, r.Int64N(4000))
	}
	if n, _ := t.Tenant("t0"); t.nodes[n].depth != 4 {
		b.Fatalf("a tenant is %d below its root", t.nodes[n].depth)
	}
	return t, held
}

func BenchmarkAvailable(b *testing.B) {
	t, _ := company(b)
	n := 0
	for b.Loop() {
		t.Available(NodeID(n%1000), FlavorID(n%8))
		n++
	}
}

func BenchmarkSharesWith(b *testing.B) {
	t, _ := company(b)
	buf := make([]Share, 0, 8)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		buf = t.SharesWith(NodeID(n%1000), FlavorID(n%8), 4, buf)
		n++
	}
}

// Using makes shares unknown along one way up; asking then finds them again.
func BenchmarkUseThenSharesWith(b *testing.B) {
	t, _ := company(b)
	buf := make([]Share, 0, 8)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		t.Use(NodeID(n%1000), FlavorID(n%8), 1)
		buf = t.SharesWith(NodeID(n%1000), FlavorID(n%8), 4, buf)
		t.Use(NodeID(n%1000), FlavorID(n%8), -1)
		n++
	}
}

func BenchmarkTakeBack(b *testing.B) {
	t, held := company(b)
	for name, c := range map[string]Claim{
		"owner": {Tenant: 7, Flavor: 2, Units: 8, Priority: 1},
		"fair":  {Tenant: 7, Flavor: 2, Units: 40},
		"none":  {Tenant: 7, Flavor: 2, Units: 2000, Priority: -1},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				t.TakeBack(c, held, bothRules, always)
			}
		})
	}
}

// Asking for shares and room allocates nothing.
func TestAskingAllocatesNothing(t *testing.T) {
	tree, _ := company(t)
	buf := make([]Share, 0, 8)
	n := 0
	if allocs := testing.AllocsPerRun(1000, func() {
		tree.Use(NodeID(n%1000), FlavorID(n%8), 1)
		tree.Available(NodeID(n%1000), FlavorID(n%8))
		buf = tree.SharesWith(NodeID(n%1000), FlavorID(n%8), 4, buf)
		n++
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
