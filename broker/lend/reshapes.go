package lend

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// begunWithin is for how long a change that was decided counts as begun although nobody
// has seen it.
const begunWithin = time.Minute

// reshapes is what a decision knows of the changes of cards' layouts.
type reshapes struct {
	list []*reshape // by node, then ID
	// memory is by GPU, profiles the MIG profile of each flavor that names one.
	memory   map[string]ReshapeMemory
	profiles map[string]string
	// options are what could be made, by what of, and makes what is.
	options map[[2]string]*optionList
	makes   []ReshapeAction
	wanted  map[int32]bool
	// own is what loans that go on hold of nodes' slices besides those that were made, by
	// node and flavor.
	own map[[2]string]int64
}

// reshape is a Reshape and what this decision makes of it.
type reshape struct {
	Reshape
	node *Node
	card *Card // nil: not known
	// lender is nil if it is gone.
	lender *lender
	// begun: nobody has seen it yet.
	begun bool
	// broken says why its units are lost to everybody. stranger: somebody is on what was
	// made who has no loan of it.
	broken   string
	stranger bool
	// holder has what was made, and leaving: it has ended by itself, and its units are not
	// proven free.
	holder  *loan
	leaving bool
	// standIn is nil if a loan holds the lender's units.
	standIn *loan
	// open: it is for whoever comes first; kept: for a job that waits for more than it.
	open, kept bool
	// back is its undoing.
	back *ReshapeAction
}

// readReshapes reads the changes of layouts. From then on the nodes' units are counted as
// if nothing had been changed.
func (d *decision) readReshapes(prev []ReshapeMemory) {
	cut := func(n Node) bool { return len(n.Cards) > 0 || len(n.Reshapes) > 0 }
	if len(prev) == 0 && !slices.ContainsFunc(d.in.Nodes, cut) {
		return
	}
	s := &reshapes{memory: map[string]ReshapeMemory{}, profiles: map[string]string{}, options: map[[2]string]*optionList{}}
	d.reshapes = s
	for _, f := range d.in.Flavors {
		s.profiles[f.Name] = dotted(f.Profile)
	}
	begun := s.remember(d, prev)
	d.in.Nodes = slices.Clone(d.in.Nodes)
	of := map[*Node][]*reshape{}
	for i := range d.in.Nodes {
		n := &d.in.Nodes[i]
		if cut(*n) || len(begun[n.Name]) > 0 {
			of[n] = s.read(d, n, begun[n.Name])
			s.list = append(s.list, of[n]...)
		}
	}
	slices.SortStableFunc(s.list, func(a, b *reshape) int {
		return cmp.Or(cmp.Compare(a.node.Name, b.node.Name), cmp.Compare(a.ID, b.ID))
	})
	s.assign(d)
	for n, list := range of {
		s.findStrangers(d, n, list)
	}
	for _, r := range s.list {
		s.giveUp(d, r)
	}
	for n, list := range of {
		d.countIn(n, list)
	}
}

// remember takes over what is remembered of cards, and returns by node what was begun and
// nobody may have seen yet.
func (s *reshapes) remember(d *decision, prev []ReshapeMemory) map[string][]ReshapeMemory {
	begun := map[string][]ReshapeMemory{}
	for _, m := range prev {
		if m.Begun != nil && (m.At.After(d.now) || d.now.Sub(m.At) >= begunWithin) {
			m.Begun = nil
		}
		s.memory[m.GPU] = m
		if m.Begun != nil {
			begun[m.Node] = append(begun[m.Node], m)
		}
	}
	return begun
}

// read takes over a node's.
func (s *reshapes) read(d *decision, n *Node, begun []ReshapeMemory) (mine []*reshape) {
	n.Reshapes = slices.Clone(n.Reshapes)
	add := func(r *Reshape, unseen bool) {
		if r.Count = clamp(r.Count); r.Count > 0 {
			mine = append(mine, s.newReshape(d, n, r, unseen))
		}
	}
	for i := range n.Reshapes {
		r := &n.Reshapes[i]
		if m := s.memory[r.GPU]; m.Begun != nil { // whatever its ID: a card has one at a time
			m.Begun = nil
			s.memory[r.GPU] = m
		}
		add(r, false)
	}
	for _, m := range begun {
		if s.memory[m.GPU].Begun != nil {
			r := *m.Begun
			n.Reshapes = append(n.Reshapes, r)
			add(&r, true)
		}
	}
	return mine
}

func (s *reshapes) newReshape(d *decision, n *Node, r *Reshape, begun bool) *reshape {
	c := &reshape{Reshape: *r, node: n, begun: begun, lender: d.byName[r.Lender], broken: r.Stuck}
	if i := slices.IndexFunc(n.Cards, func(card Card) bool { return card.UUID == r.GPU }); i >= 0 {
		c.card = &n.Cards[i]
	}
	for _, in := range c.made() {
		if stays(&in) {
			c.strange()
		}
	}
	return c
}

// stays: who has the instance, which was made, goes with no loan. A process without a pod may
// be what is left of the last one: it has its time.
func stays(in *mig.Instance) bool {
	return in.Use == mig.Busy && in.Owner != "" || in.Use == mig.Foreign
}

// giveUp expects nothing more of an undoing when whoever held what was made has had
// maxGrace, and so has the undoing.
func (s *reshapes) giveUp(d *decision, r *reshape) {
	if r.broken != "" || r.State != ReshapeUndoing || r.lender == nil {
		return
	}
	since := s.since(d, &r.Reshape)
	late := since.Add(2 * r.lender.MaxGrace)
	if l := r.holder; l != nil {
		switch {
		case !l.ends(): // it is asked back now
			return
		case l.Reclaiming && l.ReclaimBy.Add(r.lender.MaxGrace).After(late):
			late = l.ReclaimBy.Add(r.lender.MaxGrace)
		}
	}
	if d.now.After(late) {
		r.broken = "it has not been undone since " + stamp(since)
	}
}

// ends: by itself, or because it was asked to.
func (l *Loan) ends() bool { return l.Finished || l.Reclaiming || l.Preempted }

// since is when the change came into its state: as is said, but not before it was last
// seen in another one, or first seen in this one.
func (s *reshapes) since(d *decision, r *Reshape) time.Time {
	m := s.memory[r.GPU]
	var at time.Time
	switch {
	case m.State == r.State:
		at = m.Entered
	case m.State != "" && !r.Since.IsZero():
		at = d.last
	case m.State == "" && r.State == ReshapeMaking: // it was decided then
		at = m.At
	}
	if r.Since.After(at) && !r.Since.After(d.now) {
		at = r.Since
	}
	if at.IsZero() || at.After(d.now) {
		return d.now
	}
	return at
}

// made are the slices that were made, as far as they are there.
func (r *reshape) made() (there []mig.Instance) {
	if r.card == nil {
		return nil
	}
	for _, i := range r.card.Instances {
		if slices.Contains(r.Create, i.Placed) {
			there = append(there, i)
		}
	}
	return there
}

// idle: what was made is there, and nobody has it.
func (r *reshape) idle() bool {
	there := r.made()
	return int64(len(there)) == r.Made && !slices.ContainsFunc(there, func(i mig.Instance) bool { return i.Use != mig.Idle })
}

// heldBy: the card says that the loan has some of what was made.
func (r *reshape) heldBy(loan string) bool {
	return slices.ContainsFunc(r.made(), func(i mig.Instance) bool { return i.Use == mig.Lent && i.Owner == loan })
}

// fitsIn: what is being undone has a loan that ends.
func (r *reshape) fitsIn(l *Loan) bool { return r.State != ReshapeUndoing || l.ends() }

// goesBack: it is being undone, or is to be.
func (r *reshape) goesBack() bool { return r.State == ReshapeUndoing || r.back != nil }

// assign finds out which loan holds what was made by which change: as the card says, or
// else the one that it was made for, or else any that was lent such slices there. A loan
// that goes on is not on what is being undone as long as it may be on something else.
func (s *reshapes) assign(d *decision) {
	type claim struct {
		loan *Loan
		left int64
	}
	claims := map[[3]string][]*claim{}
	for i := range d.in.Loans {
		l := &d.in.Loans[i]
		for _, g := range l.Grants {
			at := [3]string{g.Node, g.Lender, g.Flavor}
			claims[at] = append(claims[at], &claim{l, clamp(g.Count)})
		}
	}
	for _, fits := range []func(*reshape, *Loan) bool{
		func(r *reshape, l *Loan) bool { return r.heldBy(l.Name) },
		func(r *reshape, l *Loan) bool { return r.JobUID == l.JobUID && r.fitsIn(l) },
		func(r *reshape, l *Loan) bool { return r.fitsIn(l) },
		func(r *reshape, l *Loan) bool { return r.JobUID == l.JobUID },
		func(*reshape, *Loan) bool { return true },
	} {
		for _, r := range s.list {
			for _, c := range claims[[3]string{r.node.Name, r.Lender, r.To}] {
				if r.holder == nil && c.left > 0 && fits(r, c.loan) {
					r.holder, c.left = &loan{Loan: c.loan, Grants: c.loan.Grants, number: -1}, c.left-r.Made
				}
			}
		}
	}
	s.own = map[[2]string]int64{}
	for at, list := range claims {
		for _, c := range list {
			if !c.loan.ends() {
				s.own[[2]string{at[0], at[2]}] += max(c.left-shedding(c.loan, at), 0)
			}
		}
	}
}

// shedding is what the loan is giving back of a grant.
func shedding(l *Loan, at [3]string) (n int64) {
	for _, g := range l.Shedding {
		if g.Node == at[0] && g.Lender == at[1] && g.Flavor == at[2] {
			n += clamp(g.Count)
		}
	}
	return n
}

// holdMade puts, in place of slices that were made, what they were made of, so that the
// loan counts in its lender's units.
func (d *decision) holdMade(l *loan) {
	if d.reshapes == nil {
		return
	}
	for _, r := range d.reshapes.list {
		if r.holder == nil || r.holder.Name != l.Name {
			continue
		}
		r.holder = l
		i := slices.IndexFunc(l.Grants, func(g Grant) bool {
			return g.Node == r.node.Name && g.Lender == r.Lender && g.Flavor == r.To
		})
		if i < 0 {
			continue
		}
		g := &l.Grants[i]
		g.Count = clamp(g.Count)
		n := min(g.Count, r.Made)
		l.made = append(l.made, Grant{g.Lender, g.Node, g.Flavor, n})
		if g.Count -= n; g.Count == 0 {
			l.Grants = slices.Delete(l.Grants, i, i+1)
		}
		l.undo = max(l.undo, r.undoing())
		switch {
		case r.broken != "":
		case l.Finished && !l.Reclaiming && !l.Preempted:
			r.leaving = true // and what was made stays
		default:
			l.lends = append(l.lends, Grant{r.Lender, r.node.Name, r.From, r.Count})
		}
	}
}

// undoing is how long the way back takes.
func (r *reshape) undoing() time.Duration {
	if r.lender == nil || r.lender.MIG == nil {
		return 0
	}
	return max(r.lender.MIG.Undo, 0)
}

// standIn makes loans that stand for the changes that no job holds, and counts what each
// lender has given. It is asked when all loans are read.
func (d *decision) standIn() {
	if d.reshapes == nil {
		return
	}
	for _, r := range d.reshapes.list {
		if r.lender != nil && r.lender.Flavor == r.From {
			r.lender.lent += r.Count
			if r.broken != "" {
				r.lender.stuck = append(r.lender.stuck, r)
			}
		}
		if r.broken != "" || r.holder != nil && !r.leaving {
			continue
		}
		of := Grant{Lender: r.Lender, Node: r.node.Name, Flavor: r.From, Count: r.Count}
		r.standIn = &loan{
			Loan:  &Loan{Name: "reshape/" + r.node.Name + "/" + r.ID, Since: r.Since},
			units: r.Count, lent: true, ending: r.State == ReshapeUndoing, lends: []Grant{of}, reshape: r, number: -1,
		}
	}
}

// holders are the loans, and after them what stands in for changes of layouts.
func (d *decision) holders() iter.Seq[*loan] {
	return func(yield func(*loan) bool) {
		for _, l := range d.loans {
			if !yield(l) {
				return
			}
		}
		if d.reshapes == nil {
			return
		}
		for _, r := range d.reshapes.list {
			if r.standIn != nil && !yield(r.standIn) {
				return
			}
		}
	}
}

// minPods is how few pods the loan can go on with. Slices that were made of others come
// back only as a whole.
func (l *loan) minPods() int64 {
	if len(l.made) > 0 {
		return 0
	}
	return l.MinPods
}

// dotted is a profile's name as resources have it.
func dotted(profile string) string { return strings.ReplaceAll(profile, "+", ".") }
