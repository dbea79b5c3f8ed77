package mig

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/mig"
)

func TestValidate(t *testing.T) {
	for name, edit := range map[string]func(*BenchConfig){
		"gpus": func(c *BenchConfig) { c.GPUs = 0 }, "seeds": func(c *BenchConfig) { c.Seeds = -1 },
		"arrivals": func(c *BenchConfig) { c.Arrivals = 19 }, "loads": func(c *BenchConfig) { c.Loads = []float64{0.5, 0} },
		"smallSeeds": func(c *BenchConfig) { c.SmallSeeds = 0 }, "smallArrivals": func(c *BenchConfig) { c.SmallArrivals = 1 << 20 },
		"loads: there are none": func(c *BenchConfig) { c.Loads = nil },
	} {
		c := DefaultBench()
		edit(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]CheckConfig{"samples": {Most: 1}, "most": {Samples: 1}} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, err := range []error{DefaultBench().Validate(), DefaultCheck().Validate()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// What the oracle says is right where everybody can see it.
func TestOracle(t *testing.T) {
	g := board("A100-40GB", 0, 1, 2, 3, 4)
	all := layouts(&g)
	gpu := state(layout{{Profile: 0, Start: 0}, {Profile: 0, Start: 1}, {Profile: 0, Start: 4}}, []mig.Use{mig.Idle, mig.Remnant, mig.Lent})
	out := outcomes(&g, all, gpu)
	for _, tc := range []struct {
		demand             mig.Demand
		destroyed, created []mig.Placed
		met                int
	}{
		{mig.Demand{Profile: 0, Count: 1}, nil, nil, 1},
		{mig.Demand{Profile: 3, Count: 1}, []mig.Placed{{Start: 0}, {Start: 1}}, []mig.Placed{{Profile: 3}}, 1},
		{mig.Demand{Profile: 2, Count: 2, Weight: 3}, []mig.Placed{{Start: 0}, {Start: 1}}, []mig.Placed{{Profile: 2}}, 3},
		{mig.Demand{Profile: 4, Count: 1}, nil, nil, 0},
		// A 2g at 2 leaves what is at 0 alone.
		{mig.Demand{Profile: 1, Count: 1}, nil, []mig.Placed{{Profile: 1, Start: 2}}, 1},
	} {
		o, met := best(&g, out, []mig.Demand{tc.demand})
		if met != tc.met || !slices.Equal(o.destroyed, tc.destroyed) || !slices.Equal(o.created, tc.created) {
			t.Errorf("%+v: met %d, destroyed %v, created %v", tc.demand, met, o.destroyed, o.created)
		}
	}
}

// A planner that is wrong is found out.
func TestExaminerFinds(t *testing.T) {
	g := board("A100-40GB", 0, 1, 2, 3, 4)
	gpu := state(layout{{Start: 0}, {Start: 5}}, []mig.Use{mig.Idle, mig.Pinned})
	demands := []mig.Demand{{Profile: 2, Count: 1}}
	e := examiner{board: &g, table: mig.NewTable(&g), layouts: layouts(&g)}
	good, err := e.table.PlanGPU(*gpu, demands)
	if err != nil {
		t.Fatal(err)
	}
	all := outcomes(&g, e.layouts, gpu)
	for name, tc := range map[string]struct {
		edit func(*mig.Plan)
		want string // begin of what is found; empty: nothing
	}{
		"as planned":               {func(*mig.Plan) {}, ""},
		"it destroys a pinned one": {func(p *mig.Plan) { p.Destroy = gpu.Instances }, "it destroys"},
		"it destroys nothing":      {func(p *mig.Plan) { p.Destroy = nil }, "creating"},
		"it overlaps a pinned one": {func(p *mig.Plan) { p.Create[0].Start = 4 }, "creating"},
		"it creates nothing":       {func(p *mig.Plan) { p.Create = nil }, "the best destroys"},
		"it does nothing":          {func(p *mig.Plan) { p.Create, p.Destroy = nil, nil }, "the best destroys"},
		"it says it met nothing":   {func(p *mig.Plan) { p.Unmet = demands }, "what is said to be unmet"},
	} {
		p := good
		p.Create = slices.Clone(good.Create)
		tc.edit(&p)
		found := e.carryOut(gpu, p)
		if found == "" {
			found = e.compare(p, demands, all)
		}
		if !strings.HasPrefix(found, tc.want) || tc.want == "" && found != "" {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// A part of what make check-mig does.
func TestSample(t *testing.T) {
	for _, s := range subjects() {
		e := examiner{board: &s.board, table: mig.NewTable(&s.board), layouts: layouts(&s.board)}
		sample(&s.board, e.layouts, rand.New(rand.NewPCG(5, 6)), 150, e.examine)
		if e.mismatches > 0 || e.fixedTouched > 0 || e.states != 150 || e.cases != 12*150 {
			t.Errorf("%s: %+v", s.name, e.result)
		}
	}
}

func TestPlanNodes(t *testing.T) {
	times, err := planNodes(40)
	if err != nil || times.plans != 40 || times.longest < times.mean || times.mean <= 0 {
		t.Errorf("%+v, %v", times, err)
	}
}

func TestUsesAndDemands(t *testing.T) {
	for n, want := range []int{1, 9, 9, 27, 81} {
		seen := map[string]bool{}
		usesOf(n, func(u []mig.Use) {
			text := ""
			for _, x := range u {
				text += string(x) + " "
			}
			seen[text] = true
		})
		if len(seen) != want {
			t.Errorf("%d instances: %d ways, want %d", n, len(seen), want)
		}
	}
	g := board("A100-40GB", 0, 1, 2, 3, 4)
	// 384 numbers, of which all but the one for none and 14 for one profile have weights too.
	if n := len(demandsOf(&g)); n != 384+384-1-14 {
		t.Errorf("%d demands", n)
	}
}

// The bound is one: no choice of slices that fits rejects fewer, not even the best.
func TestBound(t *testing.T) {
	g := board("A100-40GB")
	some := 0
	for seed := range uint64(40) {
		all := draw(&g, 1, 2.5, 13, seed)
		best := len(all)
		for set := range 1 << len(all) {
			if rejected := fits(all, set); rejected >= 0 {
				best = min(best, rejected)
			}
		}
		low := fewest(1, all, 0)
		if low > best {
			t.Errorf("seed %d: the bound is %d, and %d is possible", seed, low, best)
		}
		if low > 0 {
			some++
		}
	}
	if some < 20 {
		t.Errorf("the bound is above 0 for %d of 40", some)
	}
}

// fits returns how many are not in a set, or -1 if those in it are ever more than one GPU
// has slices and slots.
func fits(all []slice, set int) int {
	rejected := 0
	for i, s := range all {
		if set>>i&1 == 0 {
			rejected++
			continue
		}
		compute, memory := 0, 0
		for k, o := range all[:i+1] {
			if set>>k&1 == 1 && o.until > s.from {
				compute, memory = compute+o.profile.Compute, memory+o.profile.Memory
			}
		}
		if compute > 7 || memory > 8 {
			return -1
		}
	}
	return rejected
}

// Nothing is moved, nothing overlaps, and all that left is gone.
func TestPlay(t *testing.T) {
	g := board("A100-40GB")
	all := draw(&g, 4, 0.9, 3000, 7)
	for _, p := range policies {
		choose := p.make(1)
		running := map[int]busy{}
		i := 0
		rejected := play(newCluster(g, 4), func(c *cluster, profile mig.Profile) (int, int, bool) {
			gpu, start, ok := choose(c, profile)
			now := all[i]
			for k, b := range running {
				if b.until <= now.from {
					delete(running, k)
				}
			}
			if ok {
				l := layout{{Profile: profile.ID, Start: start}}
				for _, b := range running {
					if b.gpu == gpu {
						l = append(l, mig.Placed{Profile: b.profile.ID, Start: b.start})
					}
				}
				if !legal(&g, l) {
					t.Fatalf("%s: slice %d makes %v", p.name, i, l)
				}
				running[i] = busy{now, gpu, start}
			}
			i++
			return gpu, start, ok
		}, all, 0)
		if low := fewest(4, all, 0); rejected < low || i != len(all) {
			t.Errorf("%s rejects %d of %d, and the bound is %d", p.name, rejected, i, low)
		}
	}
}

// The order of the DRA driver's devices: the first GPU, and there what it publishes first.
func TestAsPublished(t *testing.T) {
	g := board("A100-40GB")
	c := newCluster(g, 2)
	choose := asPublished(1)
	for i, want := range []struct{ profile, gpu, start int }{{0, 0, 6}, {0, 0, 4}, {1, 0, 0}, {3, 1, 0}, {0, 0, 5}, {2, 1, 4}, {4, -1, 0}} {
		p, _ := g.Profile(mig.ProfileID(want.profile))
		gpu, start, ok := choose(c, p)
		if ok != (want.gpu >= 0) || ok && (gpu != want.gpu || start != want.start) {
			t.Fatalf("slice %d: %d on %d, %v; want %+v", i, start, gpu, ok, want)
		}
		if ok {
			c.take(gpu, p, start)
		}
	}
}

// What packs is what layouts can be put together to.
func TestPacks(t *testing.T) {
	g := board("A100-40GB", 0, 1, 2, 3, 4, 9)
	count := func(l layout) (n amounts) {
		for _, at := range l {
			n[at.Profile]++
		}
		return n
	}
	one, two := map[amounts]bool{}, map[amounts]bool{}
	for _, l := range layouts(&g) {
		one[count(l)] = true
	}
	for a := range one {
		for b := range one {
			sum := a
			for p, n := range b {
				sum[p] += n
			}
			two[sum] = true
		}
	}
	for gpus, want := range map[int]map[amounts]bool{1: one, 2: two} {
		seen := 0
		var n amounts
		tops := map[mig.ProfileID]int8{0: 15, 9: 9, 1: 7, 2: 5, 3: 3, 4: 3}
		var fill func(p []mig.ProfileID)
		fill = func(p []mig.ProfileID) {
			if len(p) == 0 {
				if packs(n, gpus) {
					seen++
				}
				if packs(n, gpus) != want[n] {
					t.Errorf("%v on %d GPUs: %v", n, gpus, packs(n, gpus))
				}
				return
			}
			for k := range tops[p[0]] {
				n[p[0]] = k
				fill(p[1:])
			}
		}
		fill([]mig.ProfileID{0, 9, 1, 2, 3, 4})
		if seen != len(want) {
			t.Errorf("on %d GPUs %d pack, want %d", gpus, seen, len(want))
		}
	}
}

func TestBench(t *testing.T) {
	var out strings.Builder
	if err := Bench(BenchConfig{GPUs: 50, Loads: []float64{0.75}, Seeds: 2, Arrivals: 20000, SmallSeeds: 2, SmallArrivals: 60, Check: true, Out: &out}); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last benchLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	for _, said := range []string{"gives up if", "that the DRA driver publishes"} {
		if !strings.Contains(out.String(), said) {
			t.Errorf("it is not said: %s", said)
		}
	}
	row := last.Rejected["0.75"]
	if _, ok := row["dra"]; !ok {
		t.Errorf("no column for dra: %v", row)
	}
	if row[movingName] < row[boundName] || row[movingName] > row["ebbtide"] {
		t.Errorf("%v", row)
	}
	for name, n := range last.OneGPU["0.75"] {
		if n < last.OneGPU["0.75"][optimumName] {
			t.Errorf("%s rejects less than the optimum: %v", name, last.OneGPU["0.75"])
		}
	}
	for _, p := range policies[1:] {
		if row[p.name] <= row["ebbtide"] || row["ebbtide"] < row[boundName] {
			t.Errorf("%s: %v", p.name, row)
		}
	}
	if err := Bench(BenchConfig{GPUs: 2, Loads: []float64{0.5}, Seeds: 1, Arrivals: 20, SmallSeeds: 1, SmallArrivals: 20, Check: true, Out: &out}); err == nil {
		t.Error("the check is content without a load of 0.75")
	}
}

// The optimum is that of trying everything, one choice after the other, and no policy's, nor
// the bound, contradicts it.
func TestOptimum(t *testing.T) {
	g := board("A100-40GB", 0, 1, 2, 3, 4, 9)
	better := 0
	for seed := range uint64(30) {
		all := draw(&g, 1, []float64{0.7, 1, 1.5}[seed%3], 9, seed)
		from := int(seed % 3)
		want := fewestByTrying(nil, all, 0, from)
		ours := play(newCluster(g, 1), leastLoss, all, from)
		got := optimum(all, from, ours)
		if got != want || got > ours || got < fewest(1, all, from) {
			t.Errorf("seed %d: optimum %d, by trying everything %d, least loss %d, bound %d", seed, got, want, ours, fewest(1, all, from))
		}
		if got < ours {
			better++
		}
	}
	if better == 0 {
		t.Error("least loss is never worse: what is drawn is too dull")
	}
}

func fewestByTrying(running []busy, all []slice, i, from int) int {
	if i == len(all) {
		return 0
	}
	s := all[i]
	var on []busy
	taken := map[int]bool{}
	for _, b := range running {
		if b.until <= s.from {
			continue
		}
		on = append(on, b)
		for slot := range b.profile.Memory {
			taken[b.start+slot] = true
		}
	}
	least := fewestByTrying(on, all, i+1, from)
	if i >= from {
		least++
	}
	for _, start := range s.profile.Starts {
		free := true
		for slot := range s.profile.Memory {
			free = free && !taken[start+slot]
		}
		if free {
			least = min(least, fewestByTrying(append(slices.Clone(on), busy{s, 0, start}), all, i+1, from))
		}
	}
	return least
}
