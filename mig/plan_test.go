package mig_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
)

// gpu is a GPU with instances that are written as profile, start and use.
func gpu(instances ...mig.Instance) mig.GPU {
	for i := range instances {
		instances[i].Generation = 1
	}
	return mig.GPU{UUID: "GPU-0", Instances: instances}
}

func in(profile mig.ProfileID, start int, use mig.Use) mig.Instance {
	return mig.Instance{Placed: mig.Placed{Profile: profile, Start: start}, Use: use}
}

func at(profile mig.ProfileID, start int) mig.Placed {
	return mig.Placed{Profile: profile, Start: start}
}

func TestPlanGPU(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	badPins := gpu(in(0, 0, mig.Pinned), in(0, 1, mig.Idle), in(0, 2, mig.Idle), in(0, 3, mig.Pinned), in(0, 4, mig.Idle), in(0, 5, mig.Pinned), in(0, 6, mig.Idle))
	for name, tc := range map[string]struct {
		gpu             mig.GPU
		demands         []mig.Demand
		destroy, create []mig.Placed
		unmet           []mig.Demand
	}{
		"a long trough: four 1g become one 4g": {sevenths(), []mig.Demand{{Profile: 3, Count: 1}},
			[]mig.Placed{at(0, 0), at(0, 1), at(0, 2), at(0, 3)}, []mig.Placed{at(3, 0)}, nil},
		"idle ones count":            {sevenths(), []mig.Demand{{Profile: 0, Count: 4}}, nil, nil, nil},
		"pinned ones do not":         {sevenths(), []mig.Demand{{Profile: 0, Count: 5}}, nil, nil, []mig.Demand{{Profile: 0, Count: 1}}},
		"no demand":                  {sevenths(), nil, nil, nil, nil},
		"none of a profile":          {sevenths(), []mig.Demand{{Profile: 3}}, nil, nil, nil},
		"both, though it costs more": {sevenths(), []mig.Demand{{Profile: 1, Count: 1}, {Profile: 0, Count: 2}}, []mig.Placed{at(0, 0), at(0, 1)}, []mig.Placed{at(1, 0)}, nil},
		"the heavier of two":         {sevenths(), []mig.Demand{{Profile: 0, Count: 4}, {Profile: 3, Count: 1, Weight: 5}}, []mig.Placed{at(0, 0), at(0, 1), at(0, 2), at(0, 3)}, []mig.Placed{at(3, 0)}, []mig.Demand{{Profile: 0, Count: 4}}},
		"the lighter stay unmet":     {gpu(in(3, 0, mig.Busy), in(0, 4, mig.Idle)), []mig.Demand{{Profile: 0, Count: 2}, {Profile: 0, Count: 2, Weight: 2}}, nil, []mig.Placed{at(0, 5), at(0, 6)}, []mig.Demand{{Profile: 0, Count: 1}}},
		"badly placed pins":          {badPins, []mig.Demand{{Profile: 3, Count: 1}}, nil, nil, []mig.Demand{{Profile: 3, Count: 1}}},
		"a 2g between them":          {badPins, []mig.Demand{{Profile: 1, Count: 1}}, nil, nil, []mig.Demand{{Profile: 1, Count: 1}}},
		// The pin at 6 keeps 3g from the right half; so that is where the 2g goes.
		"the half that is of no other use": {gpu(in(0, 6, mig.Pinned)), []mig.Demand{{Profile: 1, Count: 1}}, nil, []mig.Placed{at(1, 4)}, nil},
		// Idle slices that nobody asks for do not make their slots worse.
		"the same with idle ones there": {gpu(in(0, 0, mig.Idle), in(0, 1, mig.Idle), in(0, 2, mig.Idle), in(0, 3, mig.Idle), in(0, 4, mig.Idle), in(0, 5, mig.Idle), in(0, 6, mig.Pinned)),
			[]mig.Demand{{Profile: 1, Count: 1}}, []mig.Placed{at(0, 4), at(0, 5)}, []mig.Placed{at(1, 4)}, nil},
		"a remnant counts for nothing":     {gpu(in(3, 0, mig.Remnant), in(2, 4, mig.Busy)), []mig.Demand{{Profile: 3, Count: 1}}, []mig.Placed{at(3, 0)}, []mig.Placed{at(3, 0)}, nil},
		"a remnant elsewhere is left":      {gpu(in(2, 4, mig.Remnant)), []mig.Demand{{Profile: 3, Count: 1}}, nil, []mig.Placed{at(3, 0)}, nil},
		"what somebody else made stays":    {gpu(in(0, 0, mig.Foreign)), []mig.Demand{{Profile: 3, Count: 1}}, nil, nil, []mig.Demand{{Profile: 3, Count: 1}}},
		"a use that nobody knows stays":    {gpu(in(0, 0, "Borrowed")), []mig.Demand{{Profile: 4, Count: 1}}, nil, nil, []mig.Demand{{Profile: 4, Count: 1}}},
		"the one with engines has to move": {gpu(in(7, 0, mig.Idle)), []mig.Demand{{Profile: 7, Count: 1}, {Profile: 3, Count: 1}}, []mig.Placed{at(7, 0)}, []mig.Placed{at(3, 0), at(7, 6)}, nil},
	} {
		plan, err := table.PlanGPU(tc.gpu, tc.demands)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := mig.Plan{GPU: "GPU-0", Base: mig.Fingerprint(tc.gpu.Instances), Create: tc.create, Unmet: tc.unmet}
		for _, place := range tc.destroy {
			k := slices.IndexFunc(tc.gpu.Instances, func(i mig.Instance) bool { return i.Placed == place })
			want.Destroy = append(want.Destroy, tc.gpu.Instances[k])
		}
		if diff := cmp.Diff(want, plan); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestPlanGPUErrors(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	for want, tc := range map[string]struct {
		gpu     mig.GPU
		demands []mig.Demand
		rule    mig.Rule
	}{
		"plan: GPU GPU-0: profile 12 at slot 0":                 {gpu(in(12, 0, mig.Foreign)), nil, mig.RuleProfile},
		"1g.5gb at slot 7: it may begin at":                     {gpu(in(0, 7, mig.Idle)), nil, mig.RuleStart},
		"1g.5gb at slot 3: it overlaps 4g.20gb at slot 0":       {gpu(in(3, 0, mig.Idle), in(0, 3, mig.Busy)), nil, mig.RuleOverlap},
		"plan GPU GPU-0: demand 1: count: -1 is below 0":        {gpu(), []mig.Demand{{}, {Count: -1}}, ""},
		"demand 0: weight: -2 is below 0":                       {gpu(), []mig.Demand{{Count: 1, Weight: -2}}, ""},
		"demand 0: profile: A100-40GB has no profile 8":         {gpu(), []mig.Demand{{Profile: 8, Count: 1}}, ""},
		"demand 0: profile: A100-40GB has no profile -1":        {gpu(), []mig.Demand{{Profile: -1, Count: 1}}, ""},
		"it is number 2, and the board allows 1 of the profile": {gpu(in(7, 0, mig.Idle), in(7, 1, mig.Busy)), nil, mig.RuleMax},
	} {
		plan, err := table.PlanGPU(tc.gpu, tc.demands)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
		var broken *mig.RuleError
		if errors.As(err, &broken) != (tc.rule != "") || broken != nil && broken.Rule != tc.rule {
			t.Errorf("%v is not about rule %s", err, tc.rule)
		}
		if !plan.Empty() {
			t.Errorf("with an error comes %+v", plan)
		}
	}
}

// A layout of which each two instances are allowed, and all together are not.
func TestPlanGPURefusesMoreThanPairs(t *testing.T) {
	g := mig.Geometry{Board: "three", Slots: 3, Engines: mig.Engines{Decoders: 2}, Profiles: []mig.Profile{
		{Name: "a", Memory: 1, Max: 3, Starts: []int{0, 1, 2}, Engines: mig.Engines{Decoders: 1}}}}
	_, err := mig.NewTable(&g).PlanGPU(gpu(in(0, 0, mig.Idle), in(0, 1, mig.Idle), in(0, 2, mig.Idle)), nil)
	var broken *mig.RuleError
	if !errors.As(err, &broken) || broken.Rule != mig.RuleEngines {
		t.Errorf("%v", err)
	}
}

// follow carries a plan out step by step, and fails if it touches what it must not or if a
// step leaves a layout that the board does not allow.
func follow(t *rapid.T, g *mig.Geometry, gpu mig.GPU, p mig.Plan) mig.GPU {
	t.Helper()
	if p.GPU != gpu.UUID || p.Base != mig.Fingerprint(gpu.Instances) {
		t.Fatalf("the plan is for %s, %s", p.GPU, p.Base)
	}
	now := slices.Clone(gpu.Instances)
	for _, gone := range p.Destroy {
		k := slices.Index(now, gone)
		if k < 0 || !gone.Use.Free() {
			t.Fatalf("%+v destroys %+v", p, gone)
		}
		now = slices.Delete(now, k, k+1)
		allowed(t, g, now)
	}
	for _, place := range p.Create {
		now = append(now, mig.Instance{Placed: place, Generation: 100, Use: mig.Idle})
		allowed(t, g, now)
	}
	return mig.GPU{UUID: gpu.UUID, Instances: now}
}

func allowed(t *rapid.T, g *mig.Geometry, instances []mig.Instance) {
	t.Helper()
	if err := g.Check(places(instances)); err != nil {
		t.Fatal(err)
	}
}

func places(instances []mig.Instance) []mig.Placed {
	var all []mig.Placed
	for _, i := range instances {
		all = append(all, i.Placed)
	}
	return all
}

// What holds of every plan, on real boards and on drawn ones.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawAnyBoard(t)
		table := mig.NewTable(&g)
		gpu := drawGPU(t, &g, "GPU-0")
		demands := drawDemands(t, &g, 4)
		before := slices.Clone(gpu.Instances)
		plan, err := table.PlanGPU(gpu, demands)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(before, gpu.Instances) {
			t.Fatal("planning changed the GPU")
		}
		after := follow(t, &g, gpu, plan)
		if again, err := table.PlanGPU(after, demands); err != nil || !again.Empty() || !slices.Equal(again.Unmet, plan.Unmet) {
			t.Fatalf("%+v is followed by %+v, %v", plan, again, err)
		}
		shuffled := mig.GPU{UUID: gpu.UUID, Instances: rapid.Permutation(gpu.Instances).Draw(t, "order")}
		if other, err := table.PlanGPU(shuffled, demands); err != nil || !cmp.Equal(other, plan) {
			t.Fatalf("in another order: %+v, %v; want %+v", other, err, plan)
		}
		destroy, create := plan.Undo()
		now := places(after.Instances)
		for _, place := range destroy {
			now = slices.Delete(now, slices.Index(now, place), slices.Index(now, place)+1)
		}
		for _, place := range create {
			now = append(now, place)
			if err := g.Check(now); err != nil {
				t.Fatalf("the undo of %+v: %v", plan, err)
			}
		}
		if !sameSet(now, places(gpu.Instances)) {
			t.Fatalf("the undo of %+v leads to %v", plan, now)
		}
	})
}

func sameSet(a, b []mig.Placed) bool {
	count := map[mig.Placed]int{}
	for _, place := range a {
		count[place]++
	}
	for _, place := range b {
		count[place]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// Plans are the best there is, also where the rules of a board are such that pairs of
// places do not say all.
func TestPlanIsExact(t *testing.T) {
	strict := 0
	rapid.Check(t, func(t *rapid.T) {
		g := drawBoard(t)
		table := mig.NewTable(&g)
		if table.Strict() {
			strict++
		}
		gpu := drawGPU(t, &g, "GPU-0")
		demands := drawDemands(t, &g, 4)
		plan, err := table.PlanGPU(gpu, demands)
		if err != nil {
			t.Fatal(err)
		}
		var best outcome
		for i, o := range outcomes(table, gpu, demands) {
			if i == 0 || better(o, best, demands) {
				best = o
			}
		}
		if !slices.Equal(places(plan.Destroy), best.destroy) || !slices.Equal(plan.Create, best.create) {
			t.Fatalf("%+v; the best is %+v", plan, best)
		}
		asked, unmet := map[mig.ProfileID]int{}, map[mig.ProfileID]int{}
		for _, d := range demands {
			asked[d.Profile] += d.Count
		}
		for _, d := range plan.Unmet {
			unmet[d.Profile] += d.Count
		}
		for p, n := range asked {
			if want := n - min(n, best.usable[p]); unmet[p] != want {
				t.Fatalf("%+v leaves %v unmet of %v, and %v are there", plan, plan.Unmet, demands, best.usable)
			}
		}
	})
	if strict == 0 {
		t.Error("no board was drawn on which pairs of places do not say all")
	}
}

func better(a, b outcome, demands []mig.Demand) bool {
	if x, y := met(a.usable, demands), met(b.usable, demands); x != y {
		return x > y
	}
	if c := slices.Compare([]int{len(a.destroy), len(a.create), -a.phi}, []int{len(b.destroy), len(b.create), -b.phi}); c != 0 {
		return c < 0
	}
	byPlace := func(x, y mig.Placed) int {
		return slices.Compare([]int{x.Start, int(x.Profile)}, []int{y.Start, int(y.Profile)})
	}
	if c := slices.CompareFunc(a.create, b.create, byPlace); c != 0 {
		return c < 0
	}
	return slices.CompareFunc(a.destroy, b.destroy, byPlace) < 0
}

func TestFingerprint(t *testing.T) {
	if got := mig.Fingerprint(nil); got != "empty" {
		t.Errorf("no instances: %s", got)
	}
	one := sevenths().Instances
	if got := mig.Fingerprint(one[:2]); got != "0@0#1,0@1#1" {
		t.Errorf("two instances: %s", got)
	}
	seen := map[string]bool{mig.Fingerprint(one): true}
	for name, edit := range map[string]func([]mig.Instance){
		"profile":    func(i []mig.Instance) { i[2].Profile = 7 },
		"start":      func(i []mig.Instance) { i[2].Start = 9 },
		"generation": func(i []mig.Instance) { i[2].Generation++ },
	} {
		other := slices.Clone(one)
		edit(other)
		print := mig.Fingerprint(other)
		if seen[print] {
			t.Errorf("another %s gives the same fingerprint %s", name, print)
		}
		seen[print] = true
	}
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.Permutation(one).Draw(t, "order")
		order[0].Use, order[0].Owner = mig.Lent, "research/train"
		if got, want := mig.Fingerprint(order), mig.Fingerprint(one); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
