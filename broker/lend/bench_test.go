package lend

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// large is a cluster of 278 nodes of 8 with 12 lenders, 300 loans and 300 waiting
// jobs. load is that of all lenders.
func large(load float64) (Snapshot, State) {
	r := dice{rand.New(rand.NewPCG(7, 7))}
	w := newWorld()
	for i := range 278 {
		w.nodes = append(w.nodes, Node{
			Name: fmt.Sprintf("node-%03d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}},
		})
	}
	for i := range 12 {
		w.lenders = append(w.lenders, &service{coverage: 1, util: 0.05, Lender: Lender{
			Name: fmt.Sprintf("online/s%02d", i), Tenant: "serving", Flavor: "h100", Owned: 176, UnitsPerPod: pick(r, chain...),
			Desired: 4, LowWater: 0.3, HighWater: 0.7, Dwell: time.Second, Cooldown: time.Second, MaxGrace: time.Minute, Warm: 4,
		}})
	}
	w.tenants = []Tenant{
		{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}},
		{Name: "serving", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 2224}}},
	}
	w.queues = []Queue{{Name: "research/q", Tenant: "research", Backfill: true}}
	submit := func(n int) {
		for range n {
			id := len(w.jobs)
			w.jobs = append(w.jobs, &training{Job: Job{
				Name: fmt.Sprintf("research/j%04d", id), UID: fmt.Sprintf("u%04d", id), Tenant: "research", Queue: "research/q",
				Created: w.now, Flavor: "h100", Pods: 1 + r.upTo(3), UnitsPerPod: pick[int64](r, 1, 2, 2, 4),
			}})
		}
	}
	w.schedule()
	submit(300)
	for range 3 {
		w.decide()
		w.step(5 * time.Second)
	}
	submit(300)
	w.step(10 * time.Minute)
	for _, s := range w.lenders {
		s.util = load
	}
	return w.snapshot(), w.state
}

func BenchmarkDecide(b *testing.B) {
	for name, load := range map[string]float64{"low": 0.05, "middle": 0.5, "high": 0.9} {
		in, state := large(load)
		b.Run(fmt.Sprintf("%s/loans=%d/jobs=%d", name, len(in.Loans), len(in.Jobs)), func(b *testing.B) {
			b.ReportAllocs()
			var did int
			for b.Loop() {
				plan, _ := Decide(in, state, DefaultPolicy())
				did = len(plan.Actions)
			}
			b.ReportMetric(float64(did), "actions")
		})
	}
}
