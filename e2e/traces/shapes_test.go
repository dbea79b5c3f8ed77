package traces_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

// cluster is the production cluster at night: one service for each GPU model
// owns all units of it and is scaled to zero.
func cluster(t *testing.T) lend.Snapshot {
	t.Helper()
	nodes, err := traces.OpenbNodes()
	if err != nil {
		t.Fatal(err)
	}
	in := lend.Snapshot{
		Now: time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC), Epoch: 1,
		Tenants: []lend.Tenant{{Name: "research", Cohort: "lab"}, {Name: "serving", Cohort: "lab"}},
		Queues:  []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
	}
	owned, replica := map[string]int64{}, map[string]int64{}
	for _, n := range nodes {
		in.Nodes = append(in.Nodes, lend.Node{
			Name: n.Name, Schedulable: true, Units: []lend.Units{{Flavor: n.Model, Capacity: n.GPUs}},
		})
		owned[n.Model] += n.GPUs
		replica[n.Model] = max(replica[n.Model], n.GPUs)
	}
	for model, units := range owned {
		in.Tenants[0].Quotas = append(in.Tenants[0].Quotas, lend.Quota{Flavor: model})
		in.Tenants[1].Quotas = append(in.Tenants[1].Quotas, lend.Quota{Flavor: model, Nominal: units})
		in.Lenders = append(in.Lenders, lend.Lender{
			Name: "serving/" + model, Tenant: "serving", Flavor: model, Owned: units, UnitsPerPod: replica[model],
			LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute,
			Load: lend.Load{Known: true, ObservedAt: in.Now},
		})
	}
	for i := range in.Tenants {
		slices.SortFunc(in.Tenants[i].Quotas, func(a, b lend.Quota) int { return cmp.Compare(a.Flavor, b.Flavor) })
	}
	slices.SortFunc(in.Nodes, func(a, b lend.Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(in.Lenders, func(a, b lend.Lender) int { return cmp.Compare(a.Name, b.Name) })
	return in
}

// jobs are the first of the trace, dealt out to the models in turn. A job of
// more units than the model's largest node has is a gang of whole nodes.
func jobs(t *testing.T, in *lend.Snapshot, n int) {
	t.Helper()
	all, err := traces.ITPJobs()
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range all[:n] {
		model := in.Lenders[i%len(in.Lenders)]
		units := min(j.GPUs, model.UnitsPerPod)
		in.Jobs = append(in.Jobs, lend.Job{
			Name: fmt.Sprintf("research/itp-%04d", i), UID: fmt.Sprintf("%04d", i), Tenant: "research", Queue: "research/default",
			Created: in.Now.Add(j.Submit - all[n-1].Submit), Flavor: model.Flavor, Pods: (j.GPUs + units - 1) / units, UnitsPerPod: units,
		})
	}
}

// Machines of one, two, four and eight GPUs and gangs as they were submitted: the
// core lends on them, nothing twice and nothing that the owners would miss, and
// takes back all that replicas fit on when every service wakes up.
func TestLendingOnAProductionCluster(t *testing.T) {
	in := cluster(t)
	jobs(t, &in, 400)
	policy := lend.DefaultPolicy()
	// A broker that has run for long: one that has just started lends nothing.
	plan, state := lend.Decide(in, lend.State{At: in.Now.Add(-5 * time.Second)}, policy)
	gangs, waiting := map[string]lend.Job{}, in.Jobs
	for _, j := range in.Jobs {
		gangs[j.UID] = j
	}
	in.Jobs = nil
	for _, a := range plan.Actions {
		if a.Kind != lend.ActionLend {
			t.Fatalf("%s %s at night", a.Kind, a.Loan)
		}
		j := gangs[a.JobUID]
		in.Loans = append(in.Loans, lend.Loan{
			Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: "research", Queue: j.Queue, Pods: j.Pods, Grants: a.Grants,
			Since: in.Now, Checkpoint: in.Now, Grace: time.Minute, Live: j.Pods,
		})
	}
	slices.SortFunc(in.Loans, func(a, b lend.Loan) int { return cmp.Compare(a.Name, b.Name) })
	var lent, owned int64
	for _, v := range plan.Lenders {
		lent, owned = lent+v.Lent, owned+v.Owned
	}
	t.Logf("%d of %d jobs on %d of %d units", len(in.Loans), len(waiting), lent, owned)
	if len(in.Loans) == 0 || len(in.Loans) == len(waiting) {
		t.Errorf("%d of %d jobs were admitted, want some and not all", len(in.Loans), len(waiting))
	}
	for _, v := range lend.CheckLaws(in) {
		t.Errorf("law %d: %s: %s", v.Law, v.Subject, v.Message)
	}

	in.Now = in.Now.Add(time.Hour)
	for i := range in.Lenders {
		l := &in.Lenders[i]
		l.Desired = l.Owned / l.UnitsPerPod
	}
	plan, _ = lend.Decide(in, state, policy)
	left := map[string]lend.Loan{}
	for _, l := range in.Loans {
		left[l.Name] = l
	}
	for _, a := range plan.Actions {
		if _, open := left[a.Loan]; !open || a.Kind != lend.ActionReclaim {
			t.Fatalf("%s %s in the morning", a.Kind, a.Loan)
		}
		delete(left, a.Loan)
	}
	stays := map[string]int64{} // by node
	for _, l := range left {
		for _, g := range l.Grants {
			stays[g.Node] += g.Count
		}
	}
	replicas := func(l *lend.Lender, held map[string]int64) (n int64) {
		for _, node := range in.Nodes {
			if u := node.Units[0]; u.Flavor == l.Flavor {
				n += (u.Capacity - held[node.Name]) / l.UnitsPerPod
			}
		}
		return n
	}
	for i := range in.Lenders {
		if l := &in.Lenders[i]; replicas(l, stays) != replicas(l, nil) {
			t.Errorf("%s finds room for %d replicas, %d without loans", l.Name, replicas(l, stays), replicas(l, nil))
		}
	}
	t.Logf("%d loans are asked back, %d hold what no replica fits on", len(plan.Actions), len(left))
}
