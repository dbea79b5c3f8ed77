package dra

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/mig/agent"
)

// cluster has pods, and all claims on one device.
type cluster struct {
	pods   []corev1.Pod
	device string
	err    error
}

func (c cluster) Pods(context.Context) ([]corev1.Pod, error) { return c.pods, nil }
func (c cluster) Claim(_ context.Context, _, name string) (*resourcev1.ResourceClaim, error) {
	return claim(name, c.device), c.err
}

// The place of a claim is its pod's from when it was allocated, however the pod names it.
func TestAllocatedClaimsHold(t *testing.T) {
	ways := map[string]corev1.Pod{
		"by name":     {Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{ResourceClaimName: ptr.To("c")}}}},
		"by template": {Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{ResourceClaimName: ptr.To("c")}}}},
		"as extended resource": {Status: corev1.PodStatus{
			ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c"},
		}},
	}
	for name, pod := range ways {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			pod.ObjectMeta = metav1.ObjectMeta{Namespace: "team", Name: "p", UID: "p"}
			cluster := cluster{pods: []corev1.Pod{pod}, device: "gpu-0-mig-1g5gb-19-4"}
			key := agent.Promised("GPU-a", "1g.5gb", 4)
			got, err := Holders{s.Node, cluster}.Holders(t.Context())
			if err != nil || len(got) != 1 || got[key].Name != "p" {
				t.Errorf("holders %v (%v), want pod p at %s", got, err, key)
			}
			cluster.err = errors.New("no answer")
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err == nil {
				t.Errorf("holders %v though the claim cannot be read", got)
			}
			s.prepare(claim("c", "gpu-0-mig-1g5gb-19-4")) // known from now on, and not asked for
			if got, err := (Holders{s.Node, cluster}).Holders(t.Context()); err != nil || got[key].Name != "c-pod" {
				t.Errorf("holders %v (%v) of a claim that is prepared", got, err)
			}
		})
	}
}
