package dra

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// Cluster says which pods are on the node, and what is claimed.
type Cluster interface {
	// Pods are those on the node that have not ended.
	Pods(ctx context.Context) ([]corev1.Pod, error)
	// Pod returns a pod as the API server has it now, wherever it is, or nil if there is
	// none.
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	// Claim returns a ResourceClaim as the API server has it now, or nil if there is none.
	Claim(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error)
	// Claims are all ResourceClaims as the API server has them now.
	Claims(ctx context.Context) ([]resourcev1.ResourceClaim, error)
}

// Holders are the node's, and the pods whose claims were allocated and not prepared yet:
// between the two, which can be minutes while an image is pulled, the place is theirs
// already. A claim that cannot be read makes everything unknown.
//
// The scheduler writes an allocation before it binds the pod, so that a claim may have a
// place while no pod is on the node. All claims are looked at for these, but only while a
// change of a layout is asked for: nothing is taken from them otherwise, and it would be
// much to read for every agent every few seconds.
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
	known := h.Node.known()
	all := h.Node.Holders(agent.Promised)
	for i := range pods {
		p := &pods[i]
		for _, name := range claimNames(p) {
			if known.of(p, name) {
				continue
			}
			claim, err := h.Cluster.Claim(ctx, p.Namespace, name)
			if err != nil {
				return nil, fmt.Errorf("read claim %s/%s of pod %s: %w", p.Namespace, name, p.Name, err)
			}
			h.Node.promise(all, claim, p)
		}
	}
	if !h.Node.changing() {
		return all, nil
	}
	return all, h.unbound(ctx, all, known)
}

// unbound adds what was allocated for pods that are not on the node yet. What is being let
// go may have been reserved again, for another.
func (h Holders) unbound(ctx context.Context, all map[string]v1alpha1.GPUHolder, known records) error {
	claims, err := h.Cluster.Claims(ctx)
	if err != nil {
		return fmt.Errorf("list all claims: %w", err)
	}
	for i := range claims {
		claim := &claims[i]
		own := known[claim.UID]
		if own != nil && !own.Going || !slices.ContainsFunc(results(claim), h.Node.here) {
			continue
		}
		for _, reserved := range reservedFor(claim) {
			if own != nil && own.reservedFor(reserved.UID) {
				continue // what is let go after it is not promised to it
			}
			pod, err := h.Cluster.Pod(ctx, claim.Namespace, reserved.Name)
			if err != nil {
				return fmt.Errorf("read pod %s/%s, which claim %s is reserved for: %w", claim.Namespace, reserved.Name, claim.Name, err)
			}
			// What is reserved for a pod that has ended is about to be free.
			if pod != nil && pod.UID == reserved.UID && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				h.Node.promise(all, claim, pod)
			}
		}
	}
	return nil
}

// promise notes that a pod has what its claim was given on this node, where nobody has it.
func (n *Node) promise(all map[string]v1alpha1.GPUHolder, claim *resourcev1.ResourceClaim, pod *corev1.Pod) {
	for _, key := range n.allocated(claim) {
		if _, taken := all[key]; !taken {
			all[key] = v1alpha1.GPUHolder{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
		}
	}
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

// records are the claims of the checkpoint, also those that are being let go.
type records map[types.UID]*Claim

func (n *Node) known() records {
	out := records{}
	for _, c := range n.copies() {
		out[c.UID] = c
	}
	return out
}

// of reports whether the pod's claim of that name is among them. One that has the name,
// and was another pod's, is another claim.
func (r records) of(pod *corev1.Pod, name string) bool {
	for _, c := range r {
		if c.Namespace == pod.Namespace && c.Name == name &&
			c.reservedFor(pod.UID) {
			return true
		}
	}
	return false
}

// reservedFor reports whether the claim was prepared for a pod.
func (c *Claim) reservedFor(pod types.UID) bool {
	return slices.ContainsFunc(c.Pods, func(p Pod) bool { return p.UID == pod })
}

// allocated are the keys, as of Holders, of what a claim was given on this node.
func (n *Node) allocated(claim *resourcev1.ResourceClaim) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, r := range results(claim) {
		if !n.here(r) {
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
