package mig

import (
	"container/heap"
	"math/rand/v2"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// mix is how often a slice of which profile is asked for, in percent: 1g, 1g with double
// memory, 2g, 3g, 4g and 7g.
var mix = []struct {
	profile mig.ProfileID
	percent int
}{{0, 40}, {9, 5}, {1, 25}, {2, 15}, {3, 10}, {4, 5}}

// slice is one that is asked for, from one time to another.
type slice struct {
	profile     mig.Profile
	from, until float64
}

// draw draws slices that are asked for at random times, as many as fill so much of the
// compute slices of a cluster on average, each for a time that is 1 on average.
func draw(g *mig.Geometry, gpus int, load float64, n int, seed uint64) []slice {
	r := rand.New(rand.NewPCG(seed, 41))
	var profiles []mig.Profile // one for each percent
	work := 0.0
	for _, m := range mix {
		p, _ := g.Profile(m.profile)
		profiles = append(profiles, slices.Repeat([]mig.Profile{p}, m.percent)...)
		work += float64(p.Compute*m.percent) / 100
	}
	rate := load * float64(gpus*7) / work
	all := make([]slice, n)
	now := 0.0
	for i := range all {
		now += r.ExpFloat64() / rate
		all[i] = slice{profile: profiles[r.IntN(len(profiles))], from: now, until: now + r.ExpFloat64()}
	}
	return all
}

// cluster is GPUs of one board, and what of them is in use.
type cluster struct {
	table *mig.Table
	board mig.Geometry
	gpus  []mig.GPU
	slots []uint16
	// best is, by GPU and profile, where a slice loses least; it is kept until the GPU
	// changes.
	best []map[mig.ProfileID]nomination
}

// nomination is a place, and what is lost if it is used.
type nomination struct {
	start, loss int
	ok          bool
}

func newCluster(board mig.Geometry, n int) *cluster {
	c := &cluster{board: board, gpus: make([]mig.GPU, n), slots: make([]uint16, n), best: make([]map[mig.ProfileID]nomination, n)}
	c.table = mig.NewTable(&c.board)
	return c
}

// open are the starts at which a slice could be on a GPU.
func (c *cluster) open(gpu int, p mig.Profile) []int {
	var starts []int
	for _, start := range p.Starts {
		if c.slots[gpu]>>start&(1<<p.Memory-1) == 0 {
			starts = append(starts, start)
		}
	}
	return starts
}

func (c *cluster) take(gpu int, p mig.Profile, start int) {
	c.slots[gpu] |= (1<<p.Memory - 1) << start
	c.gpus[gpu].Instances = append(c.gpus[gpu].Instances, mig.Instance{Placed: mig.Placed{Profile: p.ID, Start: start}, Use: mig.Busy})
	c.best[gpu] = nil
}

func (c *cluster) leave(gpu int, p mig.Profile, start int) {
	c.slots[gpu] &^= (1<<p.Memory - 1) << start
	c.gpus[gpu].Instances = slices.DeleteFunc(c.gpus[gpu].Instances, func(in mig.Instance) bool { return in.Start == start })
	c.best[gpu] = nil
}

// busy is a slice that has a place, in a heap by when it ends.
type busy struct {
	slice
	gpu, start int
}

type ends []busy

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].until < e[j].until }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(b any)        { *e = append(*e, b.(busy)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func push(e *ends, b busy) { heap.Push(e, b) }
func pop(e *ends) busy     { return heap.Pop(e).(busy) }

// play gives each slice the place that a policy chooses, or none, which is the end of it,
// and counts those without, from one on.
func play(c *cluster, choose policy, all []slice, from int) (rejected int) {
	var running ends
	for i, s := range all {
		for len(running) > 0 && running[0].until <= s.from {
			b := pop(&running)
			c.leave(b.gpu, b.profile, b.start)
		}
		gpu, start, ok := choose(c, s.profile)
		if !ok {
			if i >= from {
				rejected++
			}
			continue
		}
		c.take(gpu, s.profile, start)
		push(&running, busy{s, gpu, start})
	}
	return rejected
}
