package lend

import (
	"fmt"
	"testing"
	"time"
)

// What the scheduler has promised to a pod is nobody else's, also while what it was
// taken from is still there.
func TestPromisedUnitsAreNotGiven(t *testing.T) {
	in := Snapshot{
		Now: noon, Epoch: 1,
		Nodes:   []Node{{Name: "n0", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}}},
		Tenants: []Tenant{{Name: "a", Quotas: []Quota{{Flavor: "h100", Nominal: 16}}}},
		Queues:  []Queue{{Name: "a/q", Tenant: "a", Backfill: true}},
		Jobs:    []Job{{Name: "a/j", UID: "j", Tenant: "a", Queue: "a/q", Created: noon, Flavor: "h100", Pods: 1, UnitsPerPod: 4}},
	}
	for promised, want := range map[int64]int{4: 1, 5: 0, 8: 0} {
		in.Nodes[0].Units[0].Promised = promised
		if plan, _ := Decide(in, State{}, DefaultPolicy()); len(plan.Actions) != want {
			t.Errorf("with %d of 8 units promised a job of 4: %+v, want %d actions", promised, plan.Actions, want)
		}
		if broken := CheckLaws(in); len(broken) > 0 {
			t.Errorf("broken laws: %v", broken)
		}
	}
}

// A job that waits for nothing of its own takes nothing from who asked before it, in exchange
// for what comes back for who asked after it: of 8 units for the first, 4 are free and 4 come
// in a second, and what comes for the last, more than it needs, in an hour.
func TestWhatComesForTheLastIsNotTheFirsts(t *testing.T) {
	coming := func(name, node, job string, units int64, grace time.Duration) Loan {
		return Loan{
			Name: "guest/" + name, Job: "guest/" + name, JobUID: name, Borrower: "guest", Queue: "guest/q", Pods: 1, Live: 1, Bound: 1,
			Since: noon.Add(-time.Hour), Grants: []Grant{{Lender: CohortLender("all"), Node: node, Flavor: "h100", Count: units}},
			Reclaiming: true, ReclaimBy: noon.Add(grace), ReclaimID: "r", ReclaimedFor: job,
		}
	}
	in := Snapshot{
		Now: noon, Epoch: 1, Cohorts: []Cohort{{Name: "all"}},
		Loans: []Loan{coming("x", "n1", "a", 4, time.Second), coming("y", "n2", "c", 8, time.Hour)},
	}
	for i, units := range []int64{4, 4, 8} {
		in.Nodes = append(in.Nodes, Node{Name: fmt.Sprintf("n%d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: units}}})
	}
	state := State{At: noon.Add(-time.Second)}
	for i, asked := range []struct {
		name string
		pods int64
	}{{"a", 2}, {"b", 1}, {"c", 1}} {
		in.Tenants = append(in.Tenants, Tenant{Name: asked.name, Cohort: "all", Quotas: []Quota{{Flavor: "h100", Nominal: 4 * asked.pods}}})
		in.Queues = append(in.Queues, Queue{Name: asked.name + "/q", Tenant: asked.name, Backfill: true})
		in.Jobs = append(in.Jobs, Job{
			Name: asked.name + "/j", UID: asked.name, Tenant: asked.name, Queue: asked.name + "/q", Created: noon.Add(-time.Hour),
			Flavor: "h100", Pods: asked.pods, UnitsPerPod: 4,
		})
		state.Jobs = append(state.Jobs, JobState{UID: asked.name, Asked: noon.Add(time.Duration(i-9) * time.Second), Expecting: true})
	}
	in.Tenants = append(in.Tenants, Tenant{Name: "guest", Cohort: "all", Quotas: []Quota{{Flavor: "h100"}}})
	in.Queues = append(in.Queues, Queue{Name: "guest/q", Tenant: "guest", Backfill: true})
	if plan, _ := Decide(in, state, DefaultPolicy()); len(plan.Actions) != 0 {
		t.Errorf("%+v, want none", plan.Actions)
	}
	in.Loans = in.Loans[1:]
	if plan, _ := Decide(in, state, DefaultPolicy()); len(plan.Actions) != 1 || plan.Actions[0].JobUID != "a" {
		t.Errorf("once it has come: %+v, want the first to start alone", plan.Actions)
	}
}
