package product

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/mig"
)

const board = "A100-40GB"

// cuttings are slices of A100s as flavors.
func cuttings() []lend.Flavor {
	return []lend.Flavor{
		{Name: "a100"},
		{Name: "a100-1g", SliceOf: "a100", Compute: 1, Memory: 1, Profile: "1g.5gb"},
		{Name: "a100-2g", SliceOf: "a100", Compute: 2, Memory: 2, Profile: "2g.10gb"},
		{Name: "a100-3g", SliceOf: "a100", Compute: 3, Memory: 4, Profile: "3g.20gb"},
	}
}

// gpus is a quota of so many GPUs, whole or in slices.
func gpus(n int) []lend.Quota {
	return []lend.Quota{{Flavor: "a100", Nominal: int64(n)}, {Flavor: "a100-1g"}, {Flavor: "a100-2g"}, {Flavor: "a100-3g"}}
}

// cut is a scenario of nodes with two cards of seven small slices each, which a service owns
// and may have made into larger ones.
func cut(seed uint64) *sim.Scenario {
	r := roll(seed)
	nodes := 1 + r.IntN(3)
	s := &sim.Scenario{
		Start: monday, Length: r.between(30*time.Minute, 80*time.Minute).Truncate(time.Minute), Check: true, ReshapeTakes: pick(r, 0, 5*time.Second, 30*time.Second),
		Flavors: cuttings(),
		Tenants: []lend.Tenant{
			{Name: "research", Cohort: "all", Quotas: gpus(0)},
			{Name: "serving", Cohort: "all", Quotas: gpus(2 * nodes)},
		},
		Queues: []lend.Queue{{Name: "research/q", Tenant: "research", Backfill: true}},
	}
	for i := range nodes {
		n := sim.Node{Name: fmt.Sprintf("n%d", i)}
		for k := range 2 {
			n.Cards = append(n.Cards, sevenths(fmt.Sprintf("GPU-%d-%d", i, k), r.IntN(3)))
		}
		s.Nodes = append(s.Nodes, n)
	}
	owned := int64(14 * nodes)
	s.Services = []sim.Service{{
		Lender: lend.Lender{
			Name: "serving/chat", Tenant: "serving", Flavor: "a100-1g", Owned: owned, UnitsPerPod: 1,
			LowWater: 0.4, HighWater: 0.8, Dwell: r.between(0, 3*time.Minute), Cooldown: time.Minute, MaxGrace: r.between(30*time.Second, 2*time.Minute),
			MIG: &lend.MIGRules{Reshape: true, MinTrough: r.between(0, 5*time.Minute)},
		},
		Slots: 10, Target: 0.7, ScaleDownAfter: time.Minute, Reload: 10 * time.Second, Drain: time.Second,
	}}
	v := &s.Services[0]
	for at := time.Duration(0); at < s.Length; at += r.between(5*time.Minute, 40*time.Minute).Truncate(time.Second) {
		v.Load = append(v.Load, sim.Point{At: at, Value: 10 * float64(owned) * pick(r, 0.05, 0.1, 0.1, 0.2, 0.3, 0.6)})
	}
	var jobs []sim.Job
	for i := range 5 + r.IntN(20) {
		jobs = append(jobs, sim.Job{
			Name: fmt.Sprintf("research/j%03d", i), Tenant: "research", Queue: "research/q", Flavor: pick(r, "a100-1g", "a100-2g", "a100-3g", "a100-3g"),
			Submit: r.between(0, s.Length).Truncate(time.Second), Duration: r.between(time.Minute, time.Hour).Truncate(time.Second),
			Pods: 1 + r.upTo(1), UnitsPerPod: 1, Costs: sim.Costs{CheckpointEvery: 10 * time.Minute, Grace: 30 * time.Second, Exit: 5 * time.Second},
		})
	}
	slices.SortStableFunc(jobs, func(a, b sim.Job) int { return int(a.Submit - b.Submit) })
	s.Jobs = sim.List(jobs)
	return s
}

// sevenths is a card of seven small slices, so many of them pinned.
func sevenths(uuid string, pinned int) sim.Card {
	g, _ := mig.Board(board)
	p, _ := g.ProfileOf("nvidia.com/mig-1g.5gb")
	c := sim.Card{UUID: uuid, Board: board}
	for i := range 7 {
		c.Slices = append(c.Slices, sim.Slice{Placed: mig.Placed{Profile: p.ID, Start: i}, Pinned: i < pinned})
	}
	return c
}

// Slices are made into others, lent and given back. No law is broken on the way.
func TestSlicesAreReshaped(t *testing.T) {
	made, undone, lent := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		o := Defaults()
		o.Seen = func(in lend.Snapshot, plan lend.Plan) {
			for _, v := range lend.CheckLaws(in) {
				t.Fatalf("at %s the core is shown what cannot be: %+v", in.Now, v)
			}
			for _, r := range plan.Reshapes {
				switch r.Kind {
				case lend.ReshapeMake:
					made++
				case lend.ReshapeUndo:
					undone++
				}
			}
			for _, a := range plan.Actions {
				if a.Kind == lend.ActionLend && a.Grants[0].Flavor == "a100-3g" {
					lent++
				}
			}
		}
		rules := roll(seed).rules()
		if _, err := sim.Run(cut(seed), New(rules, o), nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d changes were made, %d undone; %d jobs got slices that were made", made, undone, lent)
	if made == 0 || undone == 0 || lent == 0 {
		t.Error("slices that are never made and undone show nothing")
	}
}
