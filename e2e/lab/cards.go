package lab

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ebbtide/ebbtide/e2e/lab/devices"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// Cards are the simulated GPUs of a node, with NVIDIA's device plugin in its mixed strategy.
// The node's capacity follows from them.
type Cards struct {
	// Count of those in MIG mode, all alike, and Whole of those beside them that are not.
	Count, Whole int
	// Board is the name of one of mig.Boards.
	Board string
	// Layout of each from the start.
	Layout []mig.Placed
	// Latency of the driver's calls; the zero value is FastCards.
	Latency simgpu.Latency
	// Gap is how long nothing can be allocated when the plugin is restarted; 0 is
	// DefaultGap, less than 0 none.
	Gap time.Duration
	// Contrary: the kubelet takes other devices than the scheduler wrote down, if it can.
	Contrary bool
}

// FastCards are calls that take a fifth of what is told of real GPUs.
func FastCards() simgpu.Latency {
	return simgpu.Latency{
		Read: time.Millisecond, CreateGI: 60 * time.Millisecond, CreateCI: 10 * time.Millisecond,
		DestroyCI: 10 * time.Millisecond, DestroyGI: 200 * time.Millisecond,
	}
}

// DefaultGap is that of a plugin which registers again as fast as it can.
const DefaultGap = 200 * time.Millisecond

// LabelMIGStrategy is what NVIDIA's feature discovery says of nodes with slices.
const LabelMIGStrategy = "nvidia.com/mig.strategy"

// Places are the starts of instances of one profile.
func Places(profile mig.ProfileID, starts ...int) []mig.Placed {
	places := make([]mig.Placed, len(starts))
	for i, start := range starts {
		places[i] = mig.Placed{Profile: profile, Start: start}
	}
	return places
}

// createCards makes the simulated GPUs of a node.
func (l *Lab) createCards(node string, c Cards) (*simgpu.Sim, error) {
	geometry, known := mig.Board(c.Board)
	if !known {
		return nil, fmt.Errorf("cards of node %s: board %q is not known", node, c.Board)
	}
	cards := make([]simgpu.Card, c.Count+c.Whole)
	for i := range cards {
		if cards[i] = (simgpu.Card{Geometry: geometry, Whole: i >= c.Count}); !cards[i].Whole {
			cards[i].Layout = c.Layout
		}
	}
	sim, err := simgpu.Create(l.cardsFolder(node), cards, simgpu.WithName("node"))
	if err != nil {
		return nil, fmt.Errorf("cards of node %s: %w", node, err)
	}
	if c.Latency == (simgpu.Latency{}) {
		c.Latency = FastCards()
	}
	if err := sim.SetLatency(c.Latency); err != nil {
		return nil, fmt.Errorf("cards of node %s: %w", node, err)
	}
	return sim, nil
}

// addCards makes the cards of a node that is to be created, and what stands between them
// and pods.
func (l *Lab) addCards(ctx context.Context, spec NodeSpec) (*devices.Node, error) {
	c := *spec.Cards
	if spec.GPUs > 0 {
		return nil, fmt.Errorf("cards of node %s: GPUs is %d, must be 0 beside cards: pods get devices there, and Cards.Whole are those of GPUs", spec.Name, spec.GPUs)
	}
	if c.Whole > 0 && !l.opts.handsGPUs() {
		return nil, fmt.Errorf("cards of node %s: Whole is %d, must be 0 for nodes that are added to a lab which began without any", spec.Name, c.Whole)
	}
	sim, err := l.createCards(spec.Name, c)
	if err != nil {
		return nil, err
	}
	if c.Gap == 0 {
		c.Gap = DefaultGap
	}
	n := devices.NewNode(devices.Options{
		Name: spec.Name, Cards: sim, Client: l.client, Gap: max(c.Gap, 0), Contrary: c.Contrary,
	})
	if err := n.Enumerate(ctx); err != nil {
		return nil, err
	}
	if err := l.serveDevices(n); err != nil {
		return nil, err
	}
	l.devices.Add(n)
	return n, nil
}

// withCards adds what the cards advertise, and what feature discovery says of them.
func withCards(node *corev1.Node, spec NodeSpec, n *devices.Node) {
	for name, count := range n.Counts() {
		q := *resource.NewQuantity(count, resource.DecimalSI)
		node.Status.Capacity[name], node.Status.Allocatable[name] = q, q
	}
	labels := map[string]string{LabelMIGStrategy: "mixed", "nvidia.com/mig.capable": "true", LabelProduct: spec.Cards.Product()}
	maps.Copy(labels, spec.Labels)
	maps.Copy(node.Labels, labels)
}

// Product is what feature discovery calls the cards.
func (c *Cards) Product() string { return "NVIDIA-" + c.Board }

func (l *Lab) cardsFolder(node string) string { return l.folder.Join("gpus", node) }

// Cards opens the simulated GPUs of a node, to look at them or to have something go
// wrong with them.
func (l *Lab) Cards(node string) (*simgpu.Sim, error) {
	return simgpu.Open(l.cardsFolder(node), simgpu.WithName("test"))
}

// Devices returns what hands a node's devices to its pods, or nil if it has no cards.
func (l *Lab) Devices(node string) *devices.Node { return l.devices.Node(node) }

// serveDevices answers the node's agent until the lab stops.
func (l *Lab) serveDevices(n *devices.Node) error {
	ctx := l.untilStopped()
	kubelet, plugin := l.sockets(n.Name)
	if err := makeFolder(l.folder.Join("sockets")); err != nil {
		return err
	}
	wait, err := n.Serve(ctx, kubelet, plugin)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = append(l.served, wait)
	return nil
}

// untilStopped ends when the lab stops, before its parts do.
func (l *Lab) untilStopped() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving == nil {
		l.serving, l.stopServing = context.WithCancel(context.Background())
	}
	return l.serving
}

// sockets are those of a node's kubelet and plugin.
func (l *Lab) sockets(node string) (kubelet, plugin string) {
	return l.folder.Join("sockets", node+".kubelet"), l.folder.Join("sockets", node+".plugin")
}

// endDevices ends what serveDevices began.
func (l *Lab) endDevices() {
	l.mu.Lock()
	stop, served := l.stopServing, l.served
	l.served = nil
	l.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	for _, wait := range served {
		wait()
	}
}

// RebootNode does to a node with cards what a reboot does: its agent is stopped, all
// instances and processes are gone, its pods have failed, and the plugin finds what is
// there. The agent is started again when the node is up.
func (l *Lab) RebootNode(ctx context.Context, name string) error {
	agent, n := l.Part(AgentOf(name)), l.devices.Node(name)
	if n == nil {
		return fmt.Errorf("reboot node %s: it has no cards", name)
	}
	if agent != nil {
		if err := agent.Kill(); err != nil {
			return err
		}
	}
	sim, err := l.Cards(name)
	if err != nil {
		return err
	}
	if err := sim.Reboot(); err != nil {
		return err
	}
	if err := n.Reboot(ctx); err != nil {
		return err
	}
	if agent == nil {
		return nil
	}
	return agent.Restart(ctx)
}
