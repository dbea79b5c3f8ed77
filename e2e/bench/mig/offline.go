package mig

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// cut is how a GPU is cut: by slot, when the slice there ends, as a place in the order of
// all ends, or 0. That is all that counts for what comes.
type cut [8]uint16

// course is a way of choosing so far, and how many it rejected.
type course struct {
	cut
	rejected int
}

// optimum is how many of the slices, of those from one on, everybody rejects at least who
// has one GPU and moves nothing, and who knows beforehand what comes and when it ends: the
// offline optimum.
//
// Every place of each slice is tried, and its rejection, for all courses at once. Of those
// that lead to the same cut only the best goes on, and none for which another has rejected
// no more and has every slot free no later. So nothing better is left out. A policy's known
// number of rejections bounds the search.
func optimum(all []slice, from, known int) int {
	ranks := ranksOf(all)
	now := []course{{}}
	for i, s := range all {
		least := map[cut]int{}
		keep := func(c cut, rejected int) {
			if n, seen := least[c]; rejected <= known && (!seen || rejected < n) {
				least[c] = rejected
			}
		}
		begins := ranks.before(s.from)
		for _, c := range now {
			c.end(begins)
			for _, start := range s.profile.Starts {
				if next := c.cut; next.take(start, s.profile.Memory, ranks.of[i]) {
					keep(next, c.rejected)
				}
			}
			if i >= from {
				c.rejected++
			}
			keep(c.cut, c.rejected)
		}
		now = undominated(least)
	}
	best := known
	for _, c := range now {
		best = min(best, c.rejected)
	}
	return best
}

// end frees what has ended.
func (c *cut) end(begins uint16) {
	for slot, until := range c {
		if until <= begins {
			c[slot] = 0
		}
	}
}

// take reports whether the slots are free, which it then takes.
func (c *cut) take(start, memory int, until uint16) bool {
	slots := c[start : start+memory]
	for _, taken := range slots {
		if taken != 0 {
			return false
		}
	}
	for i := range slots {
		slots[i] = until
	}
	return true
}

// atLeastAsGood reports whether whatever can follow b can follow c.
func (c *cut) atLeastAsGood(b *cut) bool {
	for slot, until := range c {
		if until > b[slot] {
			return false
		}
	}
	return true
}

// undominated leaves out courses for which there is another that is no worse.
func undominated(least map[cut]int) []course {
	var all []course
	for c, rejected := range least {
		all = append(all, course{c, rejected})
	}
	weight := func(c *course) (sum int) {
		for _, until := range c.cut {
			sum += int(until)
		}
		return sum
	}
	// One that is no worse comes first: it has rejected no more, and ends no later.
	slices.SortFunc(all, func(a, b course) int {
		return cmp.Or(cmp.Compare(a.rejected, b.rejected), cmp.Compare(weight(&a), weight(&b)))
	})
	var kept []course
	for _, c := range all {
		if !slices.ContainsFunc(kept, func(o course) bool { return o.atLeastAsGood(&c.cut) }) {
			kept = append(kept, c)
		}
	}
	return kept
}

// ranks is the order in which slices end.
type ranks struct {
	ends []float64
	of   []uint16 // by slice, from 1 on
}

func ranksOf(all []slice) ranks {
	r := ranks{of: make([]uint16, len(all))}
	for _, s := range all {
		r.ends = append(r.ends, s.until)
	}
	slices.Sort(r.ends)
	for i, s := range all {
		at, _ := slices.BinarySearch(r.ends, s.until)
		r.of[i] = uint16(at + 1)
	}
	return r
}

// before is the last place in the order that has ended at a time.
func (r *ranks) before(at float64) uint16 {
	n, there := slices.BinarySearch(r.ends, at)
	if there {
		n++
	}
	return uint16(n)
}

// mostSmallArrivals is how many slices can be told apart by the order of their ends; the
// search takes longer than anybody waits well before.
const mostSmallArrivals = 10000

// smallRow is what each policy rejects at a load on one GPU, in percent, and the optimum.
func (c BenchConfig) smallRow(load float64) map[string]float64 {
	board, _ := mig.Board("A100-40GB")
	from := c.SmallArrivals / 20
	rejected := make([]map[string]int, c.SmallSeeds)
	each(c.SmallSeeds, func(i int) {
		seed := uint64(firstSeed + i)
		all := draw(&board, 1, load, c.SmallArrivals, seed)
		rejected[i] = map[string]int{}
		known := c.SmallArrivals
		for _, p := range policies {
			n := play(newCluster(board, 1), p.make(seed), all, from)
			rejected[i][p.name], known = n, min(known, n)
		}
		rejected[i][optimumName] = optimum(all, from, known)
	})
	row := map[string]float64{}
	for name := range rejected[0] {
		sum := 0
		for i := range rejected {
			sum += rejected[i][name]
		}
		row[name] = round(100*float64(sum)/float64(c.SmallSeeds*(c.SmallArrivals-from)), 1e4)
	}
	return row
}
