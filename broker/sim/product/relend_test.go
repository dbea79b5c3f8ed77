package product

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// A job that waits for what another one holds begins when that ends, or as much later as
// the next decision is.
func TestWhenReturnedUnitsAreLentAnew(t *testing.T) {
	const lasts = 10 * time.Minute
	for name, c := range map[string]struct{ relend, every, want time.Duration }{
		"at once":                  {0, time.Minute, 0},
		"later":                    {20 * time.Second, time.Minute, 20 * time.Second},
		"not after the next tick":  {2 * time.Minute, time.Minute, time.Minute},
		"below nothing is at once": {-time.Second, time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var lent []time.Time
			p := New(lend.DefaultPolicy(), Options{Relend: c.relend, Every: c.every, Seen: func(in lend.Snapshot, plan lend.Plan) {
				for _, a := range plan.Actions {
					if a.Kind == lend.ActionLend {
						lent = append(lent, in.Now)
					}
				}
			}})
			play(t, turns(lasts), p)
			if len(lent) != 2 {
				t.Fatalf("lent %d times, must be twice", len(lent))
			}
			if got := lent[1].Sub(lent[0]) - lasts; got != c.want {
				t.Errorf("lent anew %s after the first job's end, want %s", got, c.want)
			}
		})
	}
}

// turns has two jobs of which each takes all that an idle service lends.
func turns(lasts time.Duration) *sim.Scenario {
	s := &sim.Scenario{
		Start: monday, Length: time.Hour,
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu"}}},
			{Name: "serving", Cohort: "all", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: 16}}},
		},
		Queues: []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
		Services: []sim.Service{{
			Lender: lend.Lender{
				Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: 16, UnitsPerPod: 8,
				LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute,
			},
			Load: sim.Curve{{}}, Slots: 256, Target: 0.7,
		}},
	}
	var jobs []sim.Job
	for _, name := range []string{"research/first", "research/second"} {
		jobs = append(jobs, sim.Job{
			Name: name, Tenant: "research", Queue: "research/default", Flavor: "gpu", Duration: lasts, Pods: 2, UnitsPerPod: 8,
			Costs: sim.Costs{Grace: 30 * time.Second, Exit: time.Second},
		})
	}
	s.Jobs = sim.List(jobs)
	for _, name := range []string{"node-0", "node-1"} {
		s.Nodes = append(s.Nodes, sim.Node{Name: name, Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}})
	}
	return s
}
