package lend

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// chain are pod sizes of which each divides the next, for which fits is exact.
var chain = []int64{1, 2, 4, 8}

// dice makes the random choices of a world. They are even, unlike rapid's own,
// which favour small numbers and so make worlds in which little happens; rapid
// draws the seed and the length, and shrinks the length.
type dice struct{ *rand.Rand }

func roll(t *rapid.T) dice {
	return dice{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))}
}

// upTo is a number from 0 to n.
func (r dice) upTo(n int64) int64 { return r.Int64N(max(n, 0) + 1) }

func pick[T any](r dice, from ...T) T { return from[r.IntN(len(from))] }

// drawWorld makes a random cluster whose promises its nodes can keep, idle enough
// at first that its lenders lend.
func drawWorld(r dice) *world {
	w := newWorld()
	w.policy.UnknownGrace, w.policy.UnknownStep = 40*time.Second, 20*time.Second
	w.policy.MinimumLoan, w.policy.StartWithin = 40*time.Second, 40*time.Second
	w.policy.EvictionBudget, w.policy.EvictionWindow = 3, 5*time.Minute
	w.policy.StableWindow, w.policy.FlapBudget, w.policy.FlapWindow = 15*time.Second, 3, 4*time.Minute
	nodes := 1 + r.IntN(5)
	for i := range nodes {
		w.nodes = append(w.nodes, Node{
			Name: fmt.Sprintf("n%d", i+1), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}, LendLast: int32(r.IntN(2)),
		})
	}
	left := int64(8 * nodes)
	nominal := map[string]int64{}
	for i := range 1 + r.IntN(3) {
		s := drawService(r, fmt.Sprintf("online/s%d", i), left)
		left -= s.Owned
		nominal[s.Tenant] += s.Owned
		w.lenders = append(w.lenders, s)
	}
	nominal["research"] = r.upTo(left)
	for _, name := range []string{"lab", "research", "search", "serving"} {
		w.tenants = append(w.tenants, Tenant{Name: name, Cohort: "all", Quotas: []Quota{{
			Flavor: "h100", Nominal: nominal[name], BorrowingLimit: drawLimit(r), LendingLimit: drawLimit(r),
		}}})
		w.queues = append(w.queues, Queue{Name: name + "/q", Tenant: name, FIFO: r.IntN(2) == 0, Backfill: r.IntN(4) > 0})
	}
	w.schedule()
	for range 3 + r.IntN(4) {
		w.submit(r)
	}
	for range 6 {
		w.decide()
		w.step(5 * time.Second)
	}
	return w
}

func drawService(r dice, name string, left int64) *service {
	size := pick(r, chain...)
	pods := r.upTo(left / size)
	return &service{coverage: 1, util: 0.05, Lender: Lender{
		Name: name, Tenant: pick(r, "serving", "search"), Flavor: "h100", Owned: pods * size, UnitsPerPod: size,
		Desired:  r.upTo(pods / 2),
		LowWater: 0.3, HighWater: 0.7, Dwell: 20 * time.Second, Cooldown: 30 * time.Second, MaxGrace: 20 * time.Second,
		Warm: r.upTo(3), Advise: r.IntN(10) == 0, Notice: time.Duration(r.IntN(60)) * time.Second,
		Steps: Steps{LendUnits: pick[int64](r, 0, 0, 1, 4), LendEvery: 10 * time.Second, LendAfter: pick(r, 0, 0, 15*time.Second)},
		Scale: pick(r, nil, nil, nil, &Scale{Min: 1, Max: pods}), Refill: pick(r, "", RefillAlways, RefillWhenUsed, RefillWhenUsed),
	}}
}

func drawLimit(r dice) *int64 {
	if r.IntN(3) > 0 {
		return nil
	}
	n := r.upTo(16)
	return &n
}

// disturb lets something happen.
func (w *world) disturb(r dice) {
	s := pick(r, w.lenders...)
	switch pick(r, "load", "load", "scale", "scale", "job", "job", "unknown", "known", "known", "signal", "partial", "outlook", "outlook",
		"finish", "preempt", "cordon", "lose", "restart", "nothing", "nothing") {
	case "load":
		s.util = pick(r, 0, 0.05, 0.1, 0.2, 0.29, 0.4, 0.6, 0.75, 1.2)
		s.panic = s.util * pick[float64](r, 0, 1, 1, 2, 5)
	case "scale":
		s.Desired = r.upTo(s.Owned/s.UnitsPerPod + 1)
	case "job":
		w.submit(r)
	case "unknown":
		s.util = -1
	case "known":
		s.util, s.panic, s.age, s.coverage, s.signals = 0.1, 0, 0, 1, nil
		s.Forecast, s.Floors, s.Hold, s.Prepare = nil, nil, nil, nil
	case "signal":
		s.signals = []Signal{{Name: "queue", Value: pick[float64](r, 1, 6, 30), Low: 5, High: 20, PerReplica: pick[float64](r, 0, 0, 4), Rising: r.yes()}}
	case "outlook":
		w.foresee(r, s)
	case "partial":
		s.age = time.Duration(r.IntN(100)-10) * time.Second
		s.coverage = pick(r, 0.5, 0.9, 1)
	default:
		w.upset(r)
	}
}

// foresee changes what is known of a service beside its load.
func (w *world) foresee(r dice, s *service) {
	switch whole := 100 * float64(s.Owned) / float64(s.UnitsPerPod); pick(r, "forecast", "floor", "hold", "prepare", "prepared") {
	case "forecast":
		s.Forecast = &Forecast{
			Season: r.Float64() * whole, Growth: 1 + r.Float64(), Dispersion: pick[float64](r, 0, 1, 4, 9), Scatter: pick[float64](r, 0, 4, 90), Floor: pick(r, 0, r.Float64()*whole),
		}
	case "floor":
		from := w.now.Add(time.Duration(r.IntN(200)-20) * time.Second)
		s.Floors = []Floor{{Name: "schedule[0]", Units: r.upTo(s.Owned + 1), From: from, Until: from.Add(time.Minute), Lead: time.Duration(r.IntN(20)) * time.Second}}
	case "hold":
		s.Hold = pick(r, nil, &Problem{Reason: "RollingOut"})
	case "prepare":
		s.Prepare = &Preparation{}
	case "prepared":
		s.Prepare = pick(r, nil, &Preparation{Done: true})
	}
}

// upset is what happens to jobs, nodes and the broker.
func (w *world) upset(r dice) {
	var l *Loan
	if len(w.loans) > 0 {
		l = pick(r, w.loans...)
	}
	n := &w.nodes[r.IntN(len(w.nodes))]
	switch what := pick(r, "finish", "finish", "preempt", "preempt", "stall", "cordon", "stop", "lose", "restart", "nothing"); {
	case what == "finish" && l != nil:
		l.Finished = true
		w.training(l.Job).finished = true
	case what == "preempt" && l != nil && !l.Reclaiming:
		l.Preempted = true
	case what == "stall" && l != nil:
		l.Bound = r.upTo(l.Pods)
	case what == "cordon":
		n.Schedulable = !n.Schedulable
	case what == "stop":
		u := &n.Units[0]
		u.Capacity, u.Broken = u.Broken, u.Capacity
	case what == "lose" && len(w.nodes) > 1 && r.IntN(3) == 0:
		w.nodes = w.nodes[:len(w.nodes)-1]
	case what == "restart" && r.IntN(2) == 0:
		w.state = State{}
		w.epoch++
	}
}

func (w *world) submit(r dice) {
	if len(w.jobs) >= 16 {
		return
	}
	tenant := pick(r, w.tenants...).Name
	w.jobs = append(w.jobs, &training{
		stops: time.Duration(r.IntN(60)) * time.Second, lingers: r.IntN(4) == 0,
		Job: Job{
			Name: fmt.Sprintf("%s/j%02d", tenant, len(w.jobs)), UID: fmt.Sprintf("u%02d", len(w.jobs)), Tenant: tenant,
			Queue: tenant + "/q", Priority: int32(r.IntN(3)), Created: w.now, Flavor: "h100",
			Pods: 1 + r.upTo(2), UnitsPerPod: pick(r, chain...),
		},
	})
}

// drive runs a random cluster and calls check on every decision. The world is as
// it was before the plan was applied; after it runs applied.
func drive(t *rapid.T, check func(t *rapid.T, w *world, before State, in Snapshot, plan Plan), applied func(t *rapid.T, w *world)) {
	r := roll(t)
	w := drawWorld(r)
	for range rapid.IntRange(10, 60).Draw(t, "ticks") {
		w.disturb(r)
		w.step(time.Duration(pick(r, 1, 5, 5, 5, 10, 30)) * time.Second)
		before := w.state
		in := w.snapshot()
		plan, next := Decide(in, w.state, w.policy)
		w.state = next
		check(t, w, before, in, plan)
		w.enact(plan)
		if applied != nil {
			applied(t, w)
		}
	}
}

func lenderIn(in Snapshot, name string) *Lender {
	for i := range in.Lenders {
		if in.Lenders[i].Name == name {
			return &in.Lenders[i]
		}
	}
	return nil
}

func loanIn(in Snapshot, name string) *Loan {
	for i := range in.Loans {
		if in.Loans[i].Name == name {
			return &in.Loans[i]
		}
	}
	return nil
}

func actions(plan Plan, kind ActionKind) []Action {
	return slices.DeleteFunc(slices.Clone(plan.Actions), func(a Action) bool { return a.Kind != kind })
}

func lentTo(l *Loan) bool {
	return slices.ContainsFunc(l.Grants, func(g Grant) bool { return g.Lender != "" })
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // the test world holds no number that JSON cannot
	}
	return string(data)
}

// roll1 makes the same choices every time.
func roll1(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 1))} }
