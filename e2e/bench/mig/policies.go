package mig

import (
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// policy chooses a GPU and a place for a slice, or says that there is none.
type policy func(*cluster, mig.Profile) (gpu, start int, ok bool)

// policies are those that are compared, the rule of least loss first.
var policies = []struct {
	name, text string
	make       func(seed uint64) policy
}{
	{"ebbtide", "least loss of Phi over all GPUs and places, as if each slice were made when it is asked for", func(uint64) policy { return leastLoss }},
	{"dra", "first GPU by its number, there the device that the DRA driver publishes first", asPublished},
	{"firstFit", "first GPU, lowest slots", func(uint64) policy { return firstFit }},
	{"bestFit", "fullest GPU, lowest slots", func(uint64) policy { return bestFit }},
	{"hami", "first GPU, 1g and 3g from above, others from below", func(uint64) policy { return fromBothEnds }},
	{"count", "first GPU that has it by count, lowest slots there; gives up if that GPU has no room for it", byCount},
	{"random", "any place", randomly},
}

// leastLoss takes the place after which most is left, of all GPUs'. The product has this
// rule where it has a choice: among the slices that are there, and within the plan for one
// card. It does not look for a place on all GPUs for each slice that is asked for; that is
// how good the rule can be.
func leastLoss(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
	least := 0
	for g := range c.gpus {
		n := c.nominate(g, p)
		if n.ok && (!ok || n.loss < least) {
			gpu, start, least, ok = g, n.start, n.loss, true
		}
	}
	return gpu, start, ok
}

// nominate asks the planner's table where on a GPU a slice loses least.
func (c *cluster) nominate(gpu int, p mig.Profile) nomination {
	n, known := c.best[gpu][p.ID]
	if known {
		return n
	}
	if n.start, n.ok = c.table.Best(c.gpus[gpu], p.ID); n.ok {
		n.loss, n.ok = c.table.Loss(c.gpus[gpu], mig.Placed{Profile: p.ID, Start: n.start})
	}
	if c.best[gpu] == nil {
		c.best[gpu] = map[mig.ProfileID]nomination{}
	}
	c.best[gpu][p.ID] = n
	return n
}

func firstFit(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
	for g := range c.gpus {
		if open := c.open(g, p); len(open) > 0 {
			return g, open[0], true
		}
	}
	return 0, 0, false
}

func bestFit(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
	fullest := -1
	for g := range c.gpus {
		open := c.open(g, p)
		if used := bits.OnesCount16(c.slots[g]); len(open) > 0 && used > fullest {
			gpu, start, ok, fullest = g, open[0], true, used
		}
	}
	return gpu, start, ok
}

// asPublished takes the first device that can be had, as Kubernetes' allocator does: the
// GPUs by their number, on each the places in the order in which the DRA driver publishes
// them.
func asPublished(uint64) policy {
	orders := map[mig.ProfileID][]int{}
	return func(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
		if orders[p.ID] == nil {
			orders[p.ID] = c.table.Order(p.ID)
		}
		for g := range c.gpus {
			open := c.open(g, p)
			for _, start := range orders[p.ID] {
				if slices.Contains(open, start) {
					return g, start, true
				}
			}
		}
		return 0, 0, false
	}
}

// fromBothEnds is the order in which HAMi tries places.
func fromBothEnds(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
	for g := range c.gpus {
		if open := c.open(g, p); len(open) > 0 {
			if p.Compute%2 == 1 {
				return g, open[len(open)-1], true
			}
			return g, open[0], true
		}
	}
	return 0, 0, false
}

// byCount takes the first GPU for which there is a layout with so many of each profile, and
// lets the driver place the slice, which takes the lowest slots. If those in use lie so that
// there is no room, the slice is rejected: who plans by count learns that from the driver.
// Trying the next GPU then, and the next, would be first fit, with errors on the way.
func byCount(uint64) policy {
	var exists map[amounts]bool
	return func(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
		if exists == nil {
			exists = map[amounts]bool{}
			for _, l := range layouts(&c.board) {
				var n amounts
				for _, at := range l {
					n[at.Profile]++
				}
				exists[n] = true
			}
		}
		for g := range c.gpus {
			var n amounts
			n[p.ID]++
			for _, in := range c.gpus[g].Instances {
				n[in.Profile]++
			}
			if !exists[n] {
				continue
			}
			if open := c.open(g, p); len(open) > 0 {
				return g, open[0], true
			}
			return 0, 0, false
		}
		return 0, 0, false
	}
}

func randomly(seed uint64) policy {
	r := rand.New(rand.NewPCG(seed, 43))
	return func(c *cluster, p mig.Profile) (gpu, start int, ok bool) {
		n := 0
		for g := range c.gpus {
			for _, s := range c.open(g, p) {
				// Each of n places is kept with the same chance.
				if n++; r.IntN(n) == 0 {
					gpu, start, ok = g, s, true
				}
			}
		}
		return gpu, start, ok
	}
}
