package product

import (
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// listNodes lists the nodes and what they have. What a service prefers for its own pods is
// lent last.
func (p *policy) listNodes(s *sim.Scenario) {
	units := make([]lend.Units, len(p.world.Spots()))
	flavors := p.world.Flavors()
	for i, n := range s.Nodes {
		p.nodes[n.Name] = int32(i)
		node := lend.Node{Name: n.Name}
		if n.Home != "" {
			node.LendLast = 1
		}
		first, end := p.world.SpotsOf(int32(i))
		for spot := first; spot < end; spot++ {
			units[spot] = lend.Units{Flavor: flavors[p.world.Spots()[spot].Flavor], Capacity: p.world.Spots()[spot].Capacity}
		}
		node.Units = units[first:end:end]
		if len(n.Cards) > 0 {
			p.cut = append(p.cut, int32(i))
		}
		p.snapshot.Nodes = append(p.snapshot.Nodes, node)
	}
}

// lookAtNodes says which nodes are there, and what online pods hold.
func (p *policy) lookAtNodes() {
	spots := p.world.Spots()
	for i := range p.snapshot.Nodes {
		n := &p.snapshot.Nodes[i]
		first, _ := p.world.SpotsOf(int32(i))
		up := true
		for k := range n.Units {
			spot, u := &spots[int(first)+k], &n.Units[k]
			if u.Online > spot.Online || u.Leaving != spot.Leaving {
				p.freed = true
			}
			if u.Online < spot.Online || u.Capacity != spot.Capacity || u.Pinned != spot.Pinned {
				p.changed = true
			}
			u.Online, u.Leaving, u.Capacity, u.Pinned = spot.Online, spot.Leaving, spot.Capacity, spot.Pinned
			up = up && !spot.Down
		}
		if n.Schedulable != up {
			n.Schedulable, p.changed = up, true
		}
	}
}

// spotOf is where a node has a flavor; -1 if it has none.
func (p *policy) spotOf(node, flavor string) int32 {
	i, ok := p.nodes[node]
	if !ok {
		return -1
	}
	first, end := p.world.SpotsOf(i)
	for spot := first; spot < end; spot++ {
		if p.snapshot.Nodes[i].Units[spot-first].Flavor == flavor {
			return spot
		}
	}
	return -1
}
