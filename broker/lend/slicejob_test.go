package lend

import (
	"strings"
	"testing"
	"time"
)

// Whoever takes units back without the broker knows from the change itself how long the way
// back takes.
func TestReshapeTellsItsUndo(t *testing.T) {
	in, state := sliced(4)
	plan, _ := Decide(in, state, DefaultPolicy())
	made := 0
	for _, a := range plan.Reshapes {
		if a.Kind != ReshapeMake {
			continue
		}
		if made++; a.Undo != time.Second {
			t.Errorf("undoing %s takes %s", a.ID, a.Undo)
		}
	}
	if made == 0 {
		t.Error("nothing is reshaped")
	}
}

// One slice is for one worker: several in a pod are refused, by whatever the flavor is known
// to be of slices, for loans and on own quota; several GPUs are not, nor are several pods.
func TestSeveralSlicesInPodAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		flavor      []Flavor
		pods, units int64
		nominal     int64
		want        string
	}{
		"two in a pod, on own quota":  {[]Flavor{{Name: "f", SliceOf: "gpu", Compute: 1, Memory: 1, Profile: "1g.5gb"}}, 1, 2, 0, ReasonSeveralSlices},
		"two pods of one":             {[]Flavor{{Name: "f", SliceOf: "gpu", Compute: 1, Memory: 1, Profile: "1g.5gb"}}, 2, 1, 0, ReasonWithinNominal},
		"drawing on quota is enough":  {[]Flavor{{Name: "f", SliceOf: "gpu", Compute: 1, Memory: 1}}, 1, 2, 0, ReasonSeveralSlices},
		"so is being a profile":       {[]Flavor{{Name: "f", Profile: "1g.5gb"}}, 1, 2, 2, ReasonSeveralSlices},
		"two GPUs in a pod":           {nil, 1, 2, 2, ReasonWithinNominal},
		"two GPUs that are also cut":  {[]Flavor{{Name: "g", SliceOf: "f", Compute: 1, Memory: 1}}, 1, 2, 2, ReasonWithinNominal},
		"none in a pod is worse yet":  {[]Flavor{{Name: "f", Profile: "1g.5gb"}}, 1, 0, 2, ReasonNoRoomForGang},
		"two pods of one, no sliceOf": {[]Flavor{{Name: "f", Profile: "1g.5gb"}}, 2, 1, 2, ReasonWithinNominal},
	} {
		in := Snapshot{
			Now: noon, Flavors: test.flavor,
			Tenants: []Tenant{{Name: "lab", Quotas: []Quota{{Flavor: "f", Nominal: test.nominal}, {Flavor: "gpu", Nominal: 1}}}},
			Queues:  []Queue{{Name: "lab/q", Tenant: "lab"}},
			Nodes:   []Node{{Name: "n", Schedulable: true, Units: []Units{{Flavor: "f", Capacity: 4}}}},
			Jobs:    []Job{{Name: "lab/j", UID: "u", Tenant: "lab", Queue: "lab/q", Flavor: "f", Pods: test.pods, UnitsPerPod: test.units, Created: noon}},
		}
		plan, _ := Decide(in, State{}, DefaultPolicy())
		if v := plan.Verdicts[0]; v.Reason != test.want || v.Reason == ReasonSeveralSlices && !strings.Contains(v.Message, "asks for 2 units of f in each pod") {
			t.Errorf("%s: %+v, want %s", name, v, test.want)
		}
		if lent := len(actions(plan, ActionLend)); (lent == 1) != (test.want == ReasonWithinNominal) {
			t.Errorf("%s: %d loans", name, lent)
		}
	}
}
