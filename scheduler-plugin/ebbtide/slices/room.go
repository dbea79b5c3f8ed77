package slices

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Ask is a number of slices.
type Ask struct {
	Resource corev1.ResourceName
	Units    int64
}

// Pod is a pod that stands on the node.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	Asks            []Ask
	// Reserved are the instances that it was given; none if that is not known.
	Reserved []v1alpha1.InstanceRef
}

// Who says what a pod may be given.
type Who struct {
	// Loan is what a pod on a loan has; nil of others.
	Loan *Loan
	// Pins: pinned slices are kept for the service that the pod is of.
	Pins bool
	// Online: it is online inference.
	Online bool
}

// Loan is the loan that a pod is on, as far as its node goes.
type Loan struct {
	JobUID types.UID
	// Lent are the lenders, each with the flavor that it lends the loan there.
	Lent []Lending
}

// Lending is one lender's part of a loan on a node.
type Lending struct{ Lender, Flavor string }

// Room is who has which of a node's instances.
type Room struct {
	node *Node
	// by is the pod that has each instance; empty: nobody.
	by []types.UID
}

// Room returns who has what, if those pods and no others stand on the node: first what
// the agent says that they hold, and then, of those that it says nothing of, what they
// were reserved. rest is what each asks for beyond that; nobody knows where that is.
func (n *Node) Room(pods []Pod) (r *Room, rest [][]Ask) {
	r = &Room{node: n, by: make([]types.UID, len(n.Instances))}
	rest = make([][]Ask, len(pods))
	for i := range pods {
		rest[i] = r.seat(pods[i].UID, pods[i].Asks, func(in *Instance) bool { return in.heldBy(&pods[i]) })
	}
	for i := range pods {
		rest[i] = r.seat(pods[i].UID, rest[i], func(in *Instance) bool { return slices.Contains(pods[i].Reserved, in.InstanceRef) })
	}
	return r, rest
}

// seat gives the pod what it asks for of the instances that are its own and nobody
// else's, and returns what it lacks then.
func (r *Room) seat(pod types.UID, asks []Ask, own func(*Instance) bool) (rest []Ask) {
	for _, ask := range asks {
		for i := range r.node.Instances {
			if in := &r.node.Instances[i]; ask.Units > 0 && r.by[i] == "" && in.Resource == ask.Resource && own(in) {
				r.by[i] = pod
				ask.Units--
			}
		}
		if ask.Units > 0 {
			rest = append(rest, ask)
		}
	}
	return rest
}

func (in *Instance) heldBy(pod *Pod) bool {
	h := &in.holder
	return h.Name == pod.Name && h.Namespace == pod.Namespace && (h.UID == "" || h.UID == pod.UID)
}

// Guess notes that the pod will have slices of which nobody knows yet where they are:
// those that it would be given now, as far as there are any.
func (r *Room) Guess(pod types.UID, who *Who, rest []Ask) {
	for _, ask := range rest {
		for range ask.Units {
			i := r.best(ask.Resource, who)
			if i < 0 {
				break
			}
			r.by[i] = pod
		}
	}
}

// Find returns the instances that a pod is to be given, and notes that it has them. If
// there are not as many as it asks for, nothing is noted, and why says in a sentence what
// has become of them.
func (r *Room) Find(pod types.UID, who *Who, asks []Ask) (found []v1alpha1.InstanceRef, why string) {
	before := slices.Clone(r.by)
	for _, ask := range asks {
		for range ask.Units {
			i := r.best(ask.Resource, who)
			if i < 0 {
				r.by = before
				return nil, r.why(ask, who)
			}
			r.by[i] = pod
			found = append(found, r.node.Instances[i].InstanceRef)
		}
	}
	return found, ""
}

// Open returns the worth of what may still become of the node's cards: the sum over them
// of mig.Table.Phi, where slices that are nobody's are open to others.
func (r *Room) Open() int {
	taken, open := r.taken(), 0
	for gpu, b := range r.node.boards {
		open += b.Table.Phi(taken[gpu])
	}
	return open
}

// Has reports whether all of the instances are there still, and are to stay.
func (n *Node) Has(refs []v1alpha1.InstanceRef) bool {
	return !slices.ContainsFunc(refs, func(ref v1alpha1.InstanceRef) bool {
		return !slices.ContainsFunc(n.Instances, func(in Instance) bool {
			return in.InstanceRef == ref && in.usable && in.going < 0 && (in.made < 0 || !n.Reshapes[in.made].Undo)
		})
	})
}

// Keeps reports whether one of the instances is pinned.
func (n *Node) Keeps(refs []v1alpha1.InstanceRef) bool {
	return slices.ContainsFunc(n.Instances, func(in Instance) bool { return in.Pinned && slices.Contains(refs, in.InstanceRef) })
}

// Takes returns the pods that have instances which the reshape made.
func (r *Room) Takes(reshape int) []types.UID {
	var out []types.UID
	for i, by := range r.by {
		if by != "" && r.node.Instances[i].made == reshape && !slices.Contains(out, by) {
			out = append(out, by)
		}
	}
	return out
}

// The order in which instances are given out: those of the least rank first.
const (
	notAtAll = iota - 1
	first
	next
	last
	inNeed // where it is not known that nobody is on it
)

// rank says in which turn the pod is given the instance, whoever has it now.
func (n *Node) rank(in *Instance, who *Who) int {
	switch {
	case !in.usable || in.going >= 0 || in.unsure && who.Loan != nil:
		return notAtAll
	case in.unsure && in.made < 0:
		return inNeed
	case in.made >= 0:
		return n.Reshapes[in.made].rank(who.Loan)
	case !in.Pinned:
		return next
	case who.Loan != nil:
		return notAtAll
	case who.Pins:
		return first
	}
	return last
}

// rank says in which turn a pod on the loan is given what the reshape made.
func (r *Reshape) rank(loan *Loan) int {
	switch {
	case loan == nil || r.Undo || r.State != v1alpha1.ReshapeMade || !slices.Contains(loan.Lent, Lending{r.Lender, r.To}):
		return notAtAll
	case loan.JobUID == r.JobUID:
		return first
	}
	return next
}

// best returns the instance that a pod is given next; -1 if there is none. Of those of
// one rank it is the one whose loss leaves the most on its GPU; where that is equal, the
// highest for online pods and the lowest for all others, so that they meet late.
func (r *Room) best(resource corev1.ResourceName, who *Who) int {
	taken := r.taken()
	at, rank, loss := -1, 0, 0
	for i := range r.node.Instances {
		in := &r.node.Instances[i]
		if in.Resource != resource || r.by[i] != "" {
			continue
		}
		turn := r.node.rank(in, who)
		if turn == notAtAll {
			continue
		}
		costs := lossOf(r.node.boards[in.GPU], taken[in.GPU], in.At)
		if at < 0 || better(turn, costs, in, rank, loss, &r.node.Instances[at], who.Online) {
			at, rank, loss = i, turn, costs
		}
	}
	return at
}

func better(turn, costs int, in *Instance, rank, loss int, than *Instance, high bool) bool {
	order := cmp.Compare(in.Start, than.Start)
	if high {
		order = -order
	}
	return cmp.Or(cmp.Compare(turn, rank), cmp.Compare(costs, loss), order, cmp.Compare(in.GPU, than.GPU)) < 0
}

// taken returns the slots of each GPU that nothing new can be made of: all but those of
// slices that are nobody's.
func (r *Room) taken() map[string]uint16 {
	out := map[string]uint16{}
	for i := range r.node.Instances {
		in := &r.node.Instances[i]
		if r.by[i] != "" || !in.usable || in.Pinned || in.made >= 0 || in.going >= 0 {
			out[in.GPU] |= span(r.node.boards[in.GPU], in.At)
		}
	}
	return out
}

// why says what has become of the node's slices of which none is left for the pod.
func (r *Room) why(ask Ask, who *Who) string {
	var all, had, pinned, made, going, unsure, other int
	for i := range r.node.Instances {
		in := &r.node.Instances[i]
		if in.Resource != ask.Resource {
			continue
		}
		all++
		switch {
		case r.by[i] != "":
			had++
		case r.node.rank(in, who) >= 0: // it is left, and one is not enough
		case !in.usable:
			other++
		case in.going >= 0:
			going++
		case in.unsure:
			unsure++
		case in.made >= 0:
			made++
		default:
			pinned++
		}
	}
	text := fmt.Sprintf("%d slices of %s are on the node", all, ask.Resource)
	var parts []string
	for _, p := range []struct {
		n    int
		text string
	}{
		{had, "in use or reserved"}, {pinned, "pinned for services"}, {made, "made for loans"},
		{going, "being made into others"}, {unsure, "perhaps in use"}, {other, "not usable"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.text))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s, and the pod asks for %d", text, ask.Units)
	}
	return fmt.Sprintf("%s, and the pod asks for %d: %s", text, ask.Units, strings.Join(parts, ", "))
}
