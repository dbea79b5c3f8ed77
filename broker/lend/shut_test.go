package lend

import (
	"fmt"
	"testing"
	"time"
)

// A lender may have units to lend and still lack the whole node that its next
// replica needs. While a loan is taken back for it, it lends to nobody.
func TestNoLendWhileUnitsAreAskedBack(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	in := Snapshot{
		Now: now,
		Tenants: []Tenant{
			{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}},
			{Name: "serving", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 32}}},
		},
		Queues: []Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
		Lenders: []Lender{{
			Name: "serving/chat", Tenant: "serving", Flavor: "h100",
			Owned: 32, UnitsPerPod: 8, Desired: 2, Running: 1, Ready: 1,
			LowWater: 0.3, HighWater: 0.7, Cooldown: time.Minute, MaxGrace: time.Minute,
			Load: Load{Known: true, ObservedAt: now, Coverage: 1, Requests: 1, Slots: 10},
		}},
		Jobs: []Job{{
			Name: "research/next", UID: "next", Tenant: "research", Queue: "research/default",
			Created: now, Flavor: "h100", Pods: 1, UnitsPerPod: 4,
		}},
	}
	for i := range 4 {
		node := Node{Name: fmt.Sprintf("n%d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: 8}}}
		if i == 0 {
			node.Units[0].Online = 8
		} else {
			in.Loans = append(in.Loans, Loan{
				Name: fmt.Sprintf("research/l%d", i), Job: fmt.Sprintf("research/j%d", i), JobUID: fmt.Sprintf("j%d", i),
				Borrower: "research", Queue: "research/default", Pods: 1, Bound: 1, Live: 1,
				Grants: []Grant{{Lender: "serving/chat", Node: node.Name, Flavor: "h100", Count: 4}},
				Since:  now.Add(-time.Hour), Checkpoint: now.Add(-time.Hour),
			})
		}
		in.Nodes = append(in.Nodes, node)
	}
	plan, _ := Decide(in, State{}, DefaultPolicy())
	counts := map[ActionKind]int{}
	for _, a := range plan.Actions {
		counts[a.Kind]++
	}
	if counts[ActionReclaim] != 1 || counts[ActionLend] != 0 {
		t.Errorf("%d reclaims and %d lends, want 1 and none: %+v", counts[ActionReclaim], counts[ActionLend], plan.Actions)
	}
	if plan.Lenders[0].Lendable != 0 {
		t.Errorf("%d units are lendable, want none", plan.Lenders[0].Lendable)
	}
}
