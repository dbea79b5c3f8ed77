package lend

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
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

// Of slices and into slices that draw on no GPU's quota nothing is made, and what was made
// before that was so goes back when nobody has it.
func TestSlicesOfNothingAreNotReshaped(t *testing.T) {
	for name, test := range map[string]struct {
		change func(f *Flavor)
		makes  bool
	}{
		"all draw on the GPUs' quota": {func(*Flavor) {}, true},
		"none does":                   {func(f *Flavor) { f.SliceOf = "" }, false},
		"what they would be made of does not": {func(f *Flavor) {
			if f.Name == "a100-1g" {
				f.SliceOf = ""
			}
		}, false},
		"nor does it, and others draw on its quota": {func(f *Flavor) {
			if f.SliceOf = "a100-1g"; f.Name == "a100-1g" {
				f.SliceOf = ""
			}
		}, false},
		"what they would be made into does not": {func(f *Flavor) {
			if f.Name != "a100-1g" {
				f.SliceOf = ""
			}
		}, false},
	} {
		in, state := sliced(4)
		made := madeOne()
		for _, s := range []*Snapshot{&in, &made} {
			s.Flavors = slices.Clone(s.Flavors)
			for i := range s.Flavors {
				test.change(&s.Flavors[i])
			}
			for i := range s.Tenants {
				s.Tenants[i].Quotas = slices.Clone(s.Tenants[i].Quotas)
				for k := range s.Tenants[i].Quotas {
					q := &s.Tenants[i].Quotas[k]
					q.Nominal = max(q.Nominal, 100)
				}
			}
		}
		plan, _ := Decide(in, state, DefaultPolicy())
		if n := makes(plan); (n > 0) != test.makes {
			t.Errorf("%s: %d units go into others", name, n)
		}
		made.Loans = nil
		made.Jobs = []Job{{Name: "research/big", UID: "u", Tenant: "research", Queue: "research/q", Flavor: "a100-4g", Pods: 1, UnitsPerPod: 1, Created: noon}}
		made.Nodes[0].Cards[0].Instances[0].Use, made.Nodes[0].Cards[0].Instances[0].Owner = mig.Idle, ""
		plan, _ = Decide(made, State{At: noon.Add(-5 * time.Second)}, DefaultPolicy())
		if undone := len(plan.Reshapes) == 1 && plan.Reshapes[0].Kind == ReshapeUndo; undone == test.makes {
			t.Errorf("%s: %s", name, encode(plan.Reshapes))
		}
	}
}
