package product

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/mig"
)

// lookAtCards says how GPUs are cut, who has what, and what is being changed. It comes after
// the loans, whose names it tells.
func (p *policy) lookAtCards() {
	for _, i := range p.cut {
		n := &p.snapshot.Nodes[i]
		n.Reshapes, n.Cards = p.world.Reshapes(i), n.Cards[:0]
		for _, c := range p.world.Cards(i) {
			n.Cards = append(n.Cards, lend.Card{
				GPU: c.GPU(func(j *sim.JobState) string { return p.open[j] }), Board: c.Board,
			})
		}
	}
}

// reshape changes cards' layouts. One that is to be made of slices that a job got in the
// meantime is refused, as a node's agent refuses it: the core finds that out, and asks anew.
func (p *policy) reshape(plan *lend.Plan, kind lend.ReshapeKind) {
	for i := range plan.Reshapes {
		a := &plan.Reshapes[i]
		if a.Kind != kind || kind == lend.ReshapeMake && !p.idle(a) {
			continue
		}
		p.changed = true
		p.world.Reshape(*a)
	}
}

// idle: nobody has what is to be destroyed.
func (p *policy) idle(a *lend.ReshapeAction) bool {
	cards := p.world.Cards(p.nodes[a.Node])
	i := slices.IndexFunc(cards, func(c *sim.CardState) bool { return c.UUID == a.Plan.GPU })
	if i < 0 {
		return true // which the world says
	}
	now := cards[i].GPU(nil).Instances
	return !slices.ContainsFunc(a.Plan.Destroy, func(gone mig.Instance) bool {
		return slices.ContainsFunc(now, func(in mig.Instance) bool { return in.Placed == gone.Placed && !in.Use.Free() })
	})
}
