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

// Advertiser is for an agent whose slices no device plugin advertises: what is published
// follows the layout by itself.
type Advertiser struct{}

// Withdraw does nothing: a device that no claim holds is in nobody's hands, and one that is
// allocated meanwhile is made again for its claim.
func (Advertiser) Withdraw(context.Context, []string) error { return nil }

// Advertise has nothing left to do.
func (Advertiser) Advertise(context.Context, agent.Change) (bool, error) { return true, nil }
