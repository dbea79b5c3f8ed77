package decisions

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// reshaped counts, per node, the units of a flavor that come back when cards are shaped
// back on which nobody stays: those without a holder, and those of loans that are going.
// Of a change that is under way either way nothing is counted, since what of it the node
// has already cannot be told from here: a victim may be thought to be needed that was not.
func reshaped(in *lend.Snapshot, flavor string, going map[string]bool) map[string]int64 {
	type lot struct{ node, flavor, lender string }
	held := map[lot]int64{} // by loans that stay
	for _, l := range in.Loans {
		if going[l.Name] || l.Reclaiming || l.Preempted || l.Finished {
			continue
		}
		for _, g := range l.Grants {
			held[lot{g.Node, g.Flavor, g.Lender}] += g.Count
		}
	}
	back := map[string]int64{}
	for _, n := range in.Nodes {
		for i := range n.Reshapes {
			r := &n.Reshapes[i]
			if r.From != flavor || r.Made < 1 || r.Stuck != "" || !there(in, &n, r) {
				continue
			}
			// Which card a loan is on does not matter: the changes are alike.
			if at := (lot{n.Name, r.To, r.Lender}); held[at] > 0 {
				held[at] -= min(held[at], r.Made)
				continue
			}
			back[n.Name] += r.Count
		}
	}
	return back
}

// there tells whether what a change made is on its card, and so what it took is not.
func there(in *lend.Snapshot, n *lend.Node, r *lend.Reshape) bool {
	i := slices.IndexFunc(in.Flavors, func(f lend.Flavor) bool { return f.Name == r.To })
	card := slices.IndexFunc(n.Cards, func(c lend.Card) bool { return c.UUID == r.GPU })
	if i < 0 || card < 0 {
		return false
	}
	board := slices.IndexFunc(in.Boards, func(g mig.Geometry) bool { return g.Board == n.Cards[card].Board })
	if board < 0 {
		return false
	}
	made := int64(0)
	for _, instance := range n.Cards[card].Instances {
		p, known := in.Boards[board].Profile(instance.Profile)
		if known && p.Name == in.Flavors[i].Profile {
			made++
		}
	}
	return made >= r.Made
}

// frees tells whether the end of a grant brings back units of the flavor: its own, or those
// that were made into it.
func frees(in *lend.Snapshot, g lend.Grant, flavor string) bool {
	if g.Flavor == flavor {
		return true
	}
	for _, n := range in.Nodes {
		if n.Name == g.Node && slices.ContainsFunc(n.Reshapes, func(r lend.Reshape) bool {
			return r.To == g.Flavor && r.From == flavor && r.Lender == g.Lender
		}) {
			return true
		}
	}
	return false
}
