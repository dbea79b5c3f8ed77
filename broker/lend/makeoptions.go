package lend

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/mig"
)

// option is a card of which slices can be made.
type option struct {
	node *Node
	card *Card
	room int // in the pool of what they are made of
	// plans are for 1, 2, … of them.
	plans []mig.Plan
}

// optionList is all of one flavor's slices that can be made of another's, and what was in the
// way where there are none.
type optionList struct {
	cards []option
	why   obstacle
}

// reach is no less than how many could be made of so many units.
func (o *optionList) reach(units int64) int64 {
	var most int64
	each := int64(math.MaxInt64)
	for i := range o.cards {
		plans := o.cards[i].plans
		most += int64(len(plans))
		for n, p := range plans {
			each = min(each, int64(len(p.Destroy)/(n+1)))
		}
	}
	return min(most, max(units, 0)/max(each, 1))
}

// obstacle is why no card is reshaped for a job: of several the one that comes last.
type obstacle struct {
	rank int
	text string
}

const (
	byGrace = 1 + iota
	byFixed
	byPlaces
	byPins
	byRoom
	byTrough
)

func (o *obstacle) atLeast(rank int, format string, args ...any) {
	if rank > o.rank {
		o.rank, o.text = rank, fmt.Sprintf(format, args...)
	}
}

// optionsOf lists the cards where slices of the one flavor can be made of idle ones of the
// other, and says what is in the way where there are none.
func (a *admission) optionsOf(from, to string) *optionList {
	key := [2]string{from, to}
	if known, ok := a.reshapes.options[key]; ok {
		return known
	}
	out := &optionList{}
	p := a.pool(from)
	for i := range a.in.Nodes {
		n := &a.in.Nodes[i]
		room, usable := p.room(n.Name)
		if !usable || n.Unlendable != "" {
			continue
		}
		for k := range n.Cards {
			card := &n.Cards[k]
			if a.untouchable(n, card) {
				if card.Fixed != "" {
					out.why.atLeast(byFixed, "the layout of GPU %s on %s must not be changed: %s", card.UUID, n.Name, card.Fixed)
				}
				continue
			}
			if plans := a.plansOf(card, from, to, n.Name, &out.why); len(plans) > 0 {
				out.cards = append(out.cards, option{n, card, room, plans})
			}
		}
	}
	a.reshapes.options[key] = out
	return out
}

// untouchable: the card's layout must not be changed, is being changed or was lately.
func (a *admission) untouchable(n *Node, card *Card) bool {
	m, known := a.reshapes.memory[card.UUID]
	return card.Fixed != "" || known && (m.Begun != nil || m.Quiet.After(a.now)) ||
		slices.ContainsFunc(n.Reshapes, func(r Reshape) bool { return r.GPU == card.UUID })
}

// plansOf plans for as many slices as the card can have.
func (a *admission) plansOf(card *Card, from, to, node string, why *obstacle) (plans []mig.Plan) {
	b := a.tables[card.Board]
	if b == nil {
		return nil
	}
	of, ok := b.profiles[a.reshapes.profiles[from]]
	as, ok2 := b.profiles[a.reshapes.profiles[to]]
	if !ok || !ok2 {
		return nil
	}
	g := onlyOf(card.GPU, of.ID)
	for n := 1; n <= as.Max; n++ {
		plan, err := b.table().PlanGPU(g, []mig.Demand{{Profile: as.ID, Count: n}})
		if err != nil || len(plan.Unmet) > 0 {
			break
		}
		if len(plan.Destroy) == 0 {
			why.atLeast(byPins, "GPU %s on %s has room for it beside its slices, which is nobody's to lend", card.UUID, node)
			break
		}
		// A layout is always its own way back, as long as plans leave what is fixed alone:
		// this is the law said once more where it would be broken.
		if b.table().Reform(after(g, plan), b.ownersOf(g, of.ID)) != nil {
			break
		}
		plans = append(plans, plan)
	}
	if len(plans) == 0 {
		a.explainPlaces(b, card, of, as, node, why)
	}
	return plans
}

// onlyOf is the GPU on which nothing may be touched but idle slices of one profile.
func onlyOf(g mig.GPU, profile mig.ProfileID) mig.GPU {
	g.Instances = slices.Clone(g.Instances)
	for i := range g.Instances {
		if in := &g.Instances[i]; in.Use.Free() && (in.Use != mig.Idle || in.Profile != profile) {
			in.Use = mig.Busy
		}
	}
	return g
}

// after is the GPU with the plan carried out and what was made lent.
func after(g mig.GPU, p mig.Plan) mig.GPU {
	gone := func(i mig.Instance) bool {
		return slices.ContainsFunc(p.Destroy, func(d mig.Instance) bool { return d.Placed == i.Placed })
	}
	g.Instances = slices.DeleteFunc(slices.Clone(g.Instances), gone)
	for _, at := range p.Create {
		g.Instances = append(g.Instances, mig.Instance{Placed: at, Generation: 1, Use: mig.Lent})
	}
	return g
}

// ownersOf is what must be there again when all loans have gone: the slices of the profile
// that can be lent, or are.
func (b *board) ownersOf(g mig.GPU, profile mig.ProfileID) []mig.Demand {
	n := 0
	for _, i := range g.Instances {
		if i.Profile == profile && (i.Use == mig.Idle || i.Use == mig.Lent) {
			n++
		}
	}
	return []mig.Demand{{Profile: profile, Count: n}}
}

// explainPlaces says why nothing can be made on the card: where pins are in the way, where
// they would not be.
func (a *admission) explainPlaces(b *board, card *Card, of, as mig.Profile, node string, why *obstacle) {
	if !slices.ContainsFunc(card.Instances, func(i mig.Instance) bool { return i.Profile == of.ID }) {
		return
	}
	why.atLeast(byPlaces, "on no GPU are idle slices of one service where it could be made of them")
	var pins []int
	for _, i := range card.Instances {
		if i.Use == mig.Pinned && i.Profile == of.ID {
			pins = append(pins, i.Start)
		}
	}
	slices.Sort(pins)
	best := b.table().BestPins(len(pins), of.ID)
	if len(pins) == 0 || len(best) != len(pins) || slices.Equal(pins, best) {
		return
	}
	g := mig.GPU{UUID: card.UUID}
	for _, start := range best {
		g.Instances = append(g.Instances, mig.Instance{Placed: mig.Placed{Profile: of.ID, Start: start}, Generation: 1, Use: mig.Pinned})
	}
	if plan, err := b.table().PlanGPU(g, []mig.Demand{{Profile: as.ID, Count: 1}}); err == nil && len(plan.Unmet) == 0 {
		why.atLeast(byPins, "on %s pinned slices are in the way: GPU %s has them at %s, and at %s they would leave room",
			node, card.UUID, numbers(pins), numbers(best))
	}
}

// numbers writes a list.
func numbers(list []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}
