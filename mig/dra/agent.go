package dra

import (
	"context"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// Observed returns nodes that the agent publishes to, and the node observes what it
// publishes.
func (n *Node) Observed(nodes agent.Nodes) agent.Nodes { return observed{nodes, n} }

type observed struct {
	agent.Nodes
	node *Node
}

// Get shows the node the changes that are asked for, before the agent takes them over.
func (o observed) Get(ctx context.Context) (*v1alpha1.GPUNode, error) {
	node, err := o.Nodes.Get(ctx)
	if err == nil {
		o.node.expect(node.Spec.Reshapes)
	}
	return node, err
}

// Publish shows the node the status also if the API server does not take it: what claims
// get goes by what is there.
func (o observed) Publish(ctx context.Context, status v1alpha1.GPUNodeStatus) error {
	if err := o.node.Observe(&status); err != nil {
		return err
	}
	return o.Nodes.Publish(ctx, status)
}
