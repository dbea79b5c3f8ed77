package lend

import (
	"testing"
	"time"
)

// promisee is a tenant with a queue and what it was promised.
type promisee struct {
	name    string
	nominal int64
}

// shared are two nodes of 8 units, shared by tenants of a cohort that has more of its own.
func shared(more int64, tenants ...promisee) Snapshot {
	in := Snapshot{Now: noon, Epoch: 1, Cohorts: []Cohort{{Name: "all", Quotas: []Quota{{Flavor: "h100", Nominal: more}}}}}
	for _, node := range []string{"n0", "n1"} {
		in.Nodes = append(in.Nodes, Node{Name: node, Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}})
	}
	for _, t := range tenants {
		in.Tenants = append(in.Tenants, Tenant{Name: t.name, Cohort: "all", Quotas: []Quota{{Flavor: "h100", Nominal: t.nominal}}})
		in.Queues = append(in.Queues, Queue{Name: t.name + "/q", Tenant: t.name, Backfill: true})
	}
	return in
}

// wait has a job of one pod wait that is named like its tenant.
func (s *Snapshot) wait(tenant string, units int64, since time.Time) {
	s.Jobs = append(s.Jobs, Job{
		Name: tenant + "/j", UID: tenant, Tenant: tenant, Queue: tenant + "/q", Created: since, Flavor: "h100", Pods: 1, UnitsPerPod: units,
	})
}

// lent has the guest borrow units of a node for an hour.
func (s *Snapshot) lent(node string, units int64) *Loan {
	s.Loans = append(s.Loans, Loan{
		Name: "guest/" + node, Job: "guest/" + node, JobUID: node, Borrower: "guest", Queue: "guest/q", Pods: 1, Live: 1, Bound: 1,
		Since: noon.Add(-time.Hour), Grants: []Grant{{Lender: CohortLender("all"), Node: node, Flavor: "h100", Count: units}},
	})
	return &s.Loans[len(s.Loans)-1]
}

func expecting(uid string, ago time.Duration) JobState {
	return JobState{UID: uid, Asked: noon.Add(-ago), Expecting: true}
}

// What is kept for a job that asked units back and has waited for long is kept once: its
// promise and its reservation are the same units.
func TestPromisedAndReservedIsKeptOnce(t *testing.T) {
	in := shared(0, promisee{"owner", 16}, promisee{"guest", 0})
	in.wait("owner", 8, noon.Add(-time.Hour))
	in.wait("guest", 4, noon)
	in.lent("n0", 4)
	back := in.lent("n1", 8)
	back.Reclaiming, back.ReclaimBy, back.ReclaimID, back.ReclaimedFor = true, noon.Add(time.Minute), "r", "owner"
	plan, _ := Decide(in, State{At: noon.Add(-time.Second), Jobs: []JobState{expecting("owner", time.Minute)}}, DefaultPolicy())
	if len(plan.Actions) != 1 || plan.Actions[0].JobUID != "guest" {
		t.Errorf("%+v, want the guest to start where the owner's job has no room", plan.Actions)
	}
}

// Two asked units back, all came, and by now there is quota for one alone: who asked first
// starts, whatever is kept for the other one and, since it has waited for long, for itself.
func TestWhoAskedFirstStartsAlone(t *testing.T) {
	in := shared(8, promisee{"late", 0}, promisee{"early", 0})
	in.wait("late", 8, noon.Add(-time.Hour))
	in.wait("early", 8, noon.Add(-time.Hour))
	state := State{At: noon.Add(-time.Second), Jobs: []JobState{expecting("late", time.Minute), expecting("early", 2*time.Minute)}}
	plan, _ := Decide(in, state, DefaultPolicy())
	if len(plan.Actions) != 1 || plan.Actions[0].JobUID != "early" {
		t.Errorf("%+v, want the first to start", plan.Actions)
	}
}
