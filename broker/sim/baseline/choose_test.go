package baseline

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// choice is what there is to choose from, in a notation for tables.
type choice struct {
	free  []int64 // by node
	size  int64
	owed  int64
	holds [][2][]int64 // by candidate: nodes, and pods of one unit on each
	cost  []float64    // by candidate; missing: 1
	prio  []int32      // by candidate; missing: 0
}

// parts of a choice. Candidates started one minute after the other.
func (c choice) parts() (rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) {
	for i, n := range c.free {
		rooms = append(rooms, lend.Room{Node: fmt.Sprintf("node-%d", i), Flavor: "gpu", Free: n})
	}
	for i, h := range c.holds {
		v := lend.Candidate{Name: fmt.Sprintf("job-%02d", i), LostWork: 1, UnitsPerPod: 1, Since: time.Unix(0, 0).Add(time.Duration(i) * time.Minute)}
		if i < len(c.cost) {
			v.LostWork = c.cost[i]
		}
		if i < len(c.prio) {
			v.Priority = c.prio[i]
		}
		for k, node := range h[0] {
			v.Pods += h[1][k]
			v.Grants = append(v.Grants, lend.Grant{Lender: "serving/chat", Node: fmt.Sprintf("node-%d", node), Flavor: "gpu", Count: h[1][k]})
		}
		candidates = append(candidates, v)
	}
	return rooms, lend.Owed{Lender: "serving/chat", Flavor: "gpu", UnitsPerPod: c.size, Pods: c.owed}, candidates
}

func on(nodes, pods []int64) [2][]int64 { return [2][]int64{nodes, pods} }

func TestChoosers(t *testing.T) {
	two := choice{
		// Two nodes of 8: one job on the first, two on the second.
		free: []int64{0, 0}, size: 8, owed: 1,
		holds: [][2][]int64{on([]int64{0}, []int64{8}), on([]int64{1}, []int64{4}), on([]int64{1}, []int64{4})},
	}
	dear := two
	dear.cost = []float64{100, 1, 1}
	ranked := two
	ranked.prio = []int32{0, 5, 5}
	spread := choice{
		// A gang over both nodes, and a small job on each: 4 of 8 are wanted.
		free: []int64{0, 0}, size: 4, owed: 1,
		holds: [][2][]int64{on([]int64{0, 1}, []int64{4, 4}), on([]int64{0}, []int64{4}), on([]int64{1}, []int64{4})},
	}
	pair := spread
	pair.size, pair.owed = 4, 2
	spare := choice{
		free: []int64{0, 0}, size: 8, owed: 1,
		holds: [][2][]int64{on([]int64{0}, []int64{8}), on([]int64{1}, []int64{2})},
	}
	for name, tt := range map[string]struct {
		choose chooser
		in     choice
		want   []int // nil: it finds no way
	}{
		"fewest jobs: one job, not two":            {byRule(lend.FewestJobs), two, []int{0}},
		"fewest jobs: at any cost":                 {byRule(lend.FewestJobs), dear, []int{0}},
		"exhaustive: two jobs that lose less":      {exhaustively, dear, []int{1, 2}},
		"exhaustive: the first of equal cost":      {exhaustively, two, []int{0}},
		"exhaustive: one gang for two pods":        {exhaustively, pair, []int{0}},
		"exhaustive: no way":                       {exhaustively, choice{free: []int64{0}, size: 8, owed: 1, holds: spare.holds[1:]}, nil},
		"newest first: both of the second node":    {newestFirst, two, []int{1, 2}},
		"newest first: low priority before":        {newestFirst, ranked, []int{0}},
		"newest first: spares who is not needed":   {newestFirst, spare, []int{0}},
		"newest first: no way":                     {newestFirst, choice{free: []int64{0}, size: 8, owed: 1, holds: spare.holds[1:]}, nil},
		"stock: fewest pods":                       {stockPreemption, choice{free: []int64{0, 4}, size: 8, owed: 1, holds: [][2][]int64{on([]int64{0}, []int64{8}), on([]int64{1}, []int64{4})}}, []int{1}},
		"stock: of as many pods the newest":        {stockPreemption, spread, []int{2}},
		"stock: spares the oldest on the node":     {stockPreemption, choice{free: []int64{0}, size: 4, owed: 1, holds: [][2][]int64{on([]int64{0}, []int64{4}), on([]int64{0}, []int64{4})}}, []int{1}},
		"stock: knows no gangs":                    {stockPreemption, pair, []int{1, 2}},
		"stock: breaks two gangs for two pods":     {stockPreemption, choice{free: []int64{0, 0}, size: 8, owed: 2, holds: [][2][]int64{on([]int64{0, 1}, []int64{4, 4}), on([]int64{0, 1}, []int64{4, 4})}}, []int{0, 1}},
		"stock: as many pods as there is room for": {stockPreemption, choice{free: []int64{0}, size: 4, owed: 9, holds: [][2][]int64{on([]int64{0}, []int64{8})}}, []int{0}},
		"stock: no way":                            {stockPreemption, choice{free: []int64{0}, size: 8, owed: 1, holds: spare.holds[1:]}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			victims, ok := tt.choose(tt.in.parts())
			var got []int
			for _, v := range victims {
				got = append(got, v.Index)
			}
			if ok != (tt.want != nil) || !slices.Equal(got, tt.want) {
				t.Errorf("chose %v (%t), want %v", got, ok, tt.want)
			}
		})
	}
}

// Of small choices the exhaustive search is never worse than any rule, what it says costs
// what it says, and nobody else finds a way where it finds none.
func TestExhaustiveIsBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := choice{size: rapid.SampledFrom([]int64{1, 2, 3, 8}).Draw(t, "size"), owed: rapid.Int64Range(1, 4).Draw(t, "owed")}
		nodes := rapid.IntRange(1, 4).Draw(t, "nodes")
		for range nodes {
			c.free = append(c.free, rapid.Int64Range(0, 3).Draw(t, "free"))
		}
		for range rapid.IntRange(0, 8).Draw(t, "jobs") {
			var h [2][]int64
			for n := range nodes {
				if pods := rapid.Int64Range(0, 4).Draw(t, "pods"); pods > 0 {
					h[0], h[1] = append(h[0], int64(n)), append(h[1], pods)
				}
			}
			if len(h[0]) > 0 {
				c.holds, c.cost = append(c.holds, h), append(c.cost, float64(rapid.IntRange(0, 9).Draw(t, "cost")))
			}
		}
		best, found := c.price(t, exhaustively)
		for name, choose := range map[string]chooser{
			"newest first": newestFirst, "least loss": byLeastLoss,
			"random": byRule(lend.RandomVictims), "fewest jobs": byRule(lend.FewestJobs), "lyra": byRule(lend.LyraCost), "gfs": byRule(lend.GFSScore),
		} {
			cost, ok := c.price(t, choose)
			if ok && !found || cost < best {
				t.Fatalf("%s costs %v (%t), the best %v (%t)", name, cost, ok, best, found)
			}
			if found && name == "least loss" && cost != best {
				t.Fatalf("the product's choice costs %v, the best %v", cost, best)
			}
		}
	})
}

// price is what a choice costs, if it makes room.
func (c choice) price(t *rapid.T, choose chooser) (cost float64, ok bool) {
	rooms, owed, candidates := c.parts()
	victims, ok := choose(rooms, owed, candidates)
	if !ok {
		return math.Inf(1), false
	}
	in := newInstance(rooms, owed, candidates)
	for _, v := range victims {
		in.stop(v.Index, 1)
		cost += candidates[v.Index].LostWork
	}
	room := int64(0)
	for _, n := range in.free {
		room += n / c.size
	}
	if room != in.room {
		t.Fatalf("room for %d, counted %d", room, in.room)
	}
	return cost, room >= c.owed
}
