package kube

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// devicesPolicy refuses pods that name devices themselves.
const devicesPolicy = "ebbtide-devices"

// Refuses reports whether the API server refuses pods that name devices themselves: the
// policy is there, it is bound to deny, and it refuses also what it cannot judge.
func (n *Node) Refuses(ctx context.Context) (bool, error) {
	policy := &admissionv1.ValidatingAdmissionPolicy{}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
	for _, object := range []client.Object{policy, binding} {
		err := n.client.Get(ctx, client.ObjectKey{Name: devicesPolicy}, object)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the policy %s: %w", devicesPolicy, err)
		}
	}
	fails := policy.Spec.FailurePolicy == nil || *policy.Spec.FailurePolicy == admissionv1.Fail
	return fails && binding.Spec.PolicyName == devicesPolicy && slices.Contains(binding.Spec.ValidationActions, admissionv1.Deny), nil
}
