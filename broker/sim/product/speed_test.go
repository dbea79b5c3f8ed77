package product

import (
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// steps is a day of a service whose replicas follow a schedule: of 70 nodes it needs 17 at
// night, in steps like those that DeepSeek published of its fleet.
func steps() *sim.Scenario {
	const nodes = 70
	s := &sim.Scenario{
		Start: monday, Length: 24 * time.Hour,
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu"}}},
			{Name: "serving", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: 8 * nodes}}},
		},
		Queues: []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
	}
	var wanted sim.Curve
	for _, p := range []struct {
		at    time.Duration
		nodes float64
	}{{0, 55}, {75 * time.Minute, 47}, {2 * time.Hour, 40}, {165 * time.Minute, 32}, {3 * time.Hour, 25}, {210 * time.Minute, 17},
		{390 * time.Minute, 25}, {7 * time.Hour, 32}, {450 * time.Minute, 47}, {8 * time.Hour, 55}, {510 * time.Minute, 70}} {
		wanted = append(wanted, sim.Point{At: p.at, Value: p.nodes})
	}
	s.Services = []sim.Service{{
		Lender: lend.Lender{
			Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: 8 * nodes, UnitsPerPod: 8,
			LowWater: 0.8, HighWater: 0.95, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute,
		},
		Load: wanted, Replicas: wanted, Reload: time.Minute, Drain: 5 * time.Second,
	}}
	for i := range nodes {
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("node-%04d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}})
	}
	var list []sim.Job
	for i := range 1200 {
		j := sim.Job{
			Name: fmt.Sprintf("research/job-%05d", i), Tenant: "research", Queue: "research/default", Flavor: "gpu",
			Submit: time.Duration(i) * 72 * time.Second, Duration: time.Duration(20+i%11*20) * time.Minute, Pods: 1, UnitsPerPod: 1,
			Costs: sim.Costs{CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Exit: 5 * time.Second, Restart: 40 * time.Second},
		}
		if i%6 == 5 {
			j.UnitsPerPod = 8
		}
		list = append(list, j)
	}
	s.Jobs = sim.List(list)
	return s
}

// before is a week of such days.
func before(s *sim.Scenario) map[string]sim.Curve {
	var past sim.Curve
	for d := range 8 {
		for _, p := range s.Services[0].Load {
			past = append(past, sim.Point{At: p.At - time.Duration(8-d)*24*time.Hour, Value: p.Value})
		}
	}
	return map[string]sim.Curve{s.Services[0].Lender.Name: past}
}

// BenchmarkADay plays a day of 70 nodes of 8 whose week before is known.
func BenchmarkADay(b *testing.B) {
	for b.Loop() {
		s, o := steps(), Defaults()
		o.Learn = before(s)
		r, err := sim.Run(s, New(lend.DefaultPolicy(), o), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.Lent, "lent-unit-hours")
		b.ReportMetric(float64(r.Decisions), "decisions")
		b.ReportMetric(float64(r.Evictions), "evictions")
	}
}
