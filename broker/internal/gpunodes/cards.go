package gpunodes

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// Sight is what a decision sees of a node's GPUs.
type Sight struct {
	Cards    []lend.Card    // by UUID
	Reshapes []lend.Reshape // by ID
	// Unlendable says why nothing new may be lent on the node; empty: it may be.
	Unlendable string
	// Pinned is what the spec should say is kept, by GPU, and Pins how it comes to that, by
	// resource.
	Pinned []v1alpha1.PinnedSlices
	Pins   map[string]Pins
}

// Look sees the node's GPUs. wants are how many instances of each GPU are to be kept, by
// resource.
func (n *Node) Look(holdings Holdings, wants map[string]int, names *Boards) Sight {
	status := &n.Object.Status
	s := Sight{Unlendable: n.unlendable(), Pins: map[string]Pins{}}
	promised := holdings.promised(status)
	gpus := make([]*v1alpha1.GPUStatus, 0, len(status.GPUs))
	for i := range status.GPUs {
		gpus = append(gpus, &status.GPUs[i])
	}
	slices.SortFunc(gpus, func(a, b *v1alpha1.GPUStatus) int { return cmp.Compare(a.UUID, b.UUID) })
	for _, gpu := range gpus {
		b := n.board(gpu.Board)
		if !gpu.MIG || b == nil {
			continue
		}
		c := &card{node: n, status: gpu, board: b, lend: lend.Card{GPU: mig.GPU{UUID: gpu.UUID}, Board: names.add(b, n.Object.Name)}}
		c.instances(holdings, promised)
		pins := c.pins(wants, s.Pins)
		if len(pins) > 0 {
			s.Pinned = append(s.Pinned, v1alpha1.PinnedSlices{GPU: gpu.UUID, Places: pins})
		}
		c.lend.Fixed = c.fixed()
		s.Cards = append(s.Cards, c.lend)
	}
	if len(wants) > 0 {
		s.Pinned = n.withUnseen(s.Pinned, s.Cards)
	}
	s.Reshapes = n.reshapes()
	return s
}

// withUnseen adds what is kept on GPUs that are not seen as cards at the moment: they may
// be lost, or a reboot has left MIG mode off.
func (n *Node) withUnseen(pinned []v1alpha1.PinnedSlices, cards []lend.Card) []v1alpha1.PinnedSlices {
	for _, kept := range n.Object.Spec.Pinned {
		if !slices.ContainsFunc(cards, func(c lend.Card) bool { return c.UUID == kept.GPU }) {
			pinned = append(pinned, kept)
		}
	}
	slices.SortFunc(pinned, func(a, b v1alpha1.PinnedSlices) int { return cmp.Compare(a.GPU, b.GPU) })
	return pinned
}

// unlendable says why nothing new may be lent on the node.
func (n *Node) unlendable() string {
	if n.Stale {
		return "nothing has been heard from the agent of node " + n.Object.Name + " for more than two minutes"
	}
	if c := meta.FindStatusCondition(n.Object.Status.Conditions, v1alpha1.GPUNodeLendable); c != nil && c.Status != metav1.ConditionTrue {
		return "node " + n.Object.Name + " may not lend: " + said(c)
	} else if c == nil {
		return "the agent of node " + n.Object.Name + " has not said that it may lend"
	}
	return ""
}

func said(c *metav1.Condition) string {
	if c.Message == "" {
		return c.Reason
	}
	return c.Message + " (" + c.Reason + ")"
}

// card is a GPU in MIG mode on its way into the snapshot.
type card struct {
	node   *Node
	status *v1alpha1.GPUStatus
	board  *boards.Board
	lend   lend.Card
	// absent: an instance of the layout is not there, and nobody will make it by itself.
	absent bool
}

// instances fills in what each instance is used for, by start and profile.
func (c *card) instances(holdings Holdings, promised map[v1alpha1.InstanceRef]*Holding) {
	for i := range c.status.Instances {
		in := &c.status.Instances[i]
		if in.State == v1alpha1.InstanceAbsent && !c.node.dynamic() {
			c.absent = true
			continue
		}
		use, owner := c.use(in, holdings)
		if pod := promised[c.ref(in)]; use == mig.Idle && pod != nil {
			if use, owner = mig.Busy, pod.Owner; pod.Lent {
				use = mig.Lent
			}
		}
		c.lend.Instances = append(c.lend.Instances, mig.Instance{
			Placed: boards.Placed(in.MIGPlacement), Generation: in.Generation, Use: use, Owner: owner,
		})
	}
	slices.SortFunc(c.lend.Instances, func(a, b mig.Instance) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Profile, b.Profile))
	})
}

func (c *card) ref(in *v1alpha1.MIGInstance) v1alpha1.InstanceRef {
	return v1alpha1.InstanceRef{GPU: c.status.UUID, Profile: c.name(in.MIGPlacement), Start: in.Start, Generation: in.Generation}
}

// name of a place's profile.
func (c *card) name(at v1alpha1.MIGPlacement) string {
	p, _ := c.board.Geometry.Profile(mig.ProfileID(at.Profile))
	return cmp.Or(at.Name, p.Name)
}

// use is what an instance is used for, as the agent says.
func (c *card) use(in *v1alpha1.MIGInstance, holdings Holdings) (mig.Use, string) {
	switch {
	case c.node.Stale:
		return mig.Unknown, ""
	case in.State == v1alpha1.InstanceForeign:
		return mig.Foreign, ""
	case in.Holder != nil:
		return holdings.by(in.Holder)
	case in.Processes != nil && *in.Processes > 0:
		return mig.Busy, ""
	case in.State == v1alpha1.InstanceRemnant:
		return mig.Remnant, ""
	case in.State == v1alpha1.InstanceAbsent: // on a node where it is made when it is needed
		return mig.Idle, ""
	case in.State == v1alpha1.InstanceReady && in.Processes != nil:
		return mig.Idle, ""
	}
	return mig.Unknown, "" // it is stuck, or nobody knows whether a process is on it
}

// dynamic: instances are made when claims are prepared.
func (n *Node) dynamic() bool {
	return n.Object.Status.Allocation == v1alpha1.AllocationDynamicResources
}

// fixed says why the card's layout must not be changed now.
func (c *card) fixed() string {
	switch ready := meta.FindStatusCondition(c.node.Object.Status.Conditions, v1alpha1.GPUNodeReady); {
	case c.node.Stale:
		return "nothing has been heard from the node's agent for more than two minutes"
	case ready == nil:
		return "the node's agent has not said that it may change layouts"
	case ready.Status != metav1.ConditionTrue:
		return "the node's agent may not change layouts: " + said(ready)
	case !c.status.Healthy:
		return cmp.Or(c.status.Problem, "the GPU is not healthy")
	case c.absent:
		return "instances of its layout are missing"
	case c.status.Fingerprint != mig.Fingerprint(c.lend.Instances):
		return "what the agent says of its layout does not fit together"
	}
	return c.node.closing(c.status.UUID)
}
