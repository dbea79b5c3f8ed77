package lend

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// cardWorld is the GPUs in MIG mode and the agents that cut them.
type cardWorld struct {
	boards []mig.Geometry
	nodes  []*cutNode
}

type cutNode struct {
	name       string
	cards      []*cutCard
	reshapes   []*cutting
	unlendable string
	// agent is dead, refuses or stuck, or empty.
	agent string
	// hidden: it publishes no cards; unknown: without saying who uses what.
	hidden, unknown bool
}

type cutCard struct {
	uuid, board, fixed string
	slices             []*slice
	made               int64 // generations
}

type slice struct {
	mig.Placed
	flavor     string
	generation int64
	pinned     bool
	use        mig.Use // what somebody else does with it
	reshape    *cutting
}

// cutting is a Reshape as the agent has it.
type cutting struct {
	Reshape
	card *cutCard
	loan string // that was granted what was made
	done time.Time
	undo bool
}

func (c *cardWorld) of(node string) *cutNode {
	for _, n := range c.nodes {
		if n.name == node {
			return n
		}
	}
	return nil
}

func (c *cardWorld) card(uuid string) (*cutNode, *cutCard) {
	for _, n := range c.nodes {
		for _, card := range n.cards {
			if card.uuid == uuid {
				return n, card
			}
		}
	}
	return nil, nil
}

func (c *cardWorld) geometry(board string) *mig.Geometry {
	i := slices.IndexFunc(c.boards, func(g mig.Geometry) bool { return g.Board == board })
	return &c.boards[i]
}

// addCard puts a card into the node.
func (w *world) addCard(node, uuid, board string, starts map[string][]int, pins []int) {
	n := w.cards.of(node)
	if n == nil {
		n = &cutNode{name: node}
		w.cards.nodes = append(w.cards.nodes, n)
	}
	if !slices.ContainsFunc(w.cards.boards, func(g mig.Geometry) bool { return g.Board == board }) {
		all := mig.Boards()
		i := slices.IndexFunc(all, func(g mig.Geometry) bool { return g.Board == board })
		if i < 0 {
			panic("there is no board " + board)
		}
		w.cards.boards = append(w.cards.boards, all[i])
		slices.SortFunc(w.cards.boards, func(a, b mig.Geometry) int { return cmp.Compare(a.Board, b.Board) })
	}
	card := &cutCard{uuid: uuid, board: board}
	for _, f := range w.flavors {
		p, ok := w.cards.geometry(board).ProfileOf("nvidia.com/mig-" + f.Profile)
		for _, start := range starts[f.Name] {
			if !ok {
				panic(board + " has no profile of flavor " + f.Name)
			}
			card.cut(mig.Placed{Profile: p.ID, Start: start}, f.Name, nil)
		}
	}
	n.cards = append(n.cards, card)
	card.pin(pins)
}

func (c *cutCard) pin(starts []int) {
	for _, s := range c.slices {
		s.pinned = slices.Contains(starts, s.Start)
	}
}

func (c *cutCard) cut(at mig.Placed, flavor string, of *cutting) {
	c.made++
	c.slices = append(c.slices, &slice{Placed: at, flavor: flavor, generation: c.made, reshape: of})
	slices.SortFunc(c.slices, func(a, b *slice) int { return cmp.Compare(a.Start, b.Start) })
}

// own lists the node's slices of the flavor that no change has made, the ones first that
// online pods get: pinned ones, then the highest.
func (n *cutNode) own(flavor string) []*slice {
	var out []*slice
	for _, c := range n.cards {
		for _, s := range c.slices {
			if s.flavor == flavor && s.reshape == nil {
				out = append(out, s)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *slice) int {
		if a.pinned != b.pinned {
			if a.pinned {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Start, a.Start)
	})
	return out
}

// onOwn is what loans hold of the node's own slices.
func (w *world) onOwn(n *cutNode, flavor string) int64 {
	held := w.heldBy(n.name, flavor)
	for _, r := range n.reshapes {
		if r.To == flavor && r.loan != "" && w.holds(r.loan) {
			held -= r.Made
		}
	}
	return held
}

// holds: the loan's pods are there, or will be.
func (w *world) holds(name string) bool {
	for _, l := range w.loans {
		if l.Name == name {
			return l.Live > 0 || !l.Reclaiming && !l.Preempted && !l.Finished
		}
	}
	return false
}

// slotsFor is what a node has for online pods.
func (w *world) slotsFor(node, flavor string) int64 {
	n := w.cards.of(node)
	var count int64
	for _, s := range n.own(flavor) {
		if s.use == "" {
			count++
		}
	}
	return count - w.onOwn(n, flavor)
}

// showCards adds what the broker would gather of the cards.
func (w *world) showCards(n *Node) {
	c := w.cards.of(n.Name)
	if c == nil {
		return
	}
	if n.Unlendable = c.unlendable; c.hidden {
		n.Unlendable = cmp.Or(n.Unlendable, "silent")
	}
	for i := range n.Units {
		u := &n.Units[i]
		u.Capacity, u.Pinned = 0, 0
		for _, card := range c.cards {
			for _, s := range card.slices {
				switch {
				case s.flavor != u.Flavor:
					continue
				case s.use == mig.Busy || s.use == mig.Foreign:
					u.Other++
				}
				u.Capacity++
				if s.pinned {
					u.Pinned++
				}
			}
		}
	}
	uses := w.uses(c)
	for _, card := range c.cards {
		seen := Card{GPU: mig.GPU{UUID: card.uuid}, Board: card.board, Fixed: card.fixed}
		for _, s := range card.slices {
			use, owner := uses[s].use, uses[s].owner
			if c.unknown {
				use, owner = mig.Unknown, ""
			}
			seen.Instances = append(seen.Instances, mig.Instance{Placed: s.Placed, Generation: s.generation, Use: use, Owner: owner})
		}
		if !c.hidden {
			n.Cards = append(n.Cards, seen)
		}
	}
	for _, r := range c.reshapes {
		seen := r.Reshape
		if r.undo {
			seen.State = ReshapeUndoing
		}
		n.Reshapes = append(n.Reshapes, seen)
	}
	slices.SortFunc(n.Reshapes, func(a, b Reshape) int { return cmp.Compare(a.ID, b.ID) })
}

type used struct {
	use   mig.Use
	owner string
}

// uses says who has each slice of a node.
func (w *world) uses(c *cutNode) map[*slice]used {
	out := map[*slice]used{}
	var flavors []string
	for _, card := range c.cards {
		for _, s := range card.slices {
			flavors = append(flavors, s.flavor)
			if r := s.reshape; r != nil {
				out[s] = used{mig.Idle, ""}
				if w.holds(r.loan) {
					out[s] = used{mig.Lent, r.loan}
				}
			}
			if s.use != "" {
				out[s] = used{s.use, "somebody"}
			}
		}
	}
	slices.Sort(flavors)
	for _, f := range slices.Compact(flavors) {
		w.usesOf(c, f, out)
	}
	return out
}

func (w *world) usesOf(c *cutNode, flavor string, out map[*slice]used) {
	own := slices.DeleteFunc(c.own(flavor), func(s *slice) bool { return s.use != "" })
	online, _ := w.online(c.name, flavor)
	lent := w.onOwn(c, flavor)
	for i, s := range own {
		switch {
		case s.pinned:
			out[s] = used{mig.Pinned, ""}
		case int64(i) < online:
			out[s] = used{mig.Busy, "online"}
		case int64(len(own)-i) <= lent:
			out[s] = used{mig.Lent, "loan"}
		default:
			out[s] = used{mig.Idle, ""}
		}
	}
}

// reshape is what the broker has the agent do.
func (w *world) reshape(a ReshapeAction) {
	n := w.cards.of(a.Node)
	if a.Kind == ReshapeUndo {
		for _, r := range n.reshapes {
			if r.ID == a.ID && !r.undo {
				r.undo, r.Since, r.done = true, w.now, time.Time{}
			}
		}
		return
	}
	if n.agent == "refuses" {
		return
	}
	if v := slices.IndexFunc(n.reshapes, func(r *cutting) bool { return r.ID == a.ID || r.GPU == a.Plan.GPU }); v >= 0 {
		panic("the card is being changed already")
	}
	_, card := w.cards.card(a.Plan.GPU)
	r := &cutting{card: card, done: w.now.Add(w.service(a.Lender).MIG.Change), Reshape: Reshape{
		ID: a.ID, GPU: a.Plan.GPU, Lender: a.Lender, From: a.From, Count: a.Count, To: a.To, Made: a.Made,
		Create: a.Plan.Create, JobUID: a.JobUID, State: ReshapeMaking, Since: w.now,
	}}
	uses := w.uses(n)
	for _, in := range a.Plan.Destroy {
		r.Destroy = append(r.Destroy, in.Placed)
		i := slices.IndexFunc(card.slices, func(s *slice) bool { return s.Placed == in.Placed && s.generation == in.Generation })
		if i < 0 || uses[card.slices[i]].use != mig.Idle {
			panic(fmt.Sprintf("the plan destroys %+v, which is not idle", in))
		}
		card.slices = slices.Delete(card.slices, i, i+1)
	}
	n.reshapes = append(n.reshapes, r)
}

// agents go on with what they have to do.
func (w *world) agents() {
	for _, n := range w.cards.nodes {
		for _, r := range slices.Clone(n.reshapes) {
			if n.agent == "stuck" && r.undo && r.Stuck == "" {
				r.Stuck = "in use by another client"
			}
			if n.agent == "" && r.Stuck == "" {
				w.carryOn(n, r)
			}
		}
		w.check(n)
	}
}

func (w *world) carryOn(n *cutNode, r *cutting) {
	mine := func(s *slice) bool { return s.reshape == r }
	switch {
	case !r.undo && r.State == ReshapeMaking && !w.now.Before(r.done):
		r.State, r.Since = ReshapeMade, w.now
		for _, at := range r.Create {
			r.card.cut(at, r.To, r)
		}
	case !r.undo:
	case r.loan != "" && w.holds(r.loan) || slices.ContainsFunc(r.card.slices, func(s *slice) bool { return mine(s) && s.use != "" }):
	case r.done.IsZero():
		r.done = w.now
		if l := w.service(r.Lender); l != nil { // else it is gone
			r.done = w.now.Add(l.MIG.Undo)
		}
	case !w.now.Before(r.done):
		r.card.slices = slices.DeleteFunc(r.card.slices, mine)
		for _, at := range r.Destroy {
			r.card.cut(at, r.From, nil)
		}
		n.reshapes = slices.DeleteFunc(n.reshapes, func(o *cutting) bool { return o == r })
	}
}

// check panics if the hardware would not have allowed a layout.
func (w *world) check(n *cutNode) {
	for _, c := range n.cards {
		var set []mig.Placed
		for _, s := range c.slices {
			set = append(set, s.Placed)
		}
		if err := w.cards.geometry(c.board).Check(set); err != nil {
			panic(err)
		}
	}
}

// grantMade notes who got what was made.
func (w *world) grantMade(a Action) {
	for _, g := range a.Grants {
		n := w.cards.of(g.Node)
		if n == nil {
			continue
		}
		left := g.Count
		for _, mine := range []bool{true, false} {
			for _, r := range n.reshapes {
				if r.To == g.Flavor && r.Lender == g.Lender && (r.JobUID == a.JobUID) == mine && !w.holds(r.loan) && left > 0 && r.State == ReshapeMade && !r.undo {
					r.loan = a.Loan
					left -= r.Made
				}
			}
		}
	}
}

// tellReshapes prints what the last plan does to cards.
func (s *script) tellReshapes(kind ReshapeKind) {
	for _, r := range s.last.Reshapes {
		if r.Kind != kind {
			continue
		}
		what := strings.ToLower(string(kind)) + " " + r.Node
		if r.Kind == ReshapeMake {
			what += fmt.Sprintf("/%s %d %s of %d %s<-%s for=%s", r.Plan.GPU, r.Made, r.To, r.Count, r.From, r.Lender, r.Job)
		}
		fmt.Fprintf(&s.out, "%5s %s  %s: %s\n", s.now.Sub(s.from), what, r.Reason, r.Message)
	}
}

// tellCards runs the commands about cards.
func (s *script) tellCards(a args, cmd, name string) (known bool) {
	switch cmd {
	case "card":
		starts := map[string][]int{}
		for _, f := range a.flavors("board", "pins") {
			starts[f] = numbersOf(a.text(f, ""))
		}
		s.addCard(name, a.name(1), a.text("board", "A100-40GB"), starts, numbersOf(a.text("pins", "")))
	case "pins":
		_, card := s.cards.card(a.name(1))
		card.pin(numbersOf(a.name(2)))
	case "occupy":
		_, card := s.cards.card(a.name(1))
		for _, sl := range card.slices {
			if sl.Start == numbersOf(a.name(2))[0] {
				sl.use = mig.Use(a.name(3))
			}
		}
	case "fix":
		_, card := s.cards.card(name)
		card.fixed = a.name(1)
	case "unlendable":
		s.cards.of(name).unlendable = a.name(1)
	case "show":
		n := s.cards.of(name)
		n.hidden, n.unknown = a.name(1) == "nothing", a.name(1) == "places"
	case "agent":
		n := s.cards.of(name)
		if n.agent = a.name(1); n.agent == "alive" {
			n.agent = ""
		}
	case "cards":
		s.drawCards()
	default:
		return false
	}
	return true
}

func (s *script) drawCards() {
	for _, n := range s.cards.nodes {
		uses := s.uses(n)
		for _, c := range n.cards {
			fmt.Fprintf(&s.out, "%s/%s", n.name, c.uuid)
			for _, sl := range c.slices {
				fmt.Fprintf(&s.out, " %s@%d:%s", sl.flavor, sl.Start, uses[sl].use)
			}
			s.out.WriteString("\n")
		}
		for _, r := range n.reshapes {
			state := r.State
			if r.undo {
				state = ReshapeUndoing
			}
			fmt.Fprintf(&s.out, "  %s: %d %s of %d %s %s\n", r.GPU, r.Made, r.To, r.Count, r.From, state)
		}
	}
}

func numbersOf(text string) []int {
	var out []int
	for _, t := range strings.Split(text, ":") {
		if n, err := strconv.Atoi(t); err == nil {
			out = append(out, n)
		}
	}
	return out
}
