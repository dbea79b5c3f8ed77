package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pods are those on the node that have not ended.
func (n *Node) Pods(ctx context.Context) ([]corev1.Pod, error) { return n.pods(ctx) }

// Claim returns a ResourceClaim as the API server has it, or nil if it has none.
func (n *Node) Claim(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error) {
	claim := &resourcev1.ResourceClaim{}
	err := n.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read claim %s/%s: %w", namespace, name, err)
	}
	return claim, nil
}

// Claims are all ResourceClaims, as the API server has them.
func (n *Node) Claims(ctx context.Context) ([]resourcev1.ResourceClaim, error) {
	list := &resourcev1.ResourceClaimList{}
	if err := n.client.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	return list.Items, nil
}

// Pod returns a pod as the API server has it, or nil if it has none.
func (n *Node) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	err := n.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
	}
	return pod, nil
}
