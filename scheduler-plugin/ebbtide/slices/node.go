package slices

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// resourcePrefix is what the names of all slices begin with.
const resourcePrefix = "nvidia.com/mig-"

// Is reports whether units of the resource are slices of GPUs.
func Is(resource corev1.ResourceName) bool {
	return strings.HasPrefix(string(resource), resourcePrefix)
}

// Node is what a GPUNode says. It is never changed once it is read and heard, but for what
// undoing would make of it (see Undone).
type Node struct {
	Name string
	// Heartbeat is as the agent says, by its own clock.
	Heartbeat time.Time
	// Dynamic: the slices are devices of ResourceSlices, and the scheduler's allocator
	// chooses among them.
	Dynamic   bool
	Instances []Instance // by GPU, start, profile
	// Reshapes that are wanted or in force: neither undone nor refused.
	Reshapes []Reshape

	uid    types.UID
	heard  v1alpha1.Heard
	pinned map[corev1.ResourceName]int64
	boards map[string]*boards.Board // by GPU
	// devices are what claims can be given; nil where there is a device plugin.
	devices map[corev1.ResourceName]int64
	// settling and offers are what the node will offer once it knows of its changes.
	settling bool
	settled  v1alpha1.Settled // before
	offers   map[corev1.ResourceName]int64
}

// Instance is one slice.
type Instance struct {
	v1alpha1.InstanceRef
	Resource corev1.ResourceName
	At       mig.Placed
	// Pinned: it is kept for services in the shape that it has.
	Pinned bool

	usable bool
	// unsure: nobody is known to hold it, and whether a process is on it is not known either.
	unsure bool
	// made is the reshape that made it, going one that is to destroy it; -1 is none.
	made, going int
	holder      v1alpha1.GPUHolder // zero: none
}

// Reshape is a change of one card's layout.
type Reshape struct {
	ID     string
	GPU    string
	Lender string
	// From is the resource of what is destroyed, Count how many units that are.
	From  corev1.ResourceName
	Count int64
	// To is the flavor of what is made, and Resource the resource of that.
	To       string
	Resource corev1.ResourceName
	JobUID   types.UID
	State    string
	// Undo is wanted, or under way.
	Undo bool
	// UndoTakes is how long that is expected to take, or took; 0 is not known.
	UndoTakes time.Duration
	Since     time.Time

	destroy, create []v1alpha1.MIGPlacement
	made            bool // it was, once
}

// place is an instance's place on the node; generations come and go there.
type place struct {
	gpu     string
	profile int32
	start   int32
}

// Hear notes that the node was seen like this at now, and as before until then; nil if it
// was not seen. No node is fresh that was not heard.
func (n *Node) Hear(before *Node, now time.Time) {
	if before != nil && before.uid == n.uid {
		n.heard = before.heard
		n.settled = before.settled.See(before.settling, now)
	}
	n.heard = n.heard.Hear(n.Heartbeat, now)
}

// Fresh reports whether the node's agent has been heard lately, by the clock of Hear.
func (n *Node) Fresh(now time.Time) bool { return n != nil && !n.heard.Silent(now) }

// Pinned returns how many units of the resource are kept for services, whether or not
// they are there. It holds whatever the agent says, and if it says nothing.
func (n *Node) Pinned(resource corev1.ResourceName) int64 {
	if n == nil {
		return 0
	}
	return n.pinned[resource]
}

// Read reads a GPUNode.
func (b *Boards) Read(gn *v1alpha1.GPUNode) *Node {
	n := &Node{
		Name:      gn.Name,
		uid:       gn.UID,
		Heartbeat: gn.Status.Heartbeat.Time,
		Dynamic:   gn.Status.Allocation == v1alpha1.AllocationDynamicResources,
		pinned:    map[corev1.ResourceName]int64{},
		boards:    map[string]*boards.Board{},
	}
	for i := range gn.Status.GPUs {
		n.addGPU(&gn.Status.GPUs[i], gn.Status.Boards, b)
	}
	for i := range gn.Spec.Reshapes {
		n.addReshape(&gn.Spec.Reshapes[i], gn.Status.Reshapes)
	}
	for _, p := range gn.Spec.Pinned {
		for _, at := range p.Places {
			n.pinned[n.resourceOf(p.GPU, at)]++
			if i := n.at(placeOf(p.GPU, at)); i >= 0 {
				n.Instances[i].Pinned = true
			}
		}
	}
	n.devices = devicesOf(n, gn)
	n.settling = gn.Settling()
	_, n.offers = gn.Offers()
	return n
}

func (n *Node) addGPU(gpu *v1alpha1.GPUStatus, said []v1alpha1.MIGBoard, known *Boards) {
	if at := slices.IndexFunc(said, func(b v1alpha1.MIGBoard) bool { return b.Name == gpu.Board }); at >= 0 {
		n.boards[gpu.UUID] = known.known.Of(&said[at])
	}
	for i := range gpu.Instances {
		n.Instances = append(n.Instances, n.instance(gpu, &gpu.Instances[i]))
	}
	slices.SortFunc(n.Instances, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.Start, b.Start), cmp.Compare(a.At.Profile, b.At.Profile))
	})
}

// instance reads one slice. Processes on one that nobody holds are somebody's: it is not
// usable. Those on one that is held are its holder's, and gone with that pod.
func (n *Node) instance(gpu *v1alpha1.GPUStatus, s *v1alpha1.MIGInstance) Instance {
	out := Instance{
		InstanceRef: v1alpha1.InstanceRef{GPU: gpu.UUID, Profile: n.nameOf(gpu.UUID, s.MIGPlacement), Start: s.Start, Generation: s.Generation},
		Resource:    corev1.ResourceName(s.Resource),
		At:          boards.Placed(s.MIGPlacement),
		made:        -1, going: -1,
		usable: gpu.Healthy && s.State == v1alpha1.InstanceReady,
	}
	if out.Resource == "" {
		out.Resource = n.resourceOf(gpu.UUID, s.MIGPlacement)
	}
	if s.Holder != nil {
		out.holder = *s.Holder
	} else if s.Processes == nil {
		out.unsure = true
	} else if *s.Processes > 0 {
		out.usable = false
	}
	return out
}

func (n *Node) addReshape(want *v1alpha1.Reshape, states []v1alpha1.ReshapeStatus) {
	r := Reshape{
		ID: want.ID, GPU: want.GPU, Lender: want.Lender, To: want.To, JobUID: want.JobUID, Undo: want.Undo,
		Count: int64(len(want.Destroy)), destroy: want.Destroy, create: want.Create,
		UndoTakes: time.Duration(want.UndoSeconds) * time.Second,
	}
	if at := slices.IndexFunc(states, func(s v1alpha1.ReshapeStatus) bool { return s.ID == want.ID }); at >= 0 {
		r.State, r.Since = states[at].State, states[at].Since.Time
		r.made = states[at].MakeMilliseconds > 0
		r.UndoTakes = max(r.UndoTakes, time.Duration(states[at].UndoMilliseconds)*time.Millisecond)
	}
	if v1alpha1.ReshapeOver(r.State) {
		return
	}
	r.Undo = r.Undo || r.State == v1alpha1.ReshapeUndoing
	for _, at := range want.Destroy {
		r.From = n.resourceOf(want.GPU, at)
		if i := n.at(placeOf(want.GPU, at)); i >= 0 && r.takes() {
			n.Instances[i].going = len(n.Reshapes)
		}
	}
	for _, at := range want.Create {
		r.Resource = n.resourceOf(want.GPU, at)
		if i := n.at(placeOf(want.GPU, at)); i >= 0 {
			n.Instances[i].made = len(n.Reshapes)
		}
	}
	n.Reshapes = append(n.Reshapes, r)
}

// takes reports whether the agent may still destroy what the reshape takes.
func (r *Reshape) takes() bool {
	return r.State == "" || r.State == v1alpha1.ReshapeMaking || r.State == v1alpha1.ReshapeMade
}

// Stuck reports whether the reshape goes neither on nor back.
func (r *Reshape) Stuck() bool { return r.State == v1alpha1.ReshapeStuck }

func placeOf(gpu string, at v1alpha1.MIGPlacement) place { return place{gpu, at.Profile, at.Start} }

func (i *Instance) place() place { return place{i.GPU, int32(i.At.Profile), i.Start} }

// at returns which of the instances is at the place; -1 if none.
func (n *Node) at(p place) int {
	return slices.IndexFunc(n.Instances, func(i Instance) bool { return i.place() == p })
}

// nameOf returns the name of a placement's profile: its own, else the board's for it.
func (n *Node) nameOf(gpu string, at v1alpha1.MIGPlacement) string {
	if at.Name != "" {
		return at.Name
	}
	if b := n.boards[gpu]; b != nil {
		if p, ok := b.Geometry.Profile(mig.ProfileID(at.Profile)); ok {
			return p.Name
		}
	}
	return strconv.Itoa(int(at.Profile))
}

func (n *Node) resourceOf(gpu string, at v1alpha1.MIGPlacement) corev1.ResourceName {
	return corev1.ResourceName(mig.Profile{Name: n.nameOf(gpu, at)}.Resource())
}
