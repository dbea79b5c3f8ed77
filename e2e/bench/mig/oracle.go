package mig

import (
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// layout is a set of instances, by start, then profile.
type layout []mig.Placed

// legal says whether a board allows a layout, slot by slot and profile by profile.
func legal(g *mig.Geometry, l layout) bool {
	var slots [16]int
	var engines mig.Engines
	var number amounts
	for _, at := range l {
		p, ok := g.Profile(at.Profile)
		if !ok || !slices.Contains(p.Starts, at.Start) {
			return false
		}
		for k := range p.Memory {
			if slots[at.Start+k]++; slots[at.Start+k] > 1 {
				return false
			}
		}
		if number[p.ID]++; int(number[p.ID]) > p.Max {
			return false
		}
		engines.Decoders += p.Engines.Decoders
		engines.Encoders += p.Engines.Encoders
		engines.JPEG += p.Engines.JPEG
		engines.OFA += p.Engines.OFA
	}
	within := func(used, there int) bool { return there == 0 || used <= there }
	return within(engines.Decoders, g.Engines.Decoders) && within(engines.Encoders, g.Engines.Encoders) &&
		within(engines.JPEG, g.Engines.JPEG) && within(engines.OFA, g.Engines.OFA)
}

// layouts lists all that a board allows: those of all subsets of its places that are
// legal. A subset is not looked at if one with fewer places was not legal.
func layouts(g *mig.Geometry) []layout {
	all := []layout{nil}
	for start := range g.Slots {
		for _, p := range g.Profiles {
			if !slices.Contains(p.Starts, start) {
				continue
			}
			for _, l := range all {
				if more := append(slices.Clone(l), mig.Placed{Profile: p.ID, Start: start}); legal(g, more) {
					all = append(all, more)
				}
			}
		}
	}
	return all
}

// maximal counts the layouts to which nothing can be added.
func maximal(g *mig.Geometry, all []layout) int {
	n := 0
	for _, l := range all {
		full := true
		for _, p := range g.Profiles {
			for _, start := range p.Starts {
				full = full && !legal(g, append(slices.Clone(l), mig.Placed{Profile: p.ID, Start: start}))
			}
		}
		if full {
			n++
		}
	}
	return n
}

// outcome is one thing that a plan could do to a GPU, and what there is then.
type outcome struct {
	created, destroyed []mig.Placed
	usable             amounts
	// used are the slots that nobody else can have, whatever is in demand; kept are the
	// idle instances that were there before.
	used [16]bool
	kept []mig.Placed
	// phi by the profiles in demand, as far as it was asked for.
	phi map[int]int
}

// amounts are numbers of instances, by profile.
type amounts [20]int8 // above NVML's numbers of profiles

// outcomes lists all that can be done to a GPU.
func outcomes(g *mig.Geometry, all []layout, gpu *mig.GPU) []*outcome {
	var out []*outcome
	for _, l := range all {
		out = append(out, outcomesOf(g, l, gpu)...)
	}
	return out
}

// outcomesOf lists what can be done to get from a GPU to a layout: nothing, if something
// that must stay is not in it; and for each remnant that is in it, to leave it or to make
// it anew.
func outcomesOf(g *mig.Geometry, l layout, gpu *mig.GPU) []*outcome {
	base := &outcome{phi: map[int]int{}}
	rest := slices.Clone(l)
	var remnants []mig.Placed
	for _, in := range gpu.Instances {
		k := slices.Index(rest, in.Placed)
		switch in.Use {
		case mig.Idle:
			if k < 0 {
				base.destroyed = append(base.destroyed, in.Placed)
				continue
			}
			base.usable[in.Profile]++
			base.kept = append(base.kept, in.Placed)
		case mig.Remnant:
			if k < 0 {
				base.destroyed = append(base.destroyed, in.Placed)
				continue
			}
			remnants = append(remnants, in.Placed)
		default:
			if k < 0 {
				return nil
			}
			base.use(g, in.Placed)
		}
		rest = slices.Delete(rest, k, k+1)
	}
	for _, at := range rest {
		base.create(g, at)
	}
	out := []*outcome{base}
	for _, at := range remnants {
		for _, o := range out {
			anew := o.clone()
			anew.destroyed = append(anew.destroyed, at)
			anew.create(g, at)
			out = append(out, anew)
		}
	}
	for _, o := range out {
		slices.SortFunc(o.created, byPlace)
		slices.SortFunc(o.destroyed, byPlace)
	}
	return out
}

func (o *outcome) create(g *mig.Geometry, at mig.Placed) {
	o.created = append(o.created, at)
	o.usable[at.Profile]++
	o.use(g, at)
}

func (o *outcome) use(g *mig.Geometry, at mig.Placed) {
	p, _ := g.Profile(at.Profile)
	for k := range p.Memory {
		o.used[at.Start+k] = true
	}
}

func (o *outcome) clone() *outcome {
	c := *o
	c.created, c.destroyed = slices.Clone(o.created), slices.Clone(o.destroyed)
	c.phi = map[int]int{}
	return &c
}

func byPlace(a, b mig.Placed) int {
	if a.Start != b.Start {
		return a.Start - b.Start
	}
	return int(a.Profile) - int(b.Profile)
}

// met is the weight of the demands that are met. They are given the heaviest first.
func (o *outcome) met(demands []mig.Demand) int {
	sum, left := 0, o.usable
	for _, d := range demands {
		n := min(int(left[d.Profile]), d.Count)
		left[d.Profile] -= int8(n)
		sum += n * max(d.Weight, 1)
	}
	return sum
}

// open is the sum of the sizes of all places that are open, of each shape of profile once,
// when what stays, what was made and what is of a profile in demand is in use.
func (o *outcome) open(g *mig.Geometry, demands []mig.Demand) int {
	asked := 0
	for _, d := range demands {
		if d.Count > 0 {
			asked |= 1 << d.Profile
		}
	}
	if sum, ok := o.phi[asked]; ok {
		return sum
	}
	used := o.used
	for _, at := range o.kept {
		p, _ := g.Profile(at.Profile)
		for k := range p.Memory {
			used[at.Start+k] = used[at.Start+k] || asked>>at.Profile&1 == 1
		}
	}
	sum := 0
	for i, p := range g.Profiles {
		if slices.ContainsFunc(g.Profiles[:i], func(q mig.Profile) bool { return q.Memory == p.Memory && slices.Equal(q.Starts, p.Starts) }) {
			continue
		}
		for _, start := range p.Starts {
			if !slices.Contains(used[start:start+p.Memory], true) {
				sum += p.Memory
			}
		}
	}
	o.phi[asked] = sum
	return sum
}

// heaviestFirst sorts demands by weight.
func heaviestFirst(demands []mig.Demand) []mig.Demand {
	byWeight := func(a, b mig.Demand) int { return max(b.Weight, 1) - max(a.Weight, 1) }
	if slices.IsSortedFunc(demands, byWeight) {
		return demands
	}
	demands = slices.Clone(demands)
	slices.SortStableFunc(demands, byWeight)
	return demands
}

// best tries all outcomes and returns the one that a plan should have, with what it meets.
func best(g *mig.Geometry, all []*outcome, demands []mig.Demand) (*outcome, int) {
	heaviest := heaviestFirst(demands)
	var found *outcome
	most := -1
	for _, o := range all {
		met := o.met(heaviest)
		if met < most || met == most && !o.cheaper(g, found, demands) {
			continue
		}
		found, most = o, met
	}
	return found, most
}

// cheaper compares what meets as much.
func (o *outcome) cheaper(g *mig.Geometry, other *outcome, demands []mig.Demand) bool {
	if len(o.destroyed) != len(other.destroyed) {
		return len(o.destroyed) < len(other.destroyed)
	}
	if len(o.created) != len(other.created) {
		return len(o.created) < len(other.created)
	}
	if a, b := o.open(g, demands), other.open(g, demands); a != b {
		return a > b
	}
	if c := slices.CompareFunc(o.created, other.created, byPlace); c != 0 {
		return c < 0
	}
	return slices.CompareFunc(o.destroyed, other.destroyed, byPlace) < 0
}
