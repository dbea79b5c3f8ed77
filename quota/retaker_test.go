package quota

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is ruled out without a search for victims could not be taken back by one.
func TestMightReclaimRulesNothingOutWrongly(t *testing.T) {
	ruledOut, left := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r, s := busy(t)
		held, _ := s.held()
		for i := range held {
			k := newTaking(s.tree, s.claimer(r).claim(), held, always)
			next := k.afterwards()
			next = slices.DeleteFunc(next, func(h Held) bool { return h.Name == held[i].Name })
			k.book(i, -1)
			k.bookUse(k.claim.Tenant, k.claim.Flavor, k.claim.Units)
			might := k.mightReclaim(&held[i], next)
			for _, known := range []bool{true, false} {
				h := &held[i]
				back := Claim{Tenant: h.Tenant, Flavor: h.Flavor, Units: h.Units, Priority: h.Priority, TakenBack: known}
				if _, causes, _ := k.TakeBack(back, next, nil, always); !might && slices.Contains(causes, OwnerWants) {
					t.Fatalf("%+v takes back by %v\n%s", *h, causes, k.Tree)
				}
			}
			k.undo(0)
			if might {
				left++
			} else {
				ruledOut++
			}
		}
	})
	t.Logf("%d ruled out, %d not", ruledOut, left)
	if ruledOut == 0 || left == 0 {
		t.Errorf("%d ruled out, %d not", ruledOut, left)
	}
}

// pairs is a cohort with so many tenants that hold 9 units and 1, all borrowed, and
// room for a claim only where both of one tenant have gone.
func pairs(tenants int) (*Tree, []Held, func([]int) bool) {
	nodes := []Node{
		{Name: "lab", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: Amount(10*tenants) - 8}}},
		{Name: "asks", Parent: "lab", Quotas: []Quota{{Flavor: "h100"}}},
		{Name: "owner", Parent: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 8}}},
	}
	for i := range tenants {
		nodes = append(nodes, Node{Name: fmt.Sprint("t", i), Parent: "lab", Quotas: []Quota{{Flavor: "h100"}}})
	}
	tree := NewTree(nil, nodes)
	var held []Held
	for i := range tenants {
		id, _ := tree.Tenant(fmt.Sprint("t", i))
		tree.Use(id, 0, 10)
		since := time.Unix(int64(i), 0)
		held = append(held,
			Held{Name: fmt.Sprint("large", i), Tenant: id, Units: 9, Since: since},
			Held{Name: fmt.Sprint("small", i), Tenant: id, Units: 1, Since: since.Add(time.Hour)})
	}
	return tree, held, func(victims []int) bool {
		return slices.ContainsFunc(victims, func(v int) bool { return v%2 == 0 && slices.Contains(victims, v+1) })
	}
}

// Whatever pair is taken, the small one alone could take back in turn. After some such
// the search ends; what was promised is still had.
func TestTakeBackGivesUpSwaps(t *testing.T) {
	const tenants = 100
	tree, held, both := pairs(tenants)
	for name, ok := range map[string]bool{"asks": false, "owner": true} {
		id, _ := tree.Tenant(name)
		questions := 0
		victims, causes, got := tree.TakeBack(Claim{Tenant: id, Units: 8}, held, bothRules, func(victims []int) bool {
			questions++
			return both(victims)
		})
		if got != ok || ok && len(victims) != 2 {
			t.Errorf("%s takes %v by %v", name, victims, causes)
		}
		// All small ones are taken, and given back but for one.
		if most := (mostDrops + 1) * 2 * (tenants + 2); questions > most {
			t.Errorf("for %s %d sets of victims were looked at, want %d at most", name, questions, most)
		}
	}
}

// crowded is a cohort of 20 tenants that borrow all, in loans that are all different,
// and of one with much weight that holds nothing.
func crowded(loans int) (*Tree, []Held) {
	weight := int64(100)
	nodes := []Node{{Name: "lab", Cohort: true, Quotas: []Quota{{Flavor: "h100", Nominal: Amount(8 * loans)}}}, {Name: "asks", Parent: "lab", Weight: &weight, Quotas: []Quota{{Flavor: "h100"}}}}
	for i := range 20 {
		nodes = append(nodes, Node{Name: fmt.Sprint("t", i), Parent: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 1}}})
	}
	tree := NewTree(nil, nodes)
	var held []Held
	for i := range loans {
		id, _ := tree.Tenant(fmt.Sprint("t", i%20))
		tree.Use(id, 0, 8)
		held = append(held, Held{Name: fmt.Sprint("loan", i), Tenant: id, Units: 8, Priority: int32(i), Since: time.Unix(int64(i), 0)})
	}
	return tree, held
}

func BenchmarkTakeBackFairly(b *testing.B) {
	for _, loans := range []int{500, 2000, 5000} {
		tree, held := crowded(loans)
		asks, _ := tree.Tenant("asks")
		b.Run(fmt.Sprintf("held=%d", loans), func(b *testing.B) {
			taken := 0
			for b.Loop() {
				victims, _, _ := tree.TakeBack(Claim{Tenant: asks, Units: Amount(4 * loans)}, held, bothRules, always)
				taken = len(victims)
			}
			b.ReportMetric(float64(taken), "victims")
		})
	}
}
