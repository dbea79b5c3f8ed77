package gpunodes

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// Status is what the agent says of a change, nil if nothing yet.
func Status(node *v1alpha1.GPUNode, id string) *v1alpha1.ReshapeStatus {
	for i := range node.Status.Reshapes {
		if s := &node.Status.Reshapes[i]; s.ID == id {
			return s
		}
	}
	return nil
}

// Closed tells whether a change is over: it was undone, or refused.
func Closed(s *v1alpha1.ReshapeStatus) bool {
	return s != nil && v1alpha1.ReshapeOver(s.State)
}

// reshapes are the changes that are wanted or in force, by ID.
func (n *Node) reshapes() []lend.Reshape {
	var list []lend.Reshape
	for i := range n.Object.Spec.Reshapes {
		want := &n.Object.Spec.Reshapes[i]
		said := Status(n.Object, want.ID)
		if Closed(said) {
			continue
		}
		r := lend.Reshape{
			ID: want.ID, GPU: want.GPU, Lender: want.Lender, JobUID: string(want.JobUID),
			From: want.From, Count: int64(len(want.Destroy)), To: want.To, Made: int64(len(want.Create)),
			Destroy: places(want.Destroy), Create: places(want.Create), State: lend.ReshapeMaking,
		}
		if said != nil {
			switch said.State {
			case v1alpha1.ReshapeMade:
				r.State = lend.ReshapeMade
			case v1alpha1.ReshapeStuck:
				r.Stuck = cmp.Or(said.Message, "the agent does not say what holds it")
			}
		}
		if want.Undo {
			r.State = lend.ReshapeUndoing
		}
		if said != nil && (said.State == string(r.State) || r.Stuck != "") {
			r.Since = said.Since.UTC() // else the agent has not seen yet what it is to do
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b lend.Reshape) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func places(list []v1alpha1.MIGPlacement) []mig.Placed {
	out := make([]mig.Placed, 0, len(list))
	for _, at := range list {
		out = append(out, boards.Placed(at))
	}
	return out
}

// closing says that a change of the GPU's layout is over and not off the list yet, and
// "" if there is none.
func (n *Node) closing(gpu string) string {
	for i := range n.Object.Spec.Reshapes {
		want := &n.Object.Spec.Reshapes[i]
		if want.GPU == gpu && Closed(Status(n.Object, want.ID)) {
			return "the last change of its layout is being closed"
		}
	}
	return n.nodes.refusedLately(gpu)
}

// going are the places on a GPU whose instances are gone, or will be, for a change.
func (n *Node) going(gpu string) map[mig.Placed]bool {
	var going map[mig.Placed]bool
	for i := range n.Object.Spec.Reshapes {
		want := &n.Object.Spec.Reshapes[i]
		if want.GPU != gpu || Closed(Status(n.Object, want.ID)) {
			continue
		}
		if going == nil {
			going = map[mig.Placed]bool{}
		}
		for _, at := range want.Destroy {
			going[boards.Placed(at)] = true
		}
	}
	return going
}

// mostCosts bounds the changes whose times are remembered, costsLast for how long they are:
// one that took too long keeps others from being made, and so from being measured.
const (
	mostCosts = 32
	costsLast = 7 * 24 * time.Hour
)

// costs remembers how long changes took lately.
type costs struct {
	recent   []cost
	refusals refusals
}

type cost struct {
	id         string
	make, undo time.Duration
	at         time.Time // it was measured
}

// learn takes over what the agent has measured, and what it refused.
func (c *costs) learn(node *v1alpha1.GPUNode, now time.Time) {
	for i := range node.Status.Reshapes {
		s := &node.Status.Reshapes[i]
		m := cost{s.ID, time.Duration(s.MakeMilliseconds) * time.Millisecond, time.Duration(s.UndoMilliseconds) * time.Millisecond, s.Since.Time}
		if m.at.IsZero() || m.at.After(now) {
			m.at = now
		}
		if !m.old(now) {
			c.measured(m)
		}
	}
	c.refusals.learn(node, now)
}

func (m cost) old(now time.Time) bool { return now.Sub(m.at) >= costsLast }

// forget drops what is old.
func (c *costs) forget(now time.Time) {
	c.recent = slices.DeleteFunc(c.recent, func(m cost) bool { return m.old(now) })
}

func (c *costs) measured(m cost) {
	if m.make <= 0 && m.undo <= 0 {
		return
	}
	for i := range c.recent {
		known := &c.recent[i]
		if known.id != m.id {
			continue
		}
		if m.make, m.undo = cmp.Or(m.make, known.make), cmp.Or(m.undo, known.undo); m.make != known.make || m.undo != known.undo {
			*known = m
		}
		return
	}
	if len(c.recent) == mostCosts {
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	c.recent = append(c.recent, m)
}

// Costs is how long a change takes and how long its undoing does: the longest of the last
// ones, in whole seconds; what is given, where none was measured in the last seven days.
func (n *Nodes) Costs(change, undo time.Duration) (time.Duration, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var longest cost
	for _, m := range n.costs.recent {
		longest.make, longest.undo = max(longest.make, m.make), max(longest.undo, m.undo)
	}
	if longest.make > 0 {
		change = ceil(longest.make)
	}
	if longest.undo > 0 {
		undo = ceil(longest.undo)
	}
	return change, undo
}

func ceil(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }
