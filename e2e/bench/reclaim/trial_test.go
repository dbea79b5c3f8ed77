package reclaim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"--cases is empty":                 func(c *Config) { c.Cases = nil },
		`--cases has "d"`:                  func(c *Config) { c.Cases = []string{"a", "d"} },
		`--cases has "a" twice`:            func(c *Config) { c.Cases = []string{"a", "b", "a"} },
		"--rounds is 0":                    func(c *Config) { c.Rounds = 0 },
		"--nodes-b is 28, must be 29":      func(c *Config) { c.NodesB = 28 },
		"--nodes-c is 0":                   func(c *Config) { c.NodesC = 0 },
		"--single is 9, must be 1 to 8":    func(c *Config) { c.NodesC, c.Single = 1, 9 },
		"--nodes-b is 1001, must be 29 to": func(c *Config) { c.NodesB = 1001 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// Gangs fill every cluster to the last GPU, and the waves of each case fit into it.
func TestTrialsAreFull(t *testing.T) {
	c := Default()
	c.NodesB = leastNodesB
	trials, err := c.trials()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range trials {
		names = append(names, x.name)
		var held, asked int64
		for _, g := range x.gangs {
			held += g.pods
		}
		for _, units := range x.asked() {
			asked += units
		}
		all := int64(x.nodes) * gpusPerNode
		if held != all || asked > all {
			t.Errorf("case %s: gangs hold %d and waves ask for %d of %d GPUs", x.name, held, asked, all)
		}
		var started []gang
		for i := range x.batches {
			started = append(started, x.batch(i)...)
		}
		if diff := cmp.Diff(x.gangs, started, cmp.AllowUnexported(gang{})); diff != "" {
			t.Errorf("case %s: the batches are not all gangs in order (-want +got):\n%s", x.name, diff)
		}
		oldest := func(a, b gang) int { return int(b.age - a.age) }
		if !slices.IsSortedFunc(x.gangs, oldest) {
			t.Errorf("case %s: the gangs are not the oldest first", x.name)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "b-equal", "c"}, names); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
}

func TestShares(t *testing.T) {
	count := map[int64]int{}
	for _, size := range shares(800) {
		count[size]++
	}
	want := map[int64]int{64: 2, 32: 4, 16: 7, 8: 14, 4: 27, 2: 53, 1: 106}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("gangs of 800 GPUs by size (-want +got):\n%s", diff)
	}
	for units := int64(1); units < 2000; units++ {
		var sum int64
		for _, size := range shares(units) {
			sum += size
		}
		if sum != units {
			t.Fatalf("shares of %d add up to %d", units, sum)
		}
	}
}

// Equal seeds draw equal gangs, others do not, and a case does not depend on which
// others are played.
func TestSeed(t *testing.T) {
	draw := func(seed uint64, cases ...string) []trial {
		c := Default()
		c.Seed, c.Cases = seed, cases
		trials, err := c.trials()
		if err != nil {
			t.Fatal(err)
		}
		return trials
	}
	all, b := draw(1, "a", "b"), draw(1, "b")
	same := cmp.AllowUnexported(gang{})
	for i, x := range b {
		if diff := cmp.Diff(all[i+1].gangs, x.gangs, same); diff != "" {
			t.Errorf("case %s after another (-want +got):\n%s", x.name, diff)
		}
		if cmp.Equal(x.gangs, draw(2, "b")[i].gangs, same) {
			t.Errorf("case %s does not depend on the seed", x.name)
		}
	}
}

// A job that runs ten times as long is met ten times as often, at any point of its life.
func TestDrawn(t *testing.T) {
	jobs := []traces.Job{{Duration: time.Hour}, {Duration: 10 * time.Hour}, {Duration: 89 * time.Hour}}
	gangs := drawn(rand.New(rand.NewPCG(1, 1)), jobs, make([]int64, 20000))
	every := map[time.Duration]int{}
	var ages time.Duration
	for _, g := range gangs {
		every[g.every]++
		if g.age < 0 || g.age >= 89*time.Hour || g.every == time.Hour && g.age >= 10*time.Hour {
			t.Fatalf("gang %+v", g)
		}
		if g.every == mostEvery {
			ages += g.age
		}
	}
	for interval, share := range map[time.Duration]float64{leastEvery: 0.01, time.Hour: 0.1, mostEvery: 0.89} {
		if got := float64(every[interval]) / 20000; got < share*0.8 || got > share*1.2 {
			t.Errorf("%.3f of the gangs save every %s, want about %.2f", got, interval, share)
		}
	}
	if mean := ages / time.Duration(every[mostEvery]); mean < 43*time.Hour || mean > 46*time.Hour {
		t.Errorf("jobs of 89h are met at %s in the mean, want 44h30m", mean)
	}
}

func TestUnsaved(t *testing.T) {
	for name, test := range map[string]struct {
		gang        gang
		after, want time.Duration
	}{
		"saves nothing":          {gang{age: time.Hour}, time.Minute, 61 * time.Minute},
		"saved on the way":       {gang{age: 61 * time.Minute, every: 20 * time.Minute}, 0, time.Minute},
		"saves meanwhile":        {gang{age: 59 * time.Minute, every: 20 * time.Minute}, 2 * time.Minute, time.Minute},
		"too young to have":      {gang{age: time.Minute, every: time.Hour}, 0, time.Minute},
		"before it was complete": {gang{age: time.Minute, every: time.Hour}, -time.Minute, time.Minute},
	} {
		if got := test.gang.unsaved(test.after); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	x := trial{gangs: []gang{{age: time.Hour, every: 40 * time.Minute}, {age: 30 * time.Minute}}}
	if got := x.mostUnsaved(); got != 30*time.Minute {
		t.Errorf("most unsaved is %s, want 30m", got)
	}
}
