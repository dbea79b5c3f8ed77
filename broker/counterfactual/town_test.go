package counterfactual

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// town is a cluster that is decided on again and again, by a seed.
type town struct {
	in    lend.Snapshot
	state lend.State
	pol   lend.Policy
}

type dice struct{ *rand.Rand }

func (r dice) upTo(n int64) int64 { return r.Int64N(max(n, 0) + 1) }

func pick[T any](r dice, from ...T) T { return from[r.IntN(len(from))] }

// sizes of a town.
type sizes struct{ nodes, lenders, jobs int }

// newTown is one of random services and jobs. Every service is of one of three tenants, and
// so is every job; what is in whose way differs.
func newTown(seed uint64, of sizes) *town {
	r := dice{rand.New(rand.NewPCG(seed, 3))}
	t := &town{pol: lend.DefaultPolicy(), state: lend.State{At: now.Add(-15 * time.Second)}}
	t.in = lend.Snapshot{Now: now, Epoch: 1, Cohorts: []lend.Cohort{{Name: "lab", Quotas: []lend.Quota{{Flavor: "h100", BorrowingLimit: limit(r)}}}}}
	free := map[string]int64{}
	for i := range of.nodes {
		flavor := pick(r, "h100", "h100", "h100", "a100")
		name := fmt.Sprintf("gpu-%04d", i)
		t.in.Nodes = append(t.in.Nodes, lend.Node{Name: name, Schedulable: r.IntN(20) > 0, Units: []lend.Units{{Flavor: flavor, Capacity: 8}}})
		free[flavor] += 8
	}
	tenants := []string{"research", "serving", "vision"}
	nominal := map[string]int64{}
	for i := range of.lenders {
		owner, size := pick(r, tenants...), pick[int64](r, 1, 2, 4, 8)
		pods := r.upTo(free["h100"] / int64(of.lenders) / size)
		l := lend.Lender{
			Name: fmt.Sprintf("%s/s%03d", owner, i), Tenant: owner, Flavor: "h100", Owned: pods * size, UnitsPerPod: size,
			Desired: pods / 3, LowWater: 0.3, HighWater: 0.7, Dwell: time.Duration(r.IntN(10)) * time.Minute, Cooldown: time.Duration(r.IntN(10)) * time.Minute,
			MaxGrace: time.Minute, Warm: r.upTo(1), Advise: r.IntN(4) == 0,
			Load: lend.Load{Known: r.IntN(16) > 0, ObservedAt: now, Coverage: 1, Slots: 10},
		}
		l.Load.Requests = pick(r, 0, 0.01, 0.05, 0.1, 0.25, 0.9) * l.Load.Slots * float64(pods)
		if r.IntN(6) == 0 {
			l.Hold = &lend.Problem{Reason: lend.ReasonPaused, Message: "spec.paused is true"}
		}
		l.Running = t.run(&l)
		l.Ready = l.Running
		nominal[owner] += l.Owned
		t.in.Lenders = append(t.in.Lenders, l)
		m := lend.LenderState{Name: l.Name}
		if r.IntN(3) > 0 {
			m.LowSince = now.Add(-time.Duration(r.IntN(15)) * time.Minute)
		}
		if r.IntN(3) == 0 {
			m.LastReclaim = now.Add(-time.Duration(r.IntN(15)) * time.Minute)
		}
		t.state.Lenders = append(t.state.Lenders, m)
	}
	for _, name := range tenants {
		own := nominal[name] + r.upTo(8)
		t.in.Tenants = append(t.in.Tenants, lend.Tenant{Name: name, Cohort: pick(r, "lab", "lab", "lab", "lab", "lab", ""), Quotas: []lend.Quota{
			{Flavor: "a100", Nominal: r.upTo(free["a100"] / 3)},
			{Flavor: "h100", Nominal: own, BorrowingLimit: limit(r), LendingLimit: limit(r)},
		}})
		t.in.Queues = append(t.in.Queues, lend.Queue{Name: name + "/q", Tenant: name, FIFO: r.IntN(3) == 0, Backfill: r.IntN(3) > 0, Paused: r.IntN(10) == 0})
	}
	slices.SortFunc(t.in.Lenders, func(a, b lend.Lender) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.state.Lenders, func(a, b lend.LenderState) int { return strings.Compare(a.Name, b.Name) })
	for i := range of.jobs {
		owner := pick(r, tenants...)
		t.in.Jobs = append(t.in.Jobs, lend.Job{
			Name: fmt.Sprintf("%s/j%04d", owner, i), UID: fmt.Sprintf("u%04d", i), Tenant: owner, Queue: owner + "/q",
			Priority: int32(r.IntN(3)), Created: now.Add(-time.Duration(r.IntN(40)) * time.Minute), Flavor: pick(r, "h100", "h100", "h100", "a100"),
			Pods: 1 + r.upTo(5), UnitsPerPod: pick[int64](r, 1, 2, 4, 8),
		})
	}
	return t
}

func limit(r dice) *int64 {
	if r.IntN(2) > 0 {
		return nil
	}
	n := r.upTo(24)
	return &n
}

// run puts the replicas that are wanted on nodes, and says how many there is room for.
func (t *town) run(l *lend.Lender) (running int64) {
	for i := range t.in.Nodes {
		for u := &t.in.Nodes[i].Units[0]; running < l.Desired && u.Flavor == l.Flavor && u.Online+l.UnitsPerPod <= u.Capacity; running++ {
			u.Online += l.UnitsPerPod
		}
	}
	return running
}

// decide carries out one decision as a cluster would in which pods start and go at once, and
// lets time pass.
func (t *town) decide(after time.Duration) lend.Plan {
	plan, next := lend.Decide(t.in, t.state, t.pol)
	t.state = next
	t.in.Jobs, t.in.Loans = slices.Clone(t.in.Jobs), slices.Clone(t.in.Loans)
	for _, a := range plan.Actions {
		switch a.Kind {
		case lend.ActionLend:
			at, _ := find(&t.in, a.JobUID)
			j := t.in.Jobs[at]
			t.in.Jobs = slices.Delete(t.in.Jobs, at, at+1)
			t.in.Loans = append(t.in.Loans, lend.Loan{
				Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue, Priority: j.Priority, Attempt: a.Attempt,
				Pods: j.Pods, UnitsPerPod: j.UnitsPerPod, Grants: a.Grants, Since: t.in.Now, Checkpoint: t.in.Now, Grace: 30 * time.Second, Live: j.Pods, Bound: j.Pods,
			})
		case lend.ActionReturn:
			t.in.Loans = slices.DeleteFunc(t.in.Loans, func(l lend.Loan) bool { return l.Name == a.Loan })
		case lend.ActionReclaim:
			for i := range t.in.Loans {
				if l := &t.in.Loans[i]; l.Name == a.Loan {
					l.Reclaiming, l.ReclaimBy, l.ReclaimID, l.Live = true, a.ReclaimBy, a.ReclaimID, 0
				}
			}
		}
	}
	slices.SortFunc(t.in.Loans, func(a, b lend.Loan) int { return strings.Compare(a.Name, b.Name) })
	t.in.Now = t.in.Now.Add(after)
	t.in.Lenders = slices.Clone(t.in.Lenders)
	for i := range t.in.Lenders {
		t.in.Lenders[i].Load.ObservedAt = t.in.Now
	}
	return plan
}

// settled is a town after some decisions, with jobs that wait for what they cannot have.
func settled(seed uint64, of sizes) *town {
	t := newTown(seed, of)
	for range 4 {
		t.decide(20 * time.Second)
	}
	return t
}
