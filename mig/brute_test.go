package mig_test

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
)

// outcome is one thing that can be done to a GPU: what a plan is compared with.
type outcome struct {
	destroy, create []mig.Placed
	usable          map[mig.ProfileID]int
	phi             int
}

// outcomes lists all that can be done to a GPU when the profiles are in demand.
func outcomes(table *mig.Table, gpu mig.GPU, demands []mig.Demand) []outcome {
	g := table.Geometry()
	var fixed, free []mig.Placed
	use := map[mig.Placed]mig.Use{}
	for _, in := range gpu.Instances {
		use[in.Placed] = in.Use
		if in.Use == mig.Idle || in.Use == mig.Remnant {
			free = append(free, in.Placed)
		} else {
			fixed = append(fixed, in.Placed)
		}
	}
	asked := map[mig.ProfileID]bool{}
	for _, d := range demands {
		asked[d.Profile] = asked[d.Profile] || d.Count > 0
	}
	var all []outcome
	// What of the free ones goes, and then what comes: each subset with each.
	for gone := range 1 << len(free) {
		stay := slices.Clone(fixed)
		o := outcome{usable: map[mig.ProfileID]int{}}
		kept := uint16(0)
		for i, at := range free {
			switch {
			case gone>>i&1 == 1:
				o.destroy = append(o.destroy, at)
			default:
				stay = append(stay, at)
				if use[at] == mig.Idle {
					o.usable[at.Profile]++
					if asked[at.Profile] {
						kept |= slots(g, at)
					}
				}
			}
		}
		for _, at := range fixed {
			kept |= slots(g, at)
		}
		for _, set := range sets(&g, stay...) {
			n := outcome{destroy: o.destroy, create: slices.Clone(set[len(stay):]), usable: map[mig.ProfileID]int{}}
			for p, k := range o.usable {
				n.usable[p] = k
			}
			used := kept
			for _, at := range n.create {
				n.usable[at.Profile]++
				used |= slots(g, at)
			}
			n.phi = phi(g, used)
			all = append(all, n)
		}
	}
	return all
}

func slots(g mig.Geometry, at mig.Placed) (mask uint16) {
	p, _ := g.Profile(at.Profile)
	for k := range p.Memory {
		mask |= 1 << (at.Start + k)
	}
	return mask
}

// phi adds up the sizes of the places that are open, of profiles with the same places once.
func phi(g mig.Geometry, used uint16) int {
	sum := 0
	for i, p := range g.Profiles {
		twice := false
		for _, q := range g.Profiles[:i] {
			twice = twice || q.Memory == p.Memory && slices.Equal(q.Starts, p.Starts)
		}
		for _, start := range p.Starts {
			if !twice && used&slots(g, mig.Placed{Profile: p.ID, Start: start}) == 0 {
				sum += p.Memory
			}
		}
	}
	return sum
}

// met is the weight of demand that so many instances meet.
func met(usable map[mig.ProfileID]int, demands []mig.Demand) int {
	demands = slices.Clone(demands)
	slices.SortStableFunc(demands, func(a, b mig.Demand) int { return max(b.Weight, 1) - max(a.Weight, 1) })
	left, sum := map[mig.ProfileID]int{}, 0
	for p, n := range usable {
		left[p] = n
	}
	for _, d := range demands {
		n := min(left[d.Profile], d.Count)
		left[d.Profile] -= n
		sum += n * max(d.Weight, 1)
	}
	return sum
}

// drawBoard draws a board of few slots with rules of all kinds.
func drawBoard(t *rapid.T) mig.Geometry {
	g := mig.Geometry{Board: "drawn", Slots: rapid.IntRange(2, 6).Draw(t, "slots")}
	limit := func(name string) int { return rapid.IntRange(0, 4).Draw(t, name) }
	g.Engines = mig.Engines{Decoders: limit("decoders"), JPEG: limit("jpeg")}
	for id := range rapid.IntRange(1, 4).Draw(t, "profiles") {
		p := mig.Profile{ID: mig.ProfileID(id), Name: string(rune('a' + id)), Max: rapid.IntRange(1, 4).Draw(t, "max")}
		p.Memory = rapid.IntRange(1, min(3, g.Slots)).Draw(t, "memory")
		p.Engines = mig.Engines{Decoders: rapid.IntRange(0, 2).Draw(t, "decoders"), JPEG: rapid.IntRange(0, 1).Draw(t, "jpeg")}
		for start := range g.Slots - p.Memory + 1 {
			if rapid.IntRange(0, 3).Draw(t, "may begin") > 0 {
				p.Starts = append(p.Starts, start)
			}
		}
		if len(p.Starts) == 0 {
			p.Starts = []int{0}
		}
		g.Profiles = append(g.Profiles, p)
	}
	if rapid.IntRange(0, 3).Draw(t, "apart") == 0 {
		g.Apart = [][2]mig.ProfileID{{0, mig.ProfileID(len(g.Profiles) - 1)}}
	}
	return g
}

var uses = []mig.Use{mig.Idle, mig.Idle, mig.Idle, mig.Remnant, mig.Pinned, mig.Busy, mig.Lent, mig.Draining, mig.Foreign, mig.Unknown, ""}

// drawGPU draws a GPU with a layout of the board's.
func drawGPU(t *rapid.T, g *mig.Geometry, uuid string) mig.GPU {
	set := rapid.SampledFrom(sets(g)).Draw(t, uuid)
	gpu := mig.GPU{UUID: uuid}
	for i, at := range set {
		gpu.Instances = append(gpu.Instances, mig.Instance{Placed: at, Generation: int64(i + 1), Use: rapid.SampledFrom(uses).Draw(t, "use")})
	}
	return gpu
}

func drawDemands(t *rapid.T, g *mig.Geometry, most int) []mig.Demand {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mig.Demand {
		return mig.Demand{
			Profile: rapid.SampledFrom(g.Profiles).Draw(t, "profile").ID,
			Count:   rapid.IntRange(0, 3).Draw(t, "count"), Weight: rapid.IntRange(0, 3).Draw(t, "weight"),
		}
	}), 0, most).Draw(t, "demands")
}

func drawAnyBoard(t *rapid.T) mig.Geometry {
	if rapid.Bool().Draw(t, "a real board") {
		return rapid.SampledFrom(mig.Boards()[8:]).Draw(t, "board")
	}
	return drawBoard(t)
}
