package mig_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/mig"
)

func TestCheck(t *testing.T) {
	a100 := only(t, "A100-40GB")
	old := a100.BeforeR510()
	rtx := only(t, "RTX-PRO-6000-96GB")
	a30 := only(t, "A30-24GB")
	for name, tc := range map[string]struct {
		board *mig.Geometry
		set   []mig.Placed
		at    int // which instance is to blame
		rule  mig.Rule
		text  string
	}{
		"nothing":                {&a100, nil, 0, "", ""},
		"the reference example":  {&a100, []mig.Placed{{Profile: 3, Start: 0}, {Start: 4}, {Start: 5}, {Start: 6}}, 0, "", ""},
		"order does not matter":  {&a100, []mig.Placed{{Start: 6}, {Profile: 3, Start: 0}, {Start: 4}}, 0, "", ""},
		"no such profile":        {&a100, []mig.Placed{{Start: 6}, {Profile: 8, Start: 0}}, 1, mig.RuleProfile, "profile 8 at slot 0"},
		"a 1g at slot 7":         {&a100, []mig.Placed{{Start: 7}}, 0, mig.RuleStart, "1g.5gb at slot 7: it may begin at [0 1 2 3 4 5 6] only"},
		"below 0":                {&a100, []mig.Placed{{Start: -1}}, 0, mig.RuleStart, "slot -1"},
		"a 2g at slot 6":         {&a100, []mig.Placed{{Profile: 1, Start: 6}}, 0, mig.RuleStart, "2g.10gb at slot 6"},
		"overlap":                {&a100, []mig.Placed{{Profile: 2, Start: 4}, {Start: 7 - 1}}, 1, mig.RuleOverlap, "1g.5gb at slot 6: it overlaps 3g.20gb at slot 4"},
		"the same twice":         {&a100, []mig.Placed{{Start: 2}, {Start: 2}}, 1, mig.RuleOverlap, "overlaps 1g.5gb at slot 2"},
		"two with media engines": {&a100, []mig.Placed{{Profile: 7, Start: 0}, {Profile: 7, Start: 1}}, 1, mig.RuleMax, "it is number 2, and the board allows 1"},
		"4g beside 3g":           {&a100, []mig.Placed{{Profile: 3, Start: 0}, {Profile: 2, Start: 4}}, 0, "", ""},
		"4g beside 3g, R470":     {&old, []mig.Placed{{Profile: 3, Start: 0}, {Profile: 2, Start: 4}}, 1, mig.RuleApart, "3g.20gb at slot 4: the driver does not allow it together with 4g.20gb at slot 0"},
		"3g beside 3g, R470":     {&old, []mig.Placed{{Profile: 2, Start: 0}, {Profile: 2, Start: 4}}, 0, "", ""},
		"all media engines once": {&rtx, []mig.Placed{{Profile: 15, Start: 0}, {Profile: 13, Start: 3}, {Profile: 14, Start: 6}}, 0, "", ""},
		"one engine too many":    {&rtx, []mig.Placed{{Profile: 15, Start: 0}, {Profile: 0, Start: 3}}, 1, mig.RuleEngines, "1g.24gb at slot 3: instances would have 5 decoders, and the GPU has 4"},
		"one JPEG decoder":       {&a30, []mig.Placed{{Profile: 7, Start: 0}, {Profile: 8, Start: 2}}, 1, mig.RuleEngines, "2 JPEG decoders, and the GPU has 1"},
	} {
		err := tc.board.Check(tc.set)
		if tc.rule == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var broken *mig.RuleError
		if !errors.As(err, &broken) || broken.Rule != tc.rule || broken.At != tc.set[tc.at] || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for want, edit := range map[string]func(*mig.Geometry){
		"slots: 17 is not from 1 to 16":                    func(g *mig.Geometry) { g.Slots = 17 },
		"slots: 0 is not from 1 to 16":                     func(g *mig.Geometry) { g.Slots = 0 },
		"2g.10gb: memory: 0 is not at least 1":             func(g *mig.Geometry) { g.Profiles[1].Memory = 0 },
		"2g.10gb: id: 0 is that of 1g.5gb":                 func(g *mig.Geometry) { g.Profiles[1].ID = 0 },
		"1g.5gb: id: -1 is not from 0":                     func(g *mig.Geometry) { g.Profiles[0].ID = -1 },
		"3g.20gb: starts: 5 with 4 slots is not within 8":  func(g *mig.Geometry) { g.Profiles[2].Starts[1] = 5 },
		"3g.20gb: starts: -1 with 4 slots is not within 8": func(g *mig.Geometry) { g.Profiles[2].Starts[0] = -1 },
		"3g.20gb: starts: 0 is listed twice":               func(g *mig.Geometry) { g.Profiles[2].Starts[1] = 0 },
		"places are more than 64":                          func(g *mig.Geometry) { manyPlaces(g) },
	} {
		g := only(t, "A100-40GB")
		edit(&g)
		err := g.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
			continue
		}
		if _, planned := mig.NewTable(&g).PlanGPU(mig.GPU{}, nil); planned == nil || !strings.Contains(planned.Error(), want) {
			t.Errorf("a plan gives %v", planned)
		}
	}
}

func manyPlaces(g *mig.Geometry) {
	for id := range mig.ProfileID(10) {
		g.Profiles = append(g.Profiles, mig.Profile{ID: 20 + id, Memory: 1, Max: 1, Starts: []int{0, 1, 2, 3, 4, 5, 6, 7}})
	}
}

func TestEnumerate(t *testing.T) {
	g := only(t, "A100-40GB", 0, 1, 2, 3, 4)
	fixed := []mig.Placed{{Start: 5}, {Start: 4}}
	for _, set := range sets(&g, fixed...) {
		if set[0] != fixed[0] || set[1] != fixed[1] || g.Check(set) != nil {
			t.Fatalf("%v", set)
		}
	}
	if got := sets(&g, mig.Placed{Start: 5}, mig.Placed{Start: 5}); got != nil {
		t.Errorf("beside what the board does not allow there is %v", got)
	}
	n := 0
	g.Enumerate(nil, func([]mig.Placed) bool { n++; return n < 5 })
	if n != 5 {
		t.Errorf("it went on for %d sets", n)
	}
}
