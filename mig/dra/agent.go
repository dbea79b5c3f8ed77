package dra

import (
	"context"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// AgentHolders tells the agent who holds what.
func (n *Node) AgentHolders() agent.Holders { return holders{n} }

type holders struct{ node *Node }

func (h holders) Holders(context.Context) (map[string]v1alpha1.GPUHolder, error) {
	return h.node.Holders(agent.Promised), nil
}

// Observed returns nodes that the agent publishes to, and the node observes what it
// publishes.
func (n *Node) Observed(nodes agent.Nodes) agent.Nodes { return observed{nodes, n} }

type observed struct {
	agent.Nodes
	node *Node
}

// Publish shows the node the status also if the API server does not take it: what claims
// get goes by what is there.
func (o observed) Publish(ctx context.Context, status v1alpha1.GPUNodeStatus) error {
	if err := o.node.Observe(&status); err != nil {
		return err
	}
	return o.Nodes.Publish(ctx, status)
}
