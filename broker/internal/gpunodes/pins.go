package gpunodes

import (
	"cmp"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// Pins is what is kept of one resource on a node's GPUs.
type Pins struct {
	// Units that are kept, and those that should be.
	Units, Wanted int64
	// Cards that can be cut into it, and those of them where what is kept is not where it
	// leaves the most for others.
	Cards, Bad int
	// Best are the first slots where it would, and Most how many there is room for at most,
	// both of the card with the least room.
	Best []int
	Most int
}

// Plus adds what is kept elsewhere.
func (p Pins) Plus(o Pins) Pins {
	if p.Cards == 0 || o.Cards > 0 && o.Most < p.Most {
		p.Best, p.Most = o.Best, o.Most
	}
	p.Units, p.Wanted, p.Cards, p.Bad = p.Units+o.Units, p.Wanted+o.Wanted, p.Cards+o.Cards, p.Bad+o.Bad
	return p
}

// pins chooses the places to keep on a card, and marks the instances.
func (c *card) pins(wants map[string]int, sums map[string]Pins) []v1alpha1.MIGPlacement {
	var places []v1alpha1.MIGPlacement
	for _, resource := range slices.Sorted(maps.Keys(wants)) {
		profile, known := c.board.Geometry.ProfileOf(resource)
		if !known || wants[resource] <= 0 {
			continue
		}
		best := c.board.Table.BestPins(min(wants[resource], profile.Max), profile.ID)
		chosen := c.choose(profile, wants[resource])
		of := Pins{Units: int64(len(chosen)), Wanted: int64(wants[resource]), Cards: 1, Best: best, Most: profile.Max}
		if c.leaves(profile, chosen) < c.leaves(profile, best[:min(len(best), len(chosen))]) {
			of.Bad = 1
		}
		sums[resource] = sums[resource].Plus(of)
		for _, start := range chosen {
			places = append(places, v1alpha1.MIGPlacement{Profile: int32(profile.ID), Name: profile.Name, Start: int32(start)})
			c.pin(mig.Placed{Profile: profile.ID, Start: start})
		}
	}
	slices.SortFunc(places, func(a, b v1alpha1.MIGPlacement) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Profile, b.Profile))
	})
	return places
}

// leaves is how much a card without anything else offers beside instances of a profile.
func (c *card) leaves(profile mig.Profile, starts []int) int {
	var used uint16
	for _, start := range starts {
		used |= (1<<profile.Memory - 1) << start
	}
	return c.board.Table.Phi(used)
}

// choose are the starts of n places to keep: first where services' pods are, so that what
// is left for loans is as many as the count says. Where an instance is lost, or nobody
// knows what it is used for, a place that is kept stays so: after a reboot the agent makes
// these before all others.
func (c *card) choose(profile mig.Profile, n int) []int {
	current, going := c.current(profile.ID), c.node.going(c.status.UUID)
	if c.node.Stale {
		return slices.Sorted(maps.Keys(current))
	}
	gpu := mig.GPU{UUID: c.lend.UUID, Instances: slices.Clone(c.lend.Instances)}
	for i := range gpu.Instances {
		switch in := &gpu.Instances[i]; {
		case going[in.Placed] && in.Use == mig.Idle:
			in.Use = mig.Draining
		case in.Profile == profile.ID && current[in.Start] && (in.Use == mig.Unknown || in.Use == mig.Draining):
			in.Use = mig.Pinned
		}
	}
	chosen, err := c.board.Table.Pins(gpu, n, profile.ID)
	if err != nil {
		chosen = nil // what the agent says fits on no such board
	}
	for _, start := range slices.Sorted(maps.Keys(current)) {
		if len(chosen) < n && !slices.Contains(chosen, start) && c.keeps(mig.Placed{Profile: profile.ID, Start: start}) {
			chosen = append(chosen, start)
		}
	}
	slices.Sort(chosen)
	return chosen
}

// keeps tells whether a place that is kept may stay so although there is no instance: none
// is in its place.
func (c *card) keeps(at mig.Placed) bool {
	if c.node.going(c.status.UUID)[at] {
		return false
	}
	layout := []mig.Placed{at}
	for _, in := range c.lend.Instances {
		if in.Placed == at {
			return false
		}
		layout = append(layout, in.Placed)
	}
	return c.board.Geometry.Check(layout) == nil
}

// pin marks the instance at a place as kept. That nobody knows what it is used for, or
// that it is somebody else's, says more.
func (c *card) pin(at mig.Placed) {
	for i := range c.lend.Instances {
		in := &c.lend.Instances[i]
		if in.Placed == at && in.Use != mig.Unknown && in.Use != mig.Foreign {
			in.Use = mig.Pinned
		}
	}
}

// Keeps tells whether that is what the spec says is kept. Where nothing was heard from the
// agent, what it says stands.
func (n *Node) Keeps(pinned []v1alpha1.PinnedSlices) bool {
	return n.Stale || apiequality.Semantic.DeepEqual(n.Object.Spec.Pinned, pinned)
}

// current are the starts of a profile that the spec keeps.
func (c *card) current(profile mig.ProfileID) map[int]bool {
	starts := map[int]bool{}
	for i := range c.node.Object.Spec.Pinned {
		if kept := &c.node.Object.Spec.Pinned[i]; kept.GPU == c.status.UUID {
			for _, at := range kept.Places {
				if mig.ProfileID(at.Profile) == profile {
					starts[int(at.Start)] = true
				}
			}
		}
	}
	return starts
}
