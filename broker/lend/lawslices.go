package lend

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/mig"
)

// noShapeBack finds cards whose owners could not have their slices back in their shape:
// where undoing the changes would not give a layout that the board allows, or where nothing
// else would either.
func (d *decision) noShapeBack() []Violation {
	if d.reshapes == nil {
		return nil
	}
	var out []Violation
	seen := map[string]bool{}
	for _, r := range d.reshapes.list {
		at := r.node.Name + "/" + r.GPU
		if r.broken != "" || r.card == nil || seen[at] {
			continue
		}
		seen[at] = true
		if why := d.wayBack(r.node, r.card); why != nil {
			out = append(out, Violation{2, at, fmt.Sprintf("evicting all loans does not bring back the slices of the card's owners: %v", why)})
		}
	}
	return out
}

// wayBack says why a card's changes cannot be undone.
func (d *decision) wayBack(n *Node, card *Card) error {
	b := d.tables[card.Board]
	if b == nil {
		return nil // nothing is known of it, and nothing is planned for it
	}
	var undone []mig.Placed
	for _, in := range card.Instances {
		if !changes(n.Reshapes, card.UUID, in.Placed) {
			undone = append(undone, in.Placed)
		}
	}
	var owners []mig.Demand
	for _, r := range n.Reshapes {
		if r.GPU != card.UUID || r.Stuck != "" {
			continue
		}
		undone = append(undone, r.Destroy...)
		for _, at := range r.Destroy {
			owners = append(owners, mig.Demand{Profile: at.Profile, Count: 1})
		}
	}
	slices.SortFunc(undone, func(x, y mig.Placed) int { return x.Start - y.Start })
	if err := b.geometry.Check(undone); err != nil {
		return err
	}
	for _, in := range card.Instances {
		if (in.Use == mig.Idle || in.Use == mig.Lent) && !changes(n.Reshapes, card.UUID, in.Placed) {
			owners = append(owners, mig.Demand{Profile: in.Profile, Count: 1})
		}
	}
	return b.table().Reform(card.GPU, owners)
}
