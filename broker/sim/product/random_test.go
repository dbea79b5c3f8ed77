package product

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// dice makes the random choices of a scenario, evenly.
type dice struct{ *rand.Rand }

func roll(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 1))} }

func pick[T any](r dice, from ...T) T { return from[r.IntN(len(from))] }

func (r dice) upTo(n int64) int64 { return r.Int64N(max(n, 0) + 1) }

func (r dice) between(a, b time.Duration) time.Duration {
	return a + time.Duration(r.Int64N(int64(b-a)))
}

// small is a random scenario of about an hour and a handful of nodes, whose promises the nodes
// can keep. calm ones have no failures and no load that is not known.
func small(seed uint64, calm bool) *sim.Scenario {
	r := roll(seed)
	s := &sim.Scenario{
		Start: monday.Add(r.between(0, 24*time.Hour)).Truncate(time.Second), Seed: seed,
		Length: r.between(20*time.Minute, 70*time.Minute).Truncate(time.Minute), Drain: pick(r, 0, time.Hour), Points: 3,
		Sample: pick(r, 0, 0, 5*time.Second, 30*time.Second), Gap: pick(r, 0, 0, 0, 20*time.Second),
	}
	nodes := 2 + r.IntN(6)
	left := int64(8 * nodes)
	nominal := map[string]int64{}
	for i := range 1 + r.IntN(3) {
		v := r.service(fmt.Sprintf("online/s%d", i), left, s.Length, calm)
		if v.Lender.Owned == 0 {
			continue
		}
		left -= v.Lender.Owned
		nominal[v.Lender.Tenant] += v.Lender.Owned
		s.Services = append(s.Services, v)
	}
	nominal["research"], nominal["lab"] = r.upTo(left), 0
	for i := range nodes {
		n := sim.Node{Name: fmt.Sprintf("n%d", i+1), Units: []sim.NodeUnits{{Flavor: "h100", Count: 8}}}
		if len(s.Services) > 0 && r.IntN(2) == 0 {
			n.Home = pick(r, s.Services...).Lender.Name
		}
		s.Nodes = append(s.Nodes, n)
	}
	for _, name := range []string{"lab", "research", "search", "serving"} {
		s.Tenants = append(s.Tenants, lend.Tenant{Name: name, Cohort: "all", Quotas: []lend.Quota{{
			Flavor: "h100", Nominal: nominal[name], BorrowingLimit: r.limit(), LendingLimit: r.limit(),
		}}})
		s.Queues = append(s.Queues, lend.Queue{Name: name + "/q", Tenant: name, FIFO: r.IntN(2) == 0, Backfill: r.IntN(4) > 0})
	}
	if !calm && r.IntN(2) == 0 {
		s.Failures = sim.Failures{Every: r.between(2*time.Hour, 10*time.Hour), Repair: r.between(time.Minute, time.Hour)}
	}
	s.Jobs = sim.List(r.jobs(s.Length))
	return s
}

func (r dice) limit() *int64 {
	if r.IntN(3) > 0 {
		return nil
	}
	n := r.upTo(16)
	return &n
}

func (r dice) service(name string, left int64, length time.Duration, calm bool) sim.Service {
	size := pick[int64](r, 1, 2, 4, 8)
	pods := r.upTo(left / size)
	v := sim.Service{
		Lender: lend.Lender{
			Name: name, Tenant: pick(r, "serving", "search"), Flavor: "h100", Owned: pods * size, UnitsPerPod: size,
			LowWater: pick(r, 0.3, 0.5), HighWater: pick(r, 0.6, 0.8), Dwell: r.between(0, 6*time.Minute), Cooldown: r.between(0, 6*time.Minute),
			MaxGrace: r.between(0, 2*time.Minute), Warm: r.upTo(2), Advise: r.IntN(12) == 0,
			Refill: pick(r, "", lend.RefillWhenUsed),
			Steps:  lend.Steps{LendUnits: pick[int64](r, 0, 0, 2, 4), LendEvery: time.Minute, LendAfter: pick(r, 0, 0, 3*time.Minute)},
		},
		Slots: pick[float64](r, 4, 64), Target: 0.7, Least: r.upTo(1), ScaleDownAfter: pick(r, 0, time.Minute, 5*time.Minute),
		Reload: r.between(0, 90*time.Second), Drain: r.between(0, 20*time.Second),
	}
	full := float64(pods) * v.Slots
	for at := time.Duration(0); at < length; at += r.between(time.Minute, 15*time.Minute).Truncate(time.Second) {
		load := full * pick(r, 0, 0.05, 0.1, 0.2, 0.25, 0.4, 0.6, 0.8, 1.1)
		if !calm && r.IntN(12) == 0 {
			load = math.NaN()
		}
		v.Load = append(v.Load, sim.Point{At: at, Value: load})
	}
	if r.IntN(3) == 0 {
		v.Load = v.Load.Ramped(time.Minute)
	}
	return v
}

func (r dice) jobs(length time.Duration) []sim.Job {
	var list []sim.Job
	for i := range 5 + r.IntN(60) {
		tenant := pick(r, "lab", "research", "research", "search")
		j := sim.Job{
			Name: fmt.Sprintf("%s/j%03d", tenant, i), Tenant: tenant, Queue: tenant + "/q", Priority: int32(r.IntN(3)), Flavor: "h100",
			Submit: r.between(0, length).Truncate(time.Second), Duration: r.between(time.Minute, time.Hour).Truncate(time.Second),
			Pods: 1 + r.upTo(3), UnitsPerPod: pick[int64](r, 1, 1, 2, 8),
			Costs: sim.Costs{
				CheckpointEvery: pick(r, 0, 5*time.Minute, 15*time.Minute), SaveTakes: pick(r, 0, 20*time.Second), Grace: r.between(0, 2*time.Minute),
				Exit: r.between(0, time.Minute), Restart: r.between(0, 90*time.Second), Reshape: pick(r, 0, 5*time.Second),
			},
		}
		if j.Pods > 1 && r.IntN(2) == 0 {
			j.MinPods = 1 + r.upTo(j.Pods-2)
		}
		list = append(list, j)
	}
	slices.SortStableFunc(list, func(a, b sim.Job) int { return int(a.Submit - b.Submit) })
	return list
}

// rules are the documented ones, quick enough to come to bear within an hour.
func (r dice) rules() lend.Policy {
	p := lend.DefaultPolicy()
	p.MinimumLoan, p.ReserveAfter = r.between(0, 6*time.Minute), r.between(time.Minute, 10*time.Minute)
	p.EvictionBudget, p.EvictionWindow = 2, r.between(5*time.Minute, time.Hour)
	p.FlapBudget, p.FlapWindow = 3, r.between(10*time.Minute, time.Hour)
	p.UnknownGrace, p.UnknownStep = 2*time.Minute, 30*time.Second
	return p
}
