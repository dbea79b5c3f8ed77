package dra

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// Cluster says which pods are on the node, and what they claim.
type Cluster interface {
	// Pods are those on the node that have not ended.
	Pods(ctx context.Context) ([]corev1.Pod, error)
	// Claim returns a ResourceClaim, or nil if there is none.
	Claim(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error)
}

// Holders are the node's, and the pods whose claims were allocated and not prepared yet:
// between the two, which can be minutes while an image is pulled, the place is theirs
// already. A claim that cannot be read makes everything unknown.
type Holders struct {
	Node    *Node
	Cluster Cluster
}

// Holders implements agent.Holders.
func (h Holders) Holders(ctx context.Context) (map[string]v1alpha1.GPUHolder, error) {
	pods, err := h.Cluster.Pods(ctx)
	if err != nil {
		return nil, err
	}
	// In this order: a claim that is prepared in between is asked for, and not missed.
	known := h.Node.named()
	all := h.Node.Holders(agent.Promised)
	for i := range pods {
		p := &pods[i]
		holder := v1alpha1.GPUHolder{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		for _, name := range claimNames(p) {
			if known[p.Namespace+"/"+name] {
				continue
			}
			claim, err := h.Cluster.Claim(ctx, p.Namespace, name)
			if err != nil {
				return nil, fmt.Errorf("read claim %s/%s of pod %s: %w", p.Namespace, name, p.Name, err)
			}
			for _, key := range h.Node.allocated(claim) {
				if _, taken := all[key]; !taken {
					all[key] = holder
				}
			}
		}
	}
	return all, nil
}

// claimNames are those of the pod's claims that were made, also of those that stand for
// its extended resources.
func claimNames(pod *corev1.Pod) []string {
	var out []string
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			out = append(out, *c.ResourceClaimName)
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			out = append(out, *s.ResourceClaimName)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, s.ResourceClaimName)
	}
	return out
}

// named are the claims of the checkpoint, by namespace and name, also those that are
// being let go.
func (n *Node) named() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]bool{}
	for _, c := range n.state.Claims {
		out[c.Namespace+"/"+c.Name] = true
	}
	return out
}

// allocated are the keys, as of Holders, of what a claim was given on this node.
func (n *Node) allocated(claim *resourcev1.ResourceClaim) []string {
	if claim == nil || claim.Status.Allocation == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, r := range claim.Status.Allocation.Devices.Results {
		if r.Driver != Driver || r.Pool != n.options.Node {
			continue
		}
		gpu, at, err := n.find(r.Device)
		switch {
		case err != nil: // what does not exist is not held
		case at == nil:
			out = append(out, gpu)
		default:
			p, _ := n.state.Cards[gpu].Board.Profile(at.Profile)
			out = append(out, agent.Promised(gpu, p.Name, at.Start))
		}
	}
	return out
}
