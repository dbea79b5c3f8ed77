package lend

import "slices"

// strange: somebody without a loan is on what was made, so that nothing that ends brings
// the lender's units back.
func (r *reshape) strange() {
	r.stranger = true
	if r.broken == "" {
		r.broken = "somebody without a loan is on it"
	}
}

// findStrangers takes those who are counted on a node beyond what it has of a flavor besides
// what was made to be on what was made, whatever the cards say: they may not be shown, or
// not yet.
func (s *reshapes) findStrangers(d *decision, n *Node, list []*reshape) {
	var flavors []string
	for _, r := range list {
		flavors = append(flavors, r.To)
	}
	slices.Sort(flavors)
	for _, flavor := range slices.Compact(flavors) {
		over := s.crowd(d, n, flavor, list)
		for _, r := range list {
			if r.To == flavor && r.stranger {
				over -= r.Made
			}
		}
		for _, r := range list {
			if over > 0 && r.To == flavor && !r.stranger && r.mayBeTaken() {
				r.strange()
				over -= r.Made
			}
		}
	}
}

// mayBeTaken: what was made may be there, and no loan goes on with it.
func (r *reshape) mayBeTaken() bool {
	return (r.State != ReshapeMaking || len(r.made()) > 0) && (r.holder == nil || r.holder.ends())
}

// crowd is how many more units pods and loans that go on hold of a flavor than the node has
// besides what was made, also where no card shows it. Of a node that says nothing of what was
// made, nothing is concluded: its device plugin may have just started.
func (s *reshapes) crowd(d *decision, n *Node, flavor string, list []*reshape) int64 {
	i, there := findUnits(n, flavor)
	if !there {
		return 0
	}
	u := n.Units[i]
	if clamp(u.Online)+clamp(u.Other) == 0 {
		return 0
	}
	t, known := d.tally(n, flavor)
	if !known && clamp(u.Capacity)+clamp(u.Broken) == 0 {
		return 0
	}
	besides(&u, t, known, list)
	return s.held(n.Name, &u) - max(u.Capacity+clamp(u.Broken), t.all)
}

// held is what pods without a loan and loans that go on have of a node's units, but for what
// was made.
func (s *reshapes) held(node string, u *Units) int64 {
	return clamp(u.Online) + clamp(u.Other) + s.own[[2]string{node, u.Flavor}]
}
