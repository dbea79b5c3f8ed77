package lend

import (
	"fmt"
	"slices"
	"testing"
)

// TestGrantsFitOneLoan: what one Loan cannot hold is refused, not tried again and
// again. Two lenders' units meet on a node, which then has a grant of each.
func TestGrantsFitOneLoan(t *testing.T) {
	for name, test := range map[string]struct {
		pods    int64
		own     bool // the borrower's quota, or else two lenders' units
		perNode int64
		grants  int // 0: refused
		message string
	}{
		"own, as many as a loan holds": {pods: 1024, own: true, perNode: 1, grants: 1024},
		"own, one more": {pods: 1025, own: true, perNode: 1,
			message: "needs 1025 units of h100 (1025 pods of 1); with what is free now that would take 1025 grants by node and lender, and a loan can have 1024"},
		"own, large nodes": {pods: 2048, own: true, perNode: 2, grants: 1024},
		"lent":             {pods: 1023, perNode: 1, grants: 1023},
		"lent, one more": {pods: 1024, perNode: 1,
			message: "needs 1024 units of h100 (1024 pods of 1); with what is free now that would take 1025 grants by node and lender, and a loan can have 1024"},
		"lent, large nodes": {pods: 1200, perNode: 4, grants: 301},
	} {
		t.Run(name, func(t *testing.T) {
			in := Snapshot{
				Now: noon,
				Tenants: []Tenant{
					{Name: "research", Cohort: "lab", Quotas: []Quota{{Flavor: "h100"}}},
					{Name: "serving", Cohort: "lab", Quotas: []Quota{{Flavor: "h100", Nominal: 10000}}},
				},
				Queues: []Queue{{Name: "research/default", Tenant: "research", Backfill: true}},
				Jobs: []Job{{
					Name: "research/big", UID: "big", Tenant: "research", Queue: "research/default",
					Flavor: "h100", Pods: test.pods, UnitsPerPod: 1,
				}},
			}
			for i := range 1200 {
				in.Nodes = append(in.Nodes, Node{
					Name: fmt.Sprintf("gpu-%04d", i), Schedulable: true, Units: []Units{{Flavor: "h100", Capacity: test.perNode}},
				})
			}
			if test.own {
				in.Tenants[0].Quotas[0].Nominal, in.Tenants[1].Quotas[0].Nominal = 10000, 0
			} else {
				in.Tenants[1].Quotas[0].Nominal = 1204
				for _, name := range []string{"serving/a", "serving/b"} {
					in.Lenders = append(in.Lenders, Lender{Name: name, Tenant: "serving", Flavor: "h100", Owned: 602, UnitsPerPod: 1, LowWater: 0.3, HighWater: 0.7, Load: Load{Known: true, ObservedAt: noon, Coverage: 1}})
				}
			}
			plan, _ := Decide(in, State{At: in.Now}, DefaultPolicy())
			i := slices.IndexFunc(plan.Verdicts, func(v Verdict) bool { return v.Kind == SubjectJob })
			verdict := plan.Verdicts[i]
			if test.grants == 0 {
				if len(plan.Actions) != 0 || verdict.Reason != ReasonNoRoomForGang || verdict.Message != test.message {
					t.Errorf("got %d actions, %+v", len(plan.Actions), verdict)
				}
				return
			}
			if len(plan.Actions) != 1 || len(plan.Actions[0].Grants) != test.grants {
				t.Fatalf("got %d actions, %+v", len(plan.Actions), verdict)
			}
		})
	}
}
