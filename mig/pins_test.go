package mig_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
)

func TestBestPins(t *testing.T) {
	a100, rtx := only(t, "A100-40GB"), only(t, "RTX-PRO-6000-96GB")
	for _, tc := range []struct {
		board   *mig.Geometry
		n       int
		profile mig.ProfileID
		want    []int
	}{
		{&a100, 3, 0, []int{4, 5, 6}}, {&a100, 1, 0, []int{6}}, {&a100, 4, 0, []int{0, 1, 2, 3}}, {&a100, 7, 0, []int{0, 1, 2, 3, 4, 5, 6}},
		{&a100, 1, 1, []int{4}}, {&a100, 2, 1, []int{0, 2}}, {&a100, 1, 2, []int{4}}, {&a100, 1, 7, []int{6}},
		{&rtx, 1, 0, []int{9}}, {&rtx, 2, 0, []int{6, 9}},
		{&a100, 8, 0, nil}, {&a100, 2, 3, nil}, {&a100, 0, 0, nil}, {&a100, -1, 0, nil}, {&a100, 1, 8, nil}, {&a100, 2, 7, nil},
	} {
		if got := mig.NewTable(tc.board).BestPins(tc.n, tc.profile); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %d of profile %d at %v, want %v", tc.board.Board, tc.n, tc.profile, got, tc.want)
		}
	}
}

// Of all ways to pin, the best leaves the greatest Phi, and the highest starts of several.
func TestBestPinsLeaveMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawBoard(t)
		p := rapid.SampledFrom(g.Profiles).Draw(t, "profile")
		n := rapid.IntRange(1, 4).Draw(t, "n")
		var want []int
		most := -1
		for _, set := range sets(&g) {
			var at []int
			used := uint16(0)
			for _, place := range set {
				if place.Profile == p.ID {
					at = append(at, place.Start)
				}
				used |= slots(g, place)
			}
			if len(set) != n || len(at) != n {
				continue
			}
			if left := phi(g, used); left > most || left == most && slices.Compare(at, want) > 0 {
				want, most = at, left
			}
		}
		if got := mig.NewTable(&g).BestPins(n, p.ID); !slices.Equal(got, want) {
			t.Fatalf("%d of %s at %v, want %v", n, p.Name, got, want)
		}
	})
}

func TestPins(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	with := func(uses ...mig.Use) mig.GPU {
		var all []mig.Instance
		for i, u := range uses {
			if u != "" {
				all = append(all, in(0, i, u))
			}
		}
		return gpu(all...)
	}
	const i, b, p, l, f = mig.Idle, mig.Busy, mig.Pinned, mig.Lent, mig.Foreign
	for name, tc := range map[string]struct {
		gpu  mig.GPU
		n    int
		want []int
	}{
		"all idle":                            {with(i, i, i, i, i, i, i), 3, []int{4, 5, 6}},
		"pinned ones may change":              {with(p, p, p, i, i, i, i), 3, []int{4, 5, 6}},
		"what is busy stays, and leaves 3g@4": {with(b, i, i, i, i, i, i), 3, []int{0, 2, 3}},
		"more are busy":                       {with(b, i, i, i, b, b, b), 3, []int{4, 5, 6}},
		"lent ones are not":                   {with(l, l, l, l, l, i, i), 3, []int{5, 6}},
		"neither are those of others":         {with(f, f, f, f, f, f, i), 3, []int{6}},
		"there is not every one":              {with(i, i, "", i, "", "", ""), 2, []int{0, 1}},
		"none wanted":                         {with(i, i, i, i, i, i, i), 0, nil},
		"none of the profile are there":       {gpu(in(3, 0, mig.Idle)), 3, nil},
	} {
		got, err := table.Pins(tc.gpu, tc.n, 0)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tc.want)
		}
	}
	if _, err := table.Pins(gpu(in(0, 7, mig.Idle)), 1, 0); err == nil || !strings.Contains(err.Error(), "pin: GPU GPU-0: 1g.5gb at slot 7") {
		t.Errorf("a layout that cannot be: %v", err)
	}
}

func TestReform(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	pinned := []mig.Instance{in(0, 4, mig.Pinned), in(0, 5, mig.Busy), in(0, 6, mig.Pinned)}
	lent := gpu(append([]mig.Instance{in(3, 0, mig.Lent)}, pinned...)...)
	for name, tc := range map[string]struct {
		gpu   mig.GPU
		owned []mig.Demand
		want  string // empty: it can
	}{
		"four 1g where a 4g is lent": {lent, []mig.Demand{{Profile: 0, Count: 4}}, ""},
		"what stays is not owned": {lent, []mig.Demand{{Profile: 0, Count: 5}},
			"GPU GPU-0: no place for 1 of 1g.5gb beside what stays: 1g.5gb at slot 4, 1g.5gb at slot 5, 1g.5gb at slot 6"},
		"two owners":                            {lent, []mig.Demand{{Profile: 0, Count: 2}, {Profile: 1, Count: 1}}, ""},
		"two owners, too much":                  {lent, []mig.Demand{{Profile: 0, Count: 2}, {Profile: 1, Count: 2}}, "no place for 1 of 2g.10gb beside"},
		"idle ones and remnants are free to go": {gpu(in(0, 0, mig.Idle), in(0, 1, mig.Remnant)), []mig.Demand{{Profile: 4, Count: 1}}, ""},
		"draining ones are not":                 {gpu(in(0, 0, mig.Draining)), []mig.Demand{{Profile: 4, Count: 1}}, "no place for 1 of 7g.40gb beside what stays: 1g.5gb at slot 0"},
		"nothing there":                         {gpu(), []mig.Demand{{Profile: 4, Count: 2}}, "GPU GPU-0: no place for 1 of 7g.40gb on an empty GPU"},
		"nothing owned":                         {lent, nil, ""},
		"a profile that is not there":           {lent, []mig.Demand{{Profile: 8, Count: 1}}, "re-form GPU GPU-0: demand 0: profile: A100-40GB has no profile 8"},
		"a layout that cannot be":               {gpu(in(0, 7, mig.Idle)), nil, "re-form: GPU GPU-0: 1g.5gb at slot 7"},
	} {
		err := table.Reform(tc.gpu, tc.owned)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Re-forming is possible exactly if a layout has all that stays and all that is owned.
func TestReformIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawAnyBoard(t)
		gpu := drawGPU(t, &g, "GPU-0")
		owned := drawDemands(t, &g, 3)
		var stays []mig.Placed
		for _, instance := range gpu.Instances {
			if u := instance.Use; u != mig.Idle && u != mig.Lent && u != mig.Remnant {
				stays = append(stays, instance.Placed)
			}
		}
		need := map[mig.ProfileID]int{}
		for _, d := range owned {
			need[d.Profile] += d.Count
		}
		possible := false
		g.Enumerate(stays, func(set []mig.Placed) bool {
			left := 0
			for p, n := range need {
				for _, place := range set[len(stays):] {
					if place.Profile == p {
						n--
					}
				}
				left += max(n, 0)
			}
			possible = left == 0
			return !possible
		})
		if err := mig.NewTable(&g).Reform(gpu, owned); (err == nil) != possible {
			t.Fatalf("%v, and it is possible: %v", err, possible)
		}
	})
}

func TestPhi(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawAnyBoard(t)
		table := mig.NewTable(&g)
		used := uint16(rapid.IntRange(0, 1<<g.Slots-1).Draw(t, "used"))
		if got, want := table.Phi(used), phi(g, used); got != want {
			t.Fatalf("Phi of %b is %d, want %d", used, got, want)
		}
	})
	g := only(t, "A30-24GB")
	if got := mig.NewTable(&g).Phi(1 << 4); got != 0 {
		t.Errorf("Phi of slots that are not there is %d", got)
	}
}

func TestBestAndLoss(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	for name, tc := range map[string]struct {
		gpu     mig.GPU
		profile mig.ProfileID
		start   int
		ok      bool
	}{
		"a 1g where it harms least":     {gpu(), 0, 6, true},
		"idle ones are open":            {gpu(in(0, 6, mig.Idle), in(2, 0, mig.Idle)), 0, 6, true},
		"next to one that is used":      {gpu(in(0, 6, mig.Busy)), 0, 4, true},
		"a 2g beside a 1g":              {gpu(in(0, 6, mig.Busy)), 1, 4, true},
		"the only place":                {gpu(in(0, 1, mig.Lent)), 2, 4, true},
		"none":                          {gpu(in(0, 1, mig.Lent)), 3, 0, false},
		"a second with engines":         {gpu(in(7, 0, mig.Lent)), 7, 0, false},
		"a profile that is not there":   {gpu(), 8, 0, false},
		"a layout that cannot be there": {gpu(in(0, 7, mig.Lent)), 0, 0, false},
	} {
		start, ok := table.Best(tc.gpu, tc.profile)
		if start != tc.start || ok != tc.ok {
			t.Errorf("%s: %d, %v; want %d, %v", name, start, ok, tc.start, tc.ok)
		}
	}
	for name, tc := range map[string]struct {
		gpu  mig.GPU
		at   mig.Placed
		loss int
		ok   bool
	}{
		// 1 for itself, 4 for 3g@4, 2 each for 1g double at 6 and 7g's 8.
		"a 1g at 6":               {gpu(), at(0, 6), 1 + 4 + 2 + 8, true},
		"an idle one is no loss":  {gpu(in(2, 4, mig.Idle)), at(0, 6), 1 + 4 + 2 + 8, true},
		"beside one that is used": {gpu(in(2, 4, mig.Lent)), at(0, 6), 0, false},
		"not a start":             {gpu(), at(1, 6), 0, false},
		"cannot be":               {gpu(in(0, 7, mig.Lent)), at(0, 6), 0, false},
	} {
		if loss, ok := table.Loss(tc.gpu, tc.at); loss != tc.loss || ok != tc.ok {
			t.Errorf("%s: %d, %v; want %d, %v", name, loss, ok, tc.loss, tc.ok)
		}
	}
}

// Whoever takes the first that is open gets what Best gives, and all places are there.
func TestOrder(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	for profile, want := range map[mig.ProfileID][]int{
		0: {6, 4, 5, 0, 1, 2, 3}, 1: {4, 0, 2}, 2: {4, 0}, 3: {0}, 9: {6, 4, 0, 2}, 8: nil,
	} {
		if got := table.Order(profile); !slices.Equal(got, want) {
			t.Errorf("profile %d: %v, want %v", profile, got, want)
		}
	}
}

// Best is where Loss is least, and both say the same of what is possible as a plan does
// that may destroy what is idle.
func TestBestLosesLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawAnyBoard(t)
		table := mig.NewTable(&g)
		gpu := drawGPU(t, &g, "GPU-0")
		p := rapid.SampledFrom(g.Profiles).Draw(t, "profile")
		best, least, possible := 0, 0, false
		for _, start := range slices.Sorted(slices.Values(p.Starts)) {
			if loss, ok := table.Loss(gpu, mig.Placed{Profile: p.ID, Start: start}); ok && (!possible || loss < least) {
				best, least, possible = start, loss, true
			}
		}
		start, ok := table.Best(gpu, p.ID)
		if start != best || ok != possible {
			t.Fatalf("%d, %v; the least is lost at %d, %v", start, ok, best, possible)
		}
		plan, err := table.PlanGPU(gpu, []mig.Demand{{Profile: p.ID, Count: 1}})
		if err != nil || ok != (len(plan.Unmet) == 0) {
			t.Fatalf("a plan is %+v, %v, and there is a place: %v", plan, err, ok)
		}
	})
}

func ExampleTable_PlanGPU() {
	board, _ := mig.Board("A100-40GB")
	table := mig.NewTable(&board)
	// Cut in seven: three are pinned where BestPins says, four are idle.
	gpu := mig.GPU{UUID: "GPU-0"}
	pins := table.BestPins(3, 0)
	for start := range 7 {
		use := mig.Idle
		if slices.Contains(pins, start) {
			use = mig.Pinned
		}
		gpu.Instances = append(gpu.Instances, mig.Instance{Placed: mig.Placed{Start: start}, Generation: 1, Use: use})
	}
	four, _ := board.ProfileOf("nvidia.com/mig-4g.20gb")
	plan, err := table.PlanGPU(gpu, []mig.Demand{{Profile: four.ID, Count: 1}})
	fmt.Println(pins, err)
	fmt.Println("destroy", len(plan.Destroy), "create", plan.Create)
	_, back := plan.Undo()
	fmt.Println("the way back creates", back)
	// Output:
	// [4 5 6] <nil>
	// destroy 4 create [{3 0}]
	// the way back creates [{0 0} {0 1} {0 2} {0 3}]
}

// Of the ways to pin three 1g, only one leaves a 4g.
func TestPinsThatLeaveFour(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	var leave [][]int
	ways := 0
	for _, set := range sets(&g) {
		if len(set) != 3 || slices.ContainsFunc(set, func(p mig.Placed) bool { return p.Profile != 0 }) {
			continue
		}
		ways++
		var pinned []mig.Instance
		var starts []int
		for _, place := range set {
			pinned, starts = append(pinned, in(0, place.Start, mig.Pinned)), append(starts, place.Start)
		}
		if _, ok := table.Best(gpu(pinned...), 3); ok {
			leave = append(leave, starts)
		}
	}
	if ways != 35 || !cmp.Equal(leave, [][]int{{4, 5, 6}}) {
		t.Errorf("of %d ways, %v leave a 4g", ways, leave)
	}
}
