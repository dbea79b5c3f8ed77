package lend

import (
	"fmt"
	"testing"
	"time"
)

// sliced is a cluster of nodes of 8 A100 that are cut in seven, three pinned, with a lender
// for every four nodes and three waiting jobs for every GPU, of which half want slices that
// have to be made.
func sliced(nodes int) (Snapshot, State) {
	w := newWorld()
	w.flavors = slicesOf
	for i := range nodes {
		n := Node{Name: fmt.Sprintf("node-%03d", i), Schedulable: true}
		for _, f := range slicesOf {
			n.Units = append(n.Units, Units{Flavor: f.Name})
		}
		w.nodes = append(w.nodes, n)
		for k := range 8 {
			w.addCard(n.Name, fmt.Sprintf("%s-%d", n.Name, k), "A100-40GB", map[string][]int{"a100-1g": {0, 1, 2, 3, 4, 5, 6}}, []int{4, 5, 6})
		}
	}
	owner := Tenant{Name: "serving", Cohort: "lab", Quotas: []Quota{{Flavor: "a100", Nominal: int64(8 * nodes)}}}
	user := Tenant{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "a100"}}}
	for _, f := range slicesOf {
		owner.Quotas, user.Quotas = append(owner.Quotas, Quota{Flavor: f.Name}), append(user.Quotas, Quota{Flavor: f.Name})
	}
	w.tenants = []Tenant{user, owner}
	w.queues = []Queue{{Name: "research/q", Tenant: "research", Backfill: true}}
	for i := range nodes / 4 {
		w.lenders = append(w.lenders, &service{coverage: 1, util: 0.05, Lender: Lender{
			Name: fmt.Sprintf("online/s%03d", i), Tenant: "serving", Flavor: "a100-1g", Owned: 4 * 8 * 7, UnitsPerPod: 1, Desired: 40,
			LowWater: 0.3, HighWater: 0.7, Dwell: time.Second, Cooldown: time.Second, MaxGrace: time.Minute, Warm: 4,
			MIG: &MIGRules{Reshape: true, Change: time.Second, Undo: time.Second},
		}})
	}
	w.schedule()
	for i := range 24 * nodes {
		w.jobs = append(w.jobs, &training{Job: Job{
			Name: fmt.Sprintf("research/j%05d", i), UID: fmt.Sprintf("u%05d", i), Tenant: "research", Queue: "research/q",
			Created: w.now, Flavor: slicesOf[i%2*(1+i/2%3)].Name, Pods: 1, UnitsPerPod: 1,
		}})
	}
	for range 2 {
		_, w.state = Decide(w.snapshot(), w.state, w.policy)
		w.step(20 * time.Second)
	}
	return w.snapshot(), w.state
}

func BenchmarkDecideCards(b *testing.B) {
	for _, nodes := range []int{16, 64} {
		in, state := sliced(nodes)
		b.Run(fmt.Sprintf("nodes=%d/cards=%d/jobs=%d", nodes, 8*nodes, len(in.Jobs)), func(b *testing.B) {
			b.ReportAllocs()
			k := new(Decider)
			var made, lent int
			for b.Loop() {
				plan, _ := k.Decide(in, state, DefaultPolicy())
				made, lent = len(plan.Reshapes), len(plan.Actions)
			}
			b.ReportMetric(float64(made), "reshapes")
			b.ReportMetric(float64(lent), "actions")
		})
	}
}
