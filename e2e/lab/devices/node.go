package devices

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Cards are a node's GPUs, as the plugin and containers see them.
type Cards interface {
	Read(ctx context.Context) ([]device.GPU, error)
	// Attach starts a process on the instance at the place, or on the GPU if at is nil. It
	// fails if there is none.
	Attach(gpu string, at *mig.Placed, p device.Process) error
	// Detach ends the process, if it is there.
	Detach(gpu string, pid int) error
}

// Options describe a node.
type Options struct {
	Name   string
	Cards  Cards
	Client kubernetes.Interface
	// Gap is how long nothing can be allocated when the plugin is restarted.
	Gap time.Duration
	// Contrary: the kubelet takes other devices than the scheduler wrote down, if it can.
	Contrary bool
}

// Node is one node's device manager and plugin. Its methods may be called from any
// goroutine.
type Node struct {
	Options

	restarts sync.Mutex // held while the plugin restarts

	mu      sync.Mutex
	devices []Device // nil while the plugin is down
	known   map[corev1.ResourceName]bool
	pods    map[types.UID]*holding
	lastPID int
	failed  int
}

// holding is what a pod has.
type holding struct {
	namespace, name, container string
	devices                    []Device
	// started are those that its process is on.
	started int
	pid     int
}

const (
	// firstPID is that of a node's first process.
	firstPID = 1000
	// processMemory is what each takes on its instance, in MiB.
	processMemory = 2048
)

// NewNode returns a node whose plugin has not started.
func NewNode(o Options) *Node {
	return &Node{Options: o, known: map[corev1.ResourceName]bool{}, pods: map[types.UID]*holding{}, lastPID: firstPID}
}

// Admit gives the pod its devices, and starts its process.
func (n *Node) Admit(pod *corev1.Pod) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.pods[pod.UID]
	if h == nil {
		devices, err := n.allocate(pod)
		if err != nil {
			return err
		}
		n.lastPID++
		h = &holding{namespace: pod.Namespace, name: pod.Name, container: pod.Spec.Containers[0].Name, devices: devices, pid: n.lastPID}
		n.pods[pod.UID] = h
	}
	for _, d := range h.devices[h.started:] {
		if err := n.Cards.Attach(d.GPU, d.at(), device.Process{PID: h.pid, MemoryMiB: processMemory}); err != nil {
			n.failed++
			return fmt.Errorf("start a container on %s: %w", d.place(), err)
		}
		h.started++
	}
	return nil
}

// at is the place of a slice, nil for a GPU.
func (d Device) at() *mig.Placed {
	if d.Whole {
		return nil
	}
	return &d.Placed
}

// allocate takes devices for a pod.
func (n *Node) allocate(pod *corev1.Pod) ([]Device, error) {
	taken := map[string]bool{}
	for _, h := range n.pods {
		for _, d := range h.devices {
			taken[d.ID] = true
		}
	}
	need, wish := asked(pod), wished(pod)
	var all []Device
	for _, resource := range slices.Sorted(maps.Keys(need)) {
		var free []Device
		for _, d := range n.devices {
			if d.Resource == resource && !taken[d.ID] {
				free = append(free, d)
			}
		}
		if count := need[resource]; int64(len(free)) < count {
			return nil, fmt.Errorf("allocate failed due to requested number of devices unavailable for %s, requested: %d, available: %d: %w",
				resource, count, len(free), kubelet.ErrNoDevice)
		}
		all = append(all, choose(free, wish, need[resource], n.Contrary)...)
	}
	return all, nil
}

// Release ends the pod's process and takes its devices back.
func (n *Node) Release(pod types.UID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.pods[pod]
	if h == nil {
		return nil
	}
	for ; h.started > 0; h.started-- {
		d := h.devices[h.started-1]
		if err := n.Cards.Detach(d.GPU, h.pid); err != nil {
			return fmt.Errorf("end a container on %s: %w", d.place(), err)
		}
	}
	delete(n.pods, pod)
	return nil
}

// Holding are the devices of each pod that has any, by namespace/name.
func (n *Node) Holding() map[string][]Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string][]Device{}
	for _, h := range n.pods {
		all[h.namespace+"/"+h.name] = slices.Clone(h.devices)
	}
	return all
}

// FailedStarts is how often a container could not start because its instance was gone.
func (n *Node) FailedStarts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed
}
