package lend

import "testing"

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
