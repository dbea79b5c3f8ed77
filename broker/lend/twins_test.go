package lend

import "testing"

// TestTwins: what is said of jobs of one name is said of each.
func TestTwins(t *testing.T) {
	in := four()
	for _, uid := range []string{"y", "x"} {
		in.Jobs = append(in.Jobs, Job{Name: "research/twin", UID: uid, Tenant: "research", Created: noon, Flavor: "h100", Pods: 1, UnitsPerPod: 1})
	}
	in.Jobs[0].Problem = &Problem{Reason: "UnfitJob", Message: "y"}
	plan, _ := Decide(in, State{}, DefaultPolicy())
	got := map[string]bool{}
	for _, v := range plan.Verdicts {
		if v.Kind == SubjectJob {
			got[v.UID] = v.Reason == "UnfitJob"
		}
	}
	if len(got) != 2 || !got["y"] || got["x"] {
		t.Errorf("verdicts %+v", plan.Verdicts)
	}
}
