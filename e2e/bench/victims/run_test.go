package victims

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/lend"
)

func TestValidate(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"small": func(c *Config) { c.Small = 0 },
		"large": func(c *Config) { c.Large = -1 },
	} {
		c := Default()
		edit(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func on(node string, count int64) lend.Grant {
	return lend.Grant{Node: node, Flavor: flavor, Count: count}
}

func TestCheapest(t *testing.T) {
	in := instance{
		rooms: []lend.Room{{Node: "a", Flavor: flavor, Free: 2}, {Node: "b", Flavor: flavor, Free: -1}},
		candidates: []lend.Candidate{
			{Name: "x", LostWork: 5, Grants: []lend.Grant{on("a", 2)}},
			{Name: "y", LostWork: 3, Grants: []lend.Grant{on("b", 4)}},
			{Name: "z", LostWork: 9, Grants: []lend.Grant{on("a", 2), on("b", 4)}},
		},
	}
	for name, tc := range map[string]struct {
		size, pods int64
		cost       float64
		ok         bool
	}{
		"fits already":              {2, 1, 0, true},
		"one node":                  {4, 1, 5, true},
		"two nodes, b below 0":      {4, 2, 12, true},
		"single ones, cheap":        {1, 5, 3, true},
		"more than there is":        {8, 1, 0, false},
		"more than there is of two": {4, 3, 0, false},
	} {
		in.owed = nil
		in.owe(tc.size, tc.pods)
		cost, ok := in.cheapest()
		if ok != tc.ok || ok && cost != tc.cost {
			t.Errorf("%s: %v, %v; want %v, %v", name, cost, ok, tc.cost, tc.ok)
		}
	}
}

// Instances are as announced: no node gives more than it has, and somebody must stop.
func TestInstances(t *testing.T) {
	a, err := newAges()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(300) {
		small, large := a.small(seed), a.large(seed)
		if len(small.candidates) > 12 || len(small.rooms) > 6 || len(large.rooms) < 30 || len(large.rooms) > 100 {
			t.Fatalf("seed %d: %d and %d nodes", seed, len(small.rooms), len(large.rooms))
		}
		if cost, ok := small.cheapest(); !ok || cost <= 0 {
			t.Fatalf("seed %d: the least cost is %v, %v", seed, cost, ok)
		}
		for _, in := range []instance{small, large} {
			held := map[string]int64{}
			for _, r := range in.rooms {
				held[r.Node] += r.Free
			}
			for _, c := range in.candidates {
				for _, g := range c.Grants {
					held[g.Node] += g.Count
				}
			}
			for node, units := range held {
				if units > perNode {
					t.Fatalf("seed %d: %s has %d units", seed, node, units)
				}
			}
		}
	}
}

func TestGap(t *testing.T) {
	at := func(best, cost float64) trial {
		return trial{best: best, possible: true, results: []result{{choice: lend.Choice{Stopped: cost}}}}
	}
	g, err := gapOf([]trial{at(10, 10), at(10, 12), at(0, 0), {results: []result{{}}}}, 0)
	if err != nil || g.of != 2 || g.optimal != 1 || round(g.mean) != 0.1 || round(g.worst) != 0.2 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := gapOf([]trial{at(10, 9)}, 0); err == nil {
		t.Error("an answer that costs less than the least is no error")
	}
}

// An answer is looked at, and not believed.
func TestTryLooksAtAnswers(t *testing.T) {
	a, err := newAges()
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]bool{"nothing is enough": true, "there is no way": false} {
		in := a.small(3)
		got := in.try([]chooser{{"liar", func(instance) (lend.Choice, bool) { return lend.Choice{}, answer }}})
		if answer != (got.err != nil) {
			t.Errorf("%s: %v", name, got.err)
		}
	}
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := Run(Config{Small: 60, Large: 6, Out: &out}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last line
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if last.Instances != 60 || last.MeanGap != 0 || last.WorstGap != 0 || len(last.LostWork) != 5 {
		t.Errorf("%+v", last)
	}
	for rule, lost := range last.LostWork {
		if lost < last.LostWork["ebbtide"] || lost <= 0 {
			t.Errorf("%s loses %v, and Ebbtide %v", rule, lost, last.LostWork["ebbtide"])
		}
	}
}
