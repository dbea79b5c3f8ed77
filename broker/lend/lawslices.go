package lend

import (
	"fmt"

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
	owned := map[mig.ProfileID]int{}
	var undone []mig.Placed
	evicted, stuck := mig.GPU{UUID: card.UUID}, false
	for _, in := range card.Instances {
		switch {
		case !changes(n.Reshapes, card.UUID, in.Placed):
			undone = append(undone, in.Placed)
			if in.Use == mig.Idle || in.Use == mig.Lent {
				owned[in.Profile]++
			}
			evicted.Instances = append(evicted.Instances, in)
		case stays(&in): // of what was made
			stuck = true
			evicted.Instances = append(evicted.Instances, in)
		}
	}
	for _, r := range n.Reshapes {
		if r.GPU != card.UUID || r.Stuck != "" {
			continue
		}
		undone = append(undone, r.Destroy...)
		for _, at := range r.Destroy {
			owned[at.Profile]++
		}
	}
	if err := b.geometry.Check(undone); err != nil || !stuck {
		return err // with nothing in its way, the layout before is one that has them all
	}
	return b.table().Reform(evicted, b.demands(owned))
}

// demands are in the order of the board's profiles.
func (b *board) demands(owned map[mig.ProfileID]int) (out []mig.Demand) {
	for _, p := range b.geometry.Profiles {
		if owned[p.ID] > 0 {
			out = append(out, mig.Demand{Profile: p.ID, Count: owned[p.ID]})
		}
	}
	return out
}
