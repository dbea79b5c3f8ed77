package lend

import (
	"slices"
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

// who lists the jobs of which there are such actions.
func who(plan Plan, kind ActionKind) (out []string) {
	for _, a := range actions(plan, kind) {
		out = append(out, a.JobUID)
	}
	return out
}

// again has a job like the last one wait.
func (s *Snapshot) again(uid string, units int64, priority int32, since time.Time) {
	j := s.Jobs[len(s.Jobs)-1]
	j.Name, j.UID, j.UnitsPerPod, j.Priority, j.Created = j.Tenant+"/"+uid, uid, units, priority, since
	s.Jobs = append(s.Jobs, j)
}

// A reservation ends when its job starts: the next of its queue that has waited for long has
// one in the same decision.
func TestReservationPassesToTheNext(t *testing.T) {
	in := shared(16, promisee{"late", 0}, promisee{"early", 0}, promisee{"guest", 0})
	in.wait("late", 8, noon.Add(-2*time.Minute))
	in.wait("early", 4, noon.Add(-time.Hour))
	in.again("next", 8, 0, noon.Add(-40*time.Minute))
	in.again("new", 4, 0, noon)
	in.lent("n0", 4)
	in.lent("n1", 4)
	state := State{At: noon.Add(-time.Second), Jobs: []JobState{expecting("late", time.Minute), expecting("early", 2*time.Minute)}}
	p := DefaultPolicy()
	p.FairPreemption = nil
	plan, _ := Decide(in, state, p)
	if got := who(plan, ActionLend); !slices.Equal(got, []string{"early"}) {
		t.Errorf("%v start, want early alone: a node is for the next", got)
	}
}

// promisedItsOwn: its tenant's loan has ended, and the job that has waited longest asked for
// units some time ago.
func promisedItsOwn(ago time.Duration, n2 int64) (Snapshot, State) {
	in := shared(16, promisee{"a", 8}, promisee{"guest", 0})
	in.Nodes = append(in.Nodes, Node{Name: "n2", Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}})
	in.wait("a", 8, noon.Add(-3*time.Hour))
	in.lent("n1", 8)
	in.lent("n2", n2)
	in.Loans = append(in.Loans, Loan{
		Name: "a/old", Job: "a/old", JobUID: "old", Borrower: "a", Queue: "a/q", Pods: 1, Live: 1, Bound: 1, Finished: true,
		Since: noon.Add(-time.Hour), Grants: []Grant{{Node: "n0", Flavor: "h100", Count: 8}},
	})
	return in, State{At: noon.Add(-time.Second), Jobs: []JobState{expecting("a", ago)}}
}

// A job for which units were asked back is tried before others, but who is before it in its
// queue does not wait for its reservation.
func TestWhoIsAheadIsNotBehindWhoAsked(t *testing.T) {
	for priority, since := range map[int32]time.Time{100: noon, 0: noon.Add(-4 * time.Hour)} {
		in, state := promisedItsOwn(time.Minute, 4)
		in.again("ahead", 4, priority, since)
		plan, _ := Decide(in, state, DefaultPolicy())
		if got := who(plan, ActionLend); !slices.Equal(got, []string{"ahead"}) {
			t.Errorf("of priority %d since %s: %v start, want who is ahead", priority, since, got)
		}
	}
}

// A job that could ask again, and to which what it needs comes without, takes nothing from
// anybody.
func TestWhatComesFreeIsPromisedOnce(t *testing.T) {
	for _, ago := range []time.Duration{time.Minute, 2 * time.Hour} {
		in, state := promisedItsOwn(ago, 8)
		if plan, _ := Decide(in, state, DefaultPolicy()); len(plan.Actions) != 0 {
			t.Errorf("asked %s ago: %+v, want nothing", ago, plan.Actions)
		}
	}
}

// A job to which what it needs seems to come for ever, while nothing is asked back for it any
// more, waits in its place: its queue, in which nobody passes another, goes on before it.
func TestWhatNeverComesKeepsNobodyAhead(t *testing.T) {
	in, state := promisedItsOwn(2*time.Hour, 4)
	in.Loans = in.Loans[:2]
	in.Nodes[0].Units[0].Online, in.Nodes[0].Units[0].Leaving = 8, 8
	for i := range in.Queues {
		in.Queues[i].Backfill = false
	}
	in.again("high", 4, 100, noon)
	if plan, _ := Decide(in, state, DefaultPolicy()); !slices.Equal(who(plan, ActionLend), []string{"high"}) {
		t.Errorf("%+v, want high to start", plan.Actions)
	}
}
