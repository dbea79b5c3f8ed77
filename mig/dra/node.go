package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/dra/pool"
)

// Maker makes and unmakes single instances. The agent is one.
type Maker interface {
	// Make creates an instance, or returns the one that is there for it already, with its
	// generation.
	Make(ctx context.Context, gpu string, at mig.Placed) (device.Instance, int64, error)
	// Unmake destroys an instance on which there is no process. One that is not there is
	// none to destroy.
	Unmake(ctx context.Context, gpu string, at mig.Placed) error
}

// Options of a node.
type Options struct {
	// Node is the name of the node and of its pool of devices.
	Node string
	// Dir is the folder of the checkpoint. It must exist.
	Dir string
	// CDI is the folder that the container runtime reads devices from (/var/run/cdi). It
	// must exist.
	CDI string
	// Failpoint is called after every step in Failpoints, by its name; nil: nothing is. Tests
	// end the driver there.
	Failpoint func(step string)
}

// The points at which Options.Failpoint is called, of a claim that is prepared and let go:
// written down, made, told the container runtime, done; and to go, destroyed, no longer
// told, forgotten.
const (
	FailClaimBegun   = "claim-begun"
	FailClaimMade    = "claim-made"
	FailClaimTold    = "claim-told"
	FailClaimDone    = "claim-done"
	FailClaimGoing   = "claim-going"
	FailClaimUnmade  = "claim-unmade"
	FailClaimUntold  = "claim-untold"
	FailClaimDropped = "claim-dropped"
)

// Failpoints lists all points, those of preparing a claim first, in their order.
func Failpoints() (prepare, unprepare []string) {
	return []string{FailClaimBegun, FailClaimMade, FailClaimTold, FailClaimDone},
		[]string{FailClaimGoing, FailClaimUnmade, FailClaimUntold, FailClaimDropped}
}

// Node is a node's GPUs, allocated by claims. Make it, let it Observe what the agent
// publishes, give its Holders to the agent, and Serve. It may be used by many goroutines;
// claims are prepared and let go one at a time.
type Node struct {
	options Options

	// changed is told, without waiting, when what is published may have changed.
	changed chan struct{}

	// calls is held while a claim is prepared or let go.
	calls sync.Mutex

	// mu guards what follows, and is never held while anybody is asked for anything but
	// the disk: the agent asks for holders while it works, and works for claims.
	mu    sync.Mutex
	maker Maker
	state *checkpoint
	// gpus as last observed, by UUID.
	gpus map[string]v1alpha1.GPUStatus
	// stale: gpus are older than they should be, as they could not be read since.
	stale bool
	// asked are the changes of layouts that are asked for, states how far they are by ID.
	// dropped are those that no longer are, and so are undone, until that is over.
	asked, dropped []v1alpha1.Reshape
	states         map[string]string
}

// New makes a node. It fails if there is a checkpoint that cannot be read.
func New(o Options) (*Node, error) {
	state, err := readCheckpoint(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return &Node{options: o, state: state, changed: make(chan struct{}, 1), gpus: map[string]v1alpha1.GPUStatus{}}, nil
}

// Observe takes the status that the agent publishes.
func (n *Node) Observe(status *v1alpha1.GPUNodeStatus) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	dirty := false
	gpus := make(map[string]v1alpha1.GPUStatus, len(status.GPUs))
	for _, g := range status.GPUs {
		gpus[g.UUID] = *g.DeepCopy()
		dirty = n.know(&g, status.Boards) || dirty
	}
	n.gpus, n.states = gpus, map[string]string{}
	for _, r := range status.Reshapes {
		n.states[r.ID] = r.State
	}
	n.stale = slices.ContainsFunc(status.Conditions, unread)
	n.dropped = slices.DeleteFunc(n.dropped, n.settled)
	n.tell()
	if dirty {
		return n.state.write(n.options.Dir)
	}
	return nil
}

// unread reports whether a condition says that a status is not of what was just read.
func unread(c metav1.Condition) bool {
	return c.Type == v1alpha1.GPUNodeReady && c.Status == metav1.ConditionFalse &&
		(c.Reason == agent.ReasonDriver || c.Reason == agent.ReasonJournal)
}

// know keeps what is new about a GPU, and reports whether there was anything. What one
// that has failed says of itself may be nothing, and changes nothing.
func (n *Node) know(g *v1alpha1.GPUStatus, said []v1alpha1.MIGBoard) bool {
	c, known := n.state.Cards[g.UUID]
	if known && !g.Healthy {
		return false
	}
	if !known {
		c = &card{Number: n.freeNumber()}
		n.state.Cards[g.UUID] = c
	}
	dirty := !known || c.Product != g.Product || c.MemoryMiB != g.MemoryMiB || c.MIG != g.MIG
	c.Product, c.MemoryMiB, c.MIG = g.Product, g.MemoryMiB, g.MIG
	i := slices.IndexFunc(said, func(b v1alpha1.MIGBoard) bool { return b.Name == g.Board })
	if !g.MIG || i < 0 {
		return dirty
	}
	board := boards.Geometry(&said[i])
	if c.Board == nil || len(mig.Difference(*c.Board, board)) > 0 {
		c.Board, dirty = &board, true
	}
	return dirty
}

// freeNumber is one that no GPU has.
func (n *Node) freeNumber() int {
	free := 0
	for _, c := range n.state.Cards {
		free = max(free, c.Number+1)
	}
	return free
}

// keep writes the checkpoint and tells of it.
func (n *Node) keep() error {
	if err := n.state.write(n.options.Dir); err != nil {
		return err
	}
	n.tell()
	return nil
}

func (n *Node) tell() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Published are the GPUs as they should be published now, by their number: also those
// that nobody lists any more, as claims on them may still be allocated.
func (n *Node) Published() []pool.GPU {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []pool.GPU
	for uuid, c := range n.state.Cards {
		g := n.gpus[uuid]
		p := pool.GPU{UUID: uuid, Product: c.Product, MemoryMiB: c.MemoryMiB, Number: c.Number, Healthy: g.Healthy}
		if c.MIG && c.Board == nil {
			continue // it offers nothing whole, and what else is not known
		}
		if c.MIG {
			p.Board = c.Board
			p.Layout, p.Foreign = n.layout(&g)
			going := n.going(uuid)
			p.Layout = slices.DeleteFunc(p.Layout, func(at mig.Placed) bool { return slices.Contains(going, at) })
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b pool.GPU) int { return a.Number - b.Number })
	return out
}

// layout are the places of the card that claims may have, and those that are not ours
// to give.
func (n *Node) layout(g *v1alpha1.GPUStatus) (layout, foreign []mig.Placed) {
	held := n.heldOn(g.UUID)
	for i := range g.Instances {
		at := boards.Placed(g.Instances[i].MIGPlacement)
		switch g.Instances[i].State {
		case v1alpha1.InstanceReady, v1alpha1.InstanceAbsent:
			layout = append(layout, at)
		default:
			if !slices.Contains(held, at) {
				foreign = append(foreign, at)
			}
		}
	}
	return layout, foreign
}

// heldOn are the places of a card that claims hold.
func (n *Node) heldOn(gpu string) []mig.Placed {
	var out []mig.Placed
	for _, c := range n.state.sorted() {
		for _, d := range c.Devices {
			if d.GPU == gpu && d.At != nil {
				out = append(out, *d.At)
			}
		}
	}
	return out
}

// errNotThere tells a device of a claim that this node does not have.
var errNotThere = errors.New("no such device")

// find returns the card of a device's name, and the place on it; nil for a whole GPU.
func (n *Node) find(name string) (uuid string, at *mig.Placed, err error) {
	want, err := pool.Parse(name)
	if err != nil {
		return "", nil, err
	}
	for uuid, c := range n.state.Cards {
		if c.Number != want.Number {
			continue
		}
		if !want.MIG {
			return uuid, nil, nil
		}
		if c.Board == nil {
			break
		}
		for _, p := range c.Board.Profiles {
			if p.GIProfileID == want.GIProfileID && slices.Contains(p.Starts, want.Start) {
				return uuid, &mig.Placed{Profile: p.ID, Start: want.Start}, nil
			}
		}
	}
	return "", nil, fmt.Errorf("device %s: %w", strings.ToValidUTF8(name, "?"), errNotThere)
}

// Holders are the pods that hold GPUs and instances, by the UUID of the device. A place on
// a card has a second key, which is what promised makes of the GPU, the profile's name and
// the start: the place is the claim's also while the instance is being made, and after a
// reboot until it is made again. What is being destroyed has no holder any more: processes
// may still be on it.
func (n *Node) Holders(promised func(gpu, profile string, start int) string) map[string]v1alpha1.GPUHolder {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]v1alpha1.GPUHolder{}
	for _, c := range n.state.sorted() {
		if c.Going {
			continue
		}
		holder := v1alpha1.GPUHolder{Namespace: c.Namespace, Name: c.Name}
		if len(c.Pods) > 0 {
			holder.Name, holder.UID = c.Pods[0].Name, c.Pods[0].UID
		}
		for _, d := range c.Devices {
			if d.At == nil {
				out[d.GPU] = holder
				continue
			}
			if d.UUID != "" {
				out[d.UUID] = holder
			}
			p, _ := n.state.Cards[d.GPU].Board.Profile(d.At.Profile)
			out[promised(d.GPU, p.Name, d.At.Start)] = holder
		}
	}
	return out
}
