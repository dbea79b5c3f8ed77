package product

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

var monday = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// town has a service whose load falls at night and rises in the morning, and more jobs than
// the tenant that has them may run on its own quota.
func town(nodes, jobs int) *sim.Scenario {
	owned := int64(nodes) * 6
	s := &sim.Scenario{
		Start: monday, Length: 24 * time.Hour, Points: 24,
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: int64(nodes) * 2}}},
			{Name: "serving", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: owned}}},
		},
		Queues: []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
	}
	s.Services = []sim.Service{{
		Lender: lend.Lender{
			Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: owned, UnitsPerPod: 8,
			LowWater: 0.3, HighWater: 0.7, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute, Warm: 1,
		},
		Load: day(float64(owned) / 8 * 256 * 0.6).Ramped(5 * time.Minute), Slots: 256, Target: 0.7, Least: 1,
		ScaleDownAfter: 5 * time.Minute, Reload: 30 * time.Second, Drain: 2 * time.Second,
	}}
	for i := range nodes {
		home := ""
		if i%4 > 0 {
			home = "serving/chat"
		}
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("node-%04d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}, Home: home})
	}
	var list []sim.Job
	for i := range jobs {
		j := sim.Job{
			Name: fmt.Sprintf("research/job-%05d", i), Tenant: "research", Queue: "research/default", Flavor: "gpu",
			Submit: s.Length * time.Duration(i) / time.Duration(jobs), Duration: time.Duration(1+i%7) * time.Hour, Pods: 1, UnitsPerPod: 1,
			Costs: sim.Costs{CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Exit: 5 * time.Second, Restart: time.Minute, Reshape: 5 * time.Second},
		}
		switch i % 6 {
		case 3:
			j.UnitsPerPod = 8
		case 4:
			j.Pods, j.UnitsPerPod = 2, 8
		case 5:
			j.Pods, j.MinPods = 6, 2
		}
		list = append(list, j)
	}
	s.Jobs = sim.List(list)
	return s
}

// day is a load over a day: a quarter of its peak at night.
func day(peak float64) sim.Curve {
	var c sim.Curve
	for h, share := range []float64{.4, .25, .25, .25, .25, .25, .3, .5, .7, .9, 1, 1, .95, .9, .95, 1, 1, .9, .8, .7, .7, .6, .5, .45} {
		c = append(c, sim.Point{At: time.Duration(h) * time.Hour, Value: peak * share})
	}
	return c
}
