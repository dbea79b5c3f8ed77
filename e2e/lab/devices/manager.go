package devices

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Manager is the device managers of a cluster's nodes. Nodes that it does not know have
// nothing to hand out, and so no pod waits for it there.
type Manager struct {
	mu    sync.Mutex
	nodes map[string]*Node
	where map[types.UID]*Node
}

// NewManager returns a Manager of no nodes.
func NewManager() *Manager { return &Manager{nodes: map[string]*Node{}, where: map[types.UID]*Node{}} }

// Add adds a node.
func (m *Manager) Add(n *Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[n.Name] = n
}

// Node returns the node of that name, or nil.
func (m *Manager) Node(name string) *Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[name]
}

// Admit implements kubelet.Devices.
func (m *Manager) Admit(_ context.Context, pod *corev1.Pod) error {
	m.mu.Lock()
	n := m.nodes[pod.Spec.NodeName]
	if n != nil {
		m.where[pod.UID] = n
	}
	m.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.Admit(pod)
}

// Release implements kubelet.Devices.
func (m *Manager) Release(_ context.Context, pod types.UID) error {
	m.mu.Lock()
	n := m.where[pod]
	m.mu.Unlock()
	if n == nil {
		return nil
	}
	if err := n.Release(pod); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.where, pod)
	return nil
}
