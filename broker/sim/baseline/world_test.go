package baseline

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

const day = 24 * time.Hour

var nan = math.NaN()

// city is some days of two services with a pool beside them, and jobs of two tenants.
func city(nodes, jobs int, length time.Duration) *sim.Scenario {
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: length, Drain: 20 * day, Check: true,
		Cohorts: []lend.Cohort{{Name: "lab"}},
	}
	own := int64(nodes / 5)
	tenant := func(name string, nominal int64) {
		s.Tenants = append(s.Tenants, lend.Tenant{Name: name, Cohort: "lab", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: nominal}}})
	}
	tenant("research", own*3*4)
	tenant("serving", (int64(nodes)-own*3)*8)
	tenant("vision", own*3*4)
	s.Queues = []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}, {Name: "vision/default", Tenant: "vision", Backfill: true}}
	for i, name := range []string{"serving/chat", "serving/code"} {
		var load sim.Curve
		for at := time.Duration(0); at < length+day; at += 10 * time.Minute {
			x := 2 * math.Pi * (at.Hours() + float64(6*i)) / 24
			load = append(load, sim.Point{At: at, Value: float64(own) * 8 * (0.5 + 0.35*math.Sin(x) + 0.05*math.Sin(37*x))})
		}
		s.Services = append(s.Services, sim.Service{
			Lender: lend.Lender{Name: name, Tenant: "serving", Flavor: "gpu", Owned: own * 8, UnitsPerPod: int64(1 + 7*i), MaxGrace: 30 * time.Second, Warm: 8},
			Load:   load, Slots: float64(1 + 7*i), Target: 1, ScaleDownAfter: 5 * time.Minute, Reload: 23 * time.Second, Drain: 2 * time.Second,
		})
	}
	for i := range nodes {
		home := ""
		if i < 2*int(own) {
			home = s.Services[i%2].Lender.Name
		}
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("node-%04d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}, Home: home})
	}
	s.Jobs = sim.List(crowd(jobs, length))
	return s
}

// crowd are jobs of many sizes, spread over a time.
func crowd(n int, length time.Duration) []sim.Job {
	var list []sim.Job
	for i := range n {
		tenant := []string{"research", "vision"}[i%2]
		j := sim.Job{
			Name: fmt.Sprintf("%s/job-%05d", tenant, i), Tenant: tenant, Queue: tenant + "/default", Flavor: "gpu",
			Submit: length / time.Duration(n) * time.Duration(i), Duration: time.Duration(1+i*i%23) * time.Hour,
			Pods: 1, UnitsPerPod: []int64{1, 1, 2, 4, 8}[i%5],
			Costs: sim.Costs{CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Exit: 5 * time.Second, Restart: 40 * time.Second, Reshape: 5 * time.Second},
		}
		if i%11 == 0 {
			j.Pods, j.UnitsPerPod = 2, 8
		}
		if i%7 == 0 {
			j.Pods, j.UnitsPerPod, j.MinPods = 8, 1, 2
		}
		list = append(list, j)
	}
	return list
}

func play(t testing.TB, name string, s *sim.Scenario) *sim.Result {
	t.Helper()
	p, err := New(name, Before(s, min(s.Length, 7*day)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Run(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Two weeks of 200 nodes and 10,000 jobs.
func BenchmarkPolicies(b *testing.B) {
	for _, name := range Names() {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				s := city(200, 10000, 14*day)
				s.Check = false
				r := play(b, name, s)
				b.Logf("%s: lent %.0f own %.0f online %.0f finished %d/%d queue %.0f jct %.0f evict %d shed %d waited %d/%d p99 %.0f short %.4f waste %.4f events %d decisions %d", name,
					r.Lent, r.Own, r.Online, r.Finished, r.Submitted, r.QueueingMean, r.JCTMean, r.Evictions, r.ShedPods, r.OnlineWaited, r.OnlinePods, r.OnlineWait99, r.ShortShare, r.Waste(), r.Events, r.Decisions)
			}
		})
	}
}
