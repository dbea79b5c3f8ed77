package lend

import "slices"

// crowdedOut is a node on which a loan of which some pods have no node, since an earlier
// decision at the latest, has units that others hold: empty if there is none. Whoever came
// in the moment in which the loan was made may have been let in; what the loan is then left
// with may never be enough for the gang, and until it is over it stands in the way of others.
func (d *decision) crowdedOut(l *loan) string {
	if l.part || l.ending || l.memory.WaitingSince.IsZero() || !l.memory.WaitingSince.Before(d.now) {
		return ""
	}
	for _, g := range slices.Concat(l.frees(), l.made) {
		if d.over(g.Node, g.Flavor) > 0 {
			return g.Node
		}
	}
	return ""
}

// over is how many units of a node are held beyond those that it has, by pods that stay and
// loans that go on; never positive for a node that is not there.
func (d *decision) over(node, flavor string) int64 {
	n := int64(0)
	for i := range d.in.Nodes {
		if d.in.Nodes[i].Name != node {
			continue
		}
		for _, u := range d.in.Nodes[i].Units {
			if u.Flavor == flavor {
				online := clamp(u.Online)
				n += online - min(clamp(u.Leaving), online) + clamp(u.Other) - clamp(u.Capacity) - clamp(u.Broken)
			}
		}
	}
	for l := range d.holders() {
		if l.ending {
			continue
		}
		for _, g := range l.frees() {
			if g.Node == node && g.Flavor == flavor {
				n += g.Count
			}
		}
	}
	return n
}
