package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// defaultReshape is how long a change of a card's layout takes, and its undoing.
const defaultReshape = 15 * time.Second

// change is a Reshape of a card. From when it is begun until what was there before is there
// again, its Count units count as lent by its lender.
type change struct {
	lend.Reshape
	card     *CardState
	job      string // for which it is made
	lender   int32
	from, to int32  // spots
	due      uint64 // the event that makes its slices, or brings back those before; 0: none
}

// Reshape changes a card's layout, or has a change undone, as the core asks for it. Like
// every act, one that cannot be carried out ends the run with an error: a plan for another
// layout, for slices that somebody has or that are pinned, or to one that the board does
// not allow. To undo what is not there, or no more, is to do nothing. Nothing fails.
//
// What is destroyed is gone at once, and what is created there after Scenario.ReshapeTakes:
// then jobs may have it whose place's Lender is the change's, and nobody else may. When
// it is to be undone, and as soon as no job has any of it, it is gone, and what was there
// before is there again after ReshapeTakes.
func (w *World) Reshape(a lend.ReshapeAction) {
	node, ok := slices.BinarySearchFunc(w.scenario.Nodes, a.Node, func(n Node, name string) int { return cmp.Compare(n.Name, name) })
	if !ok {
		w.refuse("reshape %s: there is no node %q", a.ID, a.Node)
		return
	}
	if a.Kind == lend.ReshapeUndo {
		w.undo(int32(node), a.ID)
		return
	}
	c := &change{lender: Nobody}
	if why := w.plan(c, int32(node), &a); why != "" {
		w.refuse("reshape %s on %s: %s", a.ID, a.Node, why)
		return
	}
	w.reshape(c)
}

// plan fills a change in; or says why it cannot be.
func (w *World) plan(c *change, node int32, a *lend.ReshapeAction) (why string) {
	if a.Kind != lend.ReshapeMake || a.Plan == nil || len(a.Plan.Destroy) == 0 || len(a.Plan.Create) == 0 {
		return "nothing is to be made of anything"
	}
	for _, card := range w.nodes[node].cards {
		if card.change != nil && card.change.ID == a.ID {
			return "there is one of that name already"
		}
		if card.UUID == a.Plan.GPU {
			c.card = card
		}
	}
	if c.card == nil {
		return "it has no card " + a.Plan.GPU
	}
	if c.card.change != nil {
		return "the card is changed already, by " + c.card.change.ID
	}
	if why := w.parties(c, node, a); why != "" {
		return why
	}
	c.Reshape = lend.Reshape{
		ID: a.ID, GPU: a.Plan.GPU, Lender: a.Lender, From: a.From, Count: a.Count, To: a.To, Made: a.Made,
		Create: slices.Clone(a.Plan.Create), JobUID: a.JobUID, State: lend.ReshapeMaking, Since: w.Time(),
	}
	for _, in := range a.Plan.Destroy {
		c.Destroy = append(c.Destroy, in.Placed)
	}
	return w.checkPlan(c, a.Plan)
}

// parties fills in whose slices are made into what, and for whom.
func (w *World) parties(c *change, node int32, a *lend.ReshapeAction) (why string) {
	lender := slices.IndexFunc(w.services, func(s *ServiceState) bool { return s.Lender.Name == a.Lender })
	if lender < 0 {
		return "there is no lender " + a.Lender
	}
	if w.services[lender].Lender.Flavor != a.From || a.From == a.To {
		return "the lender has no " + a.From + " to make " + a.To + " of"
	}
	c.job, c.lender, c.from, c.to = a.Job, int32(lender), w.spotAt(node, a.From), w.spotAt(node, a.To)
	if c.from < 0 || c.to < 0 {
		return "its cards cannot have " + a.From + " and " + a.To
	}
	return ""
}

// checkPlan says what of a plan the card does not allow.
func (w *World) checkPlan(c *change, p *mig.Plan) (why string) {
	if now := mig.Fingerprint(c.card.GPU(nil).Instances); now != p.Base {
		return "it is for the layout " + p.Base + ", and the card's is " + now
	}
	var layout []mig.Placed
	gone := 0
	for _, s := range c.card.slices {
		if !slices.Contains(c.Destroy, s.Placed) {
			layout = append(layout, s.Placed)
			continue
		}
		if gone++; !s.free() || s.pinned || s.spot != c.from {
			return "it destroys what is not idle " + c.From
		}
	}
	if gone != len(c.Destroy) || c.Count != int64(gone) || c.Made != int64(len(c.Create)) {
		return "it does not destroy and create what it says"
	}
	for _, at := range c.Create {
		if w.spotOfProfile(c.card, at.Profile) != c.to {
			return "it creates what is not " + c.To
		}
		layout = append(layout, at)
		if err := c.card.geometry.Check(layout); err != nil {
			return err.Error()
		}
	}
	return ""
}

// reshape begins a change.
func (w *World) reshape(c *change) {
	c.card.change = c
	c.card.slices = slices.DeleteFunc(c.card.slices, func(s *slice) bool { return slices.Contains(c.Destroy, s.Placed) })
	w.services[c.lender].Lent += c.Count
	w.meter.reshaped()
	w.recut(c)
}

// recut has the agenda go on with a change, when a card's slices have gone.
func (w *World) recut(c *change) {
	takes := w.scenario.ReshapeTakes
	if takes == 0 {
		takes = defaultReshape
	}
	overtaken := c.due != 0
	c.due = w.agenda.add(event{at: w.now + takes, kind: evReshaped, change: c})
	if overtaken {
		w.agenda.overtaken(1)
	}
	w.count(c.card.Node)
	w.changed = true
}

// reshaped is the end of making slices, or of bringing back those before.
func (w *World) reshaped(c *change) {
	c.due = 0
	if c.State == lend.ReshapeMaking {
		c.State, c.Since = lend.ReshapeMade, w.Time()
		w.cut(c.card, c.Create, c.to, c)
	} else {
		c.card.change = nil
		w.services[c.lender].Lent -= c.Count
		w.cut(c.card, c.Destroy, c.from, nil)
	}
	w.count(c.card.Node)
	w.changed = true
}

// undo ends a change as soon as nobody has what was made. To ask twice is to ask once, also
// when it is over.
func (w *World) undo(node int32, id string) {
	i := slices.IndexFunc(w.nodes[node].cards, func(c *CardState) bool { return c.change != nil && c.change.ID == id })
	if i < 0 {
		return
	}
	c := w.nodes[node].cards[i].change
	if c.State == lend.ReshapeUndoing {
		return
	}
	c.State, c.Since = lend.ReshapeUndoing, w.Time()
	w.changed = true
	w.vacated(c)
}

// vacated goes on with an undoing if nobody has what was made any more.
func (w *World) vacated(c *change) {
	if c.State != lend.ReshapeUndoing || slices.ContainsFunc(c.card.slices, func(s *slice) bool { return s.of == c && !s.free() }) {
		return
	}
	c.card.slices = slices.DeleteFunc(c.card.slices, func(s *slice) bool { return s.of == c })
	w.recut(c)
}
