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

func TestPlanNode(t *testing.T) {
	a100, a30 := only(t, "A100-40GB"), only(t, "A30-24GB")
	big, small := mig.NewTable(&a100), mig.NewTable(&a30)
	named := func(g mig.GPU, uuid string) mig.GPU { g.UUID = uuid; return g }
	for name, tc := range map[string]struct {
		gpus    []mig.GPU
		tables  []*mig.Table
		demands []mig.Demand
		creates []string // by GPU
		unmet   []mig.Demand
	}{
		"one that has it already": {[]mig.GPU{named(sevenths(), "a"), named(gpu(in(3, 0, mig.Idle)), "b")}, []*mig.Table{big, big}, []mig.Demand{{Profile: 3, Count: 1}}, []string{"[]", "[]"}, nil},
		"the fewest destroyed":    {[]mig.GPU{named(sevenths(), "a"), named(gpu(in(1, 0, mig.Idle)), "b")}, []*mig.Table{big, big}, []mig.Demand{{Profile: 3, Count: 1}}, []string{"[]", "[{3 0}]"}, nil},
		"the first of two alike":  {[]mig.GPU{named(sevenths(), "a"), named(sevenths(), "b")}, []*mig.Table{big, big}, []mig.Demand{{Profile: 3, Count: 1}}, []string{"[{3 0}]", "[]"}, nil},
		"two on two":              {[]mig.GPU{named(sevenths(), "a"), named(sevenths(), "b")}, []*mig.Table{big, big}, []mig.Demand{{Profile: 3, Count: 3}}, []string{"[{3 0}]", "[{3 0}]"}, []mig.Demand{{Profile: 3, Count: 1}}},
		"boards that differ":      {[]mig.GPU{named(gpu(), "a"), named(gpu(), "b")}, []*mig.Table{big, small}, []mig.Demand{{Profile: 8, Count: 1}, {Profile: 4, Count: 1}}, []string{"[{4 0}]", "[{8 0}]"}, nil},
		"more than anybody has": {[]mig.GPU{named(gpu(), "a"), named(gpu(), "b")}, []*mig.Table{big, small}, []mig.Demand{{Profile: 0, Count: 1 << 40}},
			[]string{"[{0 0} {0 1} {0 2} {0 3} {0 4} {0 5} {0 6}]", "[{0 0} {0 1} {0 2} {0 3}]"}, []mig.Demand{{Profile: 0, Count: 1<<40 - 11}}},
		"no GPU": {nil, nil, nil, nil, nil},
	} {
		plans, unmet, err := mig.PlanNode(tc.gpus, tc.tables, tc.demands)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for i, p := range plans {
			got = append(got, fmt.Sprint(p.Create))
			if p.GPU != tc.gpus[i].UUID || p.Base != mig.Fingerprint(tc.gpus[i].Instances) || p.Unmet != nil {
				t.Errorf("%s: plan %d is %+v", name, i, p)
			}
		}
		if !cmp.Equal(got, tc.creates) || !cmp.Equal(unmet, tc.unmet) {
			t.Errorf("%s: %v with %v unmet, want %v with %v", name, got, unmet, tc.creates, tc.unmet)
		}
	}
	for want, tc := range map[string]struct {
		gpus    []mig.GPU
		tables  []*mig.Table
		demands []mig.Demand
	}{
		"1 GPUs have 0 tables":                                  {[]mig.GPU{gpu()}, nil, nil},
		"plan GPU GPU-0: demand 0: count":                       {[]mig.GPU{gpu()}, []*mig.Table{big}, []mig.Demand{{Count: -1}}},
		"demand 1: profile: no GPU has profile 8":               {[]mig.GPU{gpu()}, []*mig.Table{big}, []mig.Demand{{Count: 1}, {Profile: 8}}},
		"plan: GPU GPU-0: 1g.5gb at slot 7: it may begin at":    {[]mig.GPU{gpu(in(0, 7, mig.Idle))}, []*mig.Table{big}, nil},
		"demand 0: profile: no GPU has profile 3, as there are": {nil, nil, []mig.Demand{{Profile: 3}}},
	} {
		want, _, _ = strings.Cut(want, ", as there")
		if _, _, err := mig.PlanNode(tc.gpus, tc.tables, tc.demands); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

// node draws GPUs of one or two boards.
func drawNode(t *rapid.T, least, most int, board func(*rapid.T) mig.Geometry) ([]mig.GPU, []*mig.Table, []mig.Demand) {
	boards := []mig.Geometry{board(t), board(t)}
	tables := []*mig.Table{mig.NewTable(&boards[0]), mig.NewTable(&boards[1])}
	var gpus []mig.GPU
	var of []*mig.Table
	for i := range rapid.IntRange(least, most).Draw(t, "GPUs") {
		b := rapid.IntRange(0, 1).Draw(t, "board")
		gpus, of = append(gpus, drawGPU(t, &boards[b], fmt.Sprint("GPU-", i))), append(of, tables[b])
	}
	g := of[0].Geometry()
	return gpus, of, drawDemands(t, &g, 3)
}

// Plans for a node are the best there is: no way to combine what can be done to its GPUs
// is better.
func TestPlanNodeIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := func(t *rapid.T) mig.Geometry {
			g := drawBoard(t)
			g.Profiles = g.Profiles[:min(len(g.Profiles), 2)]
			if g.Apart != nil {
				g.Apart = [][2]mig.ProfileID{{0, mig.ProfileID(len(g.Profiles) - 1)}}
			}
			return g
		}
		gpus, tables, demands := drawNode(t, 1, 3, small)
		plans, unmet, err := mig.PlanNode(gpus, tables, demands)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, d := range demands {
			total += d.Count * max(d.Weight, 1)
		}
		for _, d := range unmet {
			total -= d.Count * max(d.Weight, 1)
		}
		got, lost := []int{-total, 0, 0, 0}, 0
		most := make([][]outcome, len(gpus))
		for i, p := range plans {
			g := tables[i].Geometry()
			follow(t, &g, gpus[i], p)
			got[1], got[2] = got[1]+len(p.Destroy), got[2]+len(p.Create)
			most[i] = outcomes(tables[i], gpus[i], demands)
			for _, o := range most[i] {
				if slices.Equal(o.destroy, places(p.Destroy)) && slices.Equal(o.create, p.Create) {
					lost -= o.phi
				}
			}
		}
		got[3] = lost
		best := got
		combine(most, outcome{usable: map[mig.ProfileID]int{}}, []int{0, 0, 0}, func(o outcome, cost []int) {
			if with := append([]int{-met(o.usable, demands)}, cost...); slices.Compare(with, best) < 0 {
				best = with
			}
		})
		if !slices.Equal(got, best) {
			t.Fatalf("met, destroyed, created, lost are %v, and could be %v: %+v", got, best, plans)
		}
	})
}

// combine yields all combinations of what can be done to each GPU, with their costs.
func combine(gpus [][]outcome, so outcome, cost []int, yield func(outcome, []int)) {
	if len(gpus) == 0 {
		yield(so, cost)
		return
	}
	for _, o := range gpus[0] {
		with := outcome{usable: map[mig.ProfileID]int{}}
		for p, n := range so.usable {
			with.usable[p] += n
		}
		for p, n := range o.usable {
			with.usable[p] += n
		}
		combine(gpus[1:], with, []int{cost[0] + len(o.destroy), cost[1] + len(o.create), cost[2] - o.phi}, yield)
	}
}

// Beyond eight GPUs plans are no longer exact, but hold to all the rest.
func TestPlanNodeOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gpus, tables, demands := drawNode(t, 9, 12, drawAnyBoard)
		plans, unmet, err := mig.PlanNode(gpus, tables, demands)
		if err != nil {
			t.Fatal(err)
		}
		after := make([]mig.GPU, len(gpus))
		there := map[mig.ProfileID]int{}
		for i, p := range plans {
			g := tables[i].Geometry()
			after[i] = follow(t, &g, gpus[i], p)
			for _, instance := range after[i].Instances {
				if instance.Use == mig.Idle {
					there[instance.Profile]++
				}
			}
		}
		left := map[mig.ProfileID]int{}
		for _, d := range unmet {
			left[d.Profile] += d.Count
		}
		for _, d := range demands {
			left[d.Profile] -= d.Count
		}
		for p, n := range left {
			if there[p] < -n {
				t.Fatalf("%d of profile %d are there, and %d are said to be", there[p], p, -n)
			}
		}
		again, _, err := mig.PlanNode(after, tables, demands)
		if err != nil {
			t.Fatal(err)
		}
		if len(unmet) == 0 {
			for _, p := range again {
				if !p.Empty() {
					t.Fatalf("planning again gives %+v", again)
				}
			}
		}
	})
}

func BenchmarkPlanNode(b *testing.B) {
	g := a100(b)
	table := mig.NewTable(&g)
	tables := slices.Repeat([]*mig.Table{table}, 8)
	alike := slices.Repeat([]mig.GPU{sevenths()}, 8)
	mixed := slices.Clone(alike)
	for i := range mixed {
		instances := slices.Clone(mixed[i].Instances)
		instances[i%4].Use, instances[(i*3)%7].Use = mig.Busy, mig.Lent
		mixed[i].Instances = instances
	}
	empty := make([]mig.GPU, 8)
	gang := []mig.Demand{{Profile: 3, Count: 2}}
	three := []mig.Demand{{Profile: 3, Count: 2}, {Profile: 1, Count: 4}, {Profile: 0, Count: 8}}
	five := []mig.Demand{{Profile: 0, Count: 12}, {Profile: 1, Count: 5}, {Profile: 2, Count: 3}, {Profile: 3, Count: 2}, {Profile: 4, Count: 1}}
	for _, bench := range []struct {
		name    string
		gpus    []mig.GPU
		demands []mig.Demand
	}{
		{"a gang of two 4g", alike, gang}, {"three profiles", alike, three}, {"three profiles, none alike", mixed, three},
		{"three profiles on empty GPUs", empty, three}, {"five profiles, none alike", mixed, five}, {"five profiles on empty GPUs", empty, five},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := mig.PlanNode(bench.gpus, tables, bench.demands); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// On real boards as well, where GPUs have to give as much as they can for all to be met.
func TestPlanNodeIsExactOnBoards(t *testing.T) {
	g := only(t, "A30-24GB", 0, 1, 3)
	table := mig.NewTable(&g)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "GPUs")
		var gpus []mig.GPU
		for i := range n {
			gpus = append(gpus, drawGPU(t, &g, fmt.Sprint("GPU-", i)))
		}
		var demands []mig.Demand
		for _, p := range g.Profiles {
			demands = append(demands, mig.Demand{Profile: p.ID, Count: rapid.IntRange(0, p.Max*n/2).Draw(t, p.Name), Weight: rapid.IntRange(1, 2).Draw(t, "weight")})
		}
		plans, unmet, err := mig.PlanNode(gpus, slices.Repeat([]*mig.Table{table}, n), demands)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, 4)
		for _, d := range demands {
			got[0] -= d.Count * d.Weight
		}
		for _, d := range unmet {
			got[0] += d.Count * d.Weight
		}
		few := make([][]outcome, n)
		for i, p := range plans {
			all := outcomes(table, gpus[i], demands)
			for _, o := range all {
				if slices.Equal(o.destroy, places(p.Destroy)) && slices.Equal(o.create, p.Create) {
					got[1], got[2], got[3] = got[1]+len(o.destroy), got[2]+len(o.create), got[3]-o.phi
				}
			}
			few[i] = cheapest(all)
		}
		best := got
		combine(few, outcome{usable: map[mig.ProfileID]int{}}, []int{0, 0, 0}, func(o outcome, cost []int) {
			if with := append([]int{-met(o.usable, demands)}, cost...); slices.Compare(with, best) < 0 {
				best = with
			}
		})
		if !slices.Equal(got, best) {
			t.Fatalf("met, destroyed, created, lost are %v, and could be %v: %+v", got, best, plans)
		}
	})
}

// cheapest keeps one outcome for each number of usable instances.
func cheapest(all []outcome) []outcome {
	at := map[string]outcome{}
	cost := func(o outcome) []int { return []int{len(o.destroy), len(o.create), -o.phi} }
	for _, o := range all {
		key := fmt.Sprint(o.usable)
		if old, ok := at[key]; !ok || slices.Compare(cost(o), cost(old)) < 0 {
			at[key] = o
		}
	}
	var few []outcome
	for _, o := range at {
		few = append(few, o)
	}
	return few
}

// Demand that can be shared out in more ways than are tried.
func TestPlanNodeBeyondExact(t *testing.T) {
	g := only(t, "A100-40GB")
	table := mig.NewTable(&g)
	gpus := make([]mig.GPU, 8)
	for i := range gpus {
		gpus[i].UUID = fmt.Sprint("GPU-", i)
	}
	for name, tc := range map[string]struct {
		demands []mig.Demand
		served  int // instances
	}{
		// Each GPU for itself: seven 1g.
		"more than there is of the best": {[]mig.Demand{{Profile: 0, Count: 60}, {Profile: 1, Count: 24}, {Profile: 2, Count: 16}, {Profile: 3, Count: 8}, {Profile: 4, Count: 8}}, 56},
		// Not each for itself, which would be 56 of 1g, but 30 with as many 2g as fit: 4 GPUs
		// with seven 1g, one with two 1g and two 2g, and three with three 2g.
		"less than there is of the best": {[]mig.Demand{{Profile: 0, Count: 30}, {Profile: 1, Count: 16}, {Profile: 2, Count: 12}, {Profile: 3, Count: 7}, {Profile: 4, Count: 6}}, 41},
	} {
		plans, unmet, err := mig.PlanNode(gpus, slices.Repeat([]*mig.Table{table}, 8), tc.demands)
		if err != nil {
			t.Fatal(err)
		}
		created, asked, left := 0, 0, 0
		for _, p := range plans {
			if err := g.Check(p.Create); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			created += len(p.Create)
		}
		for _, d := range tc.demands {
			asked += d.Count
		}
		for _, d := range unmet {
			left += d.Count
		}
		if asked-left != tc.served || created != tc.served {
			t.Errorf("%s: %d are served and %d created, want %d; unmet %v", name, asked-left, created, tc.served, unmet)
		}
	}
}
