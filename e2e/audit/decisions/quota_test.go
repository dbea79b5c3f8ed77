package decisions

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// wanted is a decision about two teams of 8 units each: biology holds all 16, in a
// loan of its own and one that it borrows, and a job of physics wants 8.
func wanted() lend.Record {
	in := lend.Snapshot{
		Now: now, Epoch: 1,
		Tenants: []lend.Tenant{
			{Name: "biology", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 8}}},
			{Name: "physics", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "h100", Nominal: 8}}},
		},
		Queues: []lend.Queue{
			{Name: "biology/default", Tenant: "biology", Backfill: true},
			{Name: "physics/default", Tenant: "physics", Backfill: true},
		},
		Jobs: []lend.Job{{
			Name: "physics/mine", UID: "mine", Tenant: "physics", Queue: "physics/default", Created: now,
			Flavor: "h100", Pods: 1, UnitsPerPod: 8,
		}},
	}
	for i, lender := range []string{"", lend.CohortLender("lab")} {
		node := fmt.Sprintf("n%d", i)
		in.Nodes = append(in.Nodes, lend.Node{Name: node, Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}})
		in.Loans = append(in.Loans, lend.Loan{
			Name: fmt.Sprintf("biology/l%d", i), Job: fmt.Sprintf("biology/j%d", i), JobUID: fmt.Sprintf("j%d", i),
			Borrower: "biology", Queue: "biology/default", Attempt: 1, Pods: 1, Live: 1, Bound: 1,
			Grants: []lend.Grant{{Lender: lender, Node: node, Flavor: "h100", Count: 8}},
			Since:  now.Add(-time.Hour), Checkpoint: now,
		})
	}
	r := lend.Record{Snapshot: in, Policy: lend.DefaultPolicy()}
	r.Plan, _ = lend.Decide(r.Snapshot, r.State, r.Policy)
	return r
}

func TestTakingBackForQuotaIsLawful(t *testing.T) {
	r := wanted()
	if a := reclaimIn(&r); a.Loan != "biology/l1" || a.Reason != lend.ReasonOwnerWants || a.ReclaimedFor != "mine" {
		t.Fatalf("the plan is %+v, want that biology/l1 is asked back for its owner", r.Plan.Actions)
	}
	got := audit(t, r)
	if len(got.Violations)+len(got.Needless)+len(got.Differing) > 0 {
		t.Errorf("%+v: want nothing found", got)
	}
}

// Each way of taking back for quota that must not be has its negative control.
func TestTakingBackForQuotaUnlawfully(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*lend.Record)
		want   string
	}{
		"for nobody":            {func(r *lend.Record) { r.Snapshot.Jobs = nil }, "for a job that does not wait"},
		"another's own quota":   {func(r *lend.Record) { reclaimIn(r).Loan = "biology/l0" }, "is use of its own quota"},
		"an equal of a tenant":  {func(r *lend.Record) { r.Snapshot.Jobs[0].Tenant = "biology" }, "which has no higher priority"},
		"units of another kind": {func(r *lend.Record) { r.Snapshot.Jobs[0].Flavor = "a100" }, "holds nothing of a100"},
		"a queue that is open": {func(r *lend.Record) {
			a := reclaimIn(r)
			a.ReclaimedFor, a.Reason = "", lend.ReasonQueueDraining
		}, "which it is not"},
		"a second time": {func(r *lend.Record) {
			first := r.Snapshot.Loans[1]
			first.Name, first.JobUID, first.Reclaiming, first.ReclaimedFor = "biology/l2", "j2", true, "mine"
			r.Snapshot.Loans = append(r.Snapshot.Loans, first)
		}, "have not gone"},
	} {
		t.Run(name, func(t *testing.T) {
			r := wanted()
			tc.change(&r)
			got := audit(t, r)
			if !slices.ContainsFunc(got.Violations, func(f Finding) bool { return f.Law == 5 && strings.Contains(f.Text, tc.want) }) {
				t.Errorf("violations %v, want one of law 5 with %q", got.Violations, tc.want)
			}
		})
	}
}

func TestBorrowingFromAnothersCohortIsFound(t *testing.T) {
	r := wanted()
	r.Plan.Actions = []lend.Action{{
		Kind: lend.ActionLend, Loan: "physics/x", Job: "physics/mine", JobUID: "mine",
		Grants: []lend.Grant{{Lender: lend.CohortLender("elsewhere"), Node: "n0", Flavor: "h100", Count: 8}},
	}}
	got := audit(t, r)
	if !slices.ContainsFunc(got.Violations, func(f Finding) bool { return f.Law == 9 && strings.Contains(f.Text, "which tenant physics is not in") }) {
		t.Errorf("violations %v, want one of law 9", got.Violations)
	}
}
