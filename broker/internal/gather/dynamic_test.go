package gather

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
)

// A node whose devices are allocated by claims has what its agent says, broken or not, and
// what its kubelet says of anything else.
func TestNodesWithClaimedDevices(t *testing.T) {
	const slice = "nvidia.com/mig-1g.5gb"
	in := func(state string) v1alpha1.MIGInstance { return v1alpha1.MIGInstance{State: state, Resource: slice} }
	object := &v1alpha1.GPUNode{Status: v1alpha1.GPUNodeStatus{GPUs: []v1alpha1.GPUStatus{
		{UUID: "a", MIG: true, Healthy: true, Instances: []v1alpha1.MIGInstance{
			in(v1alpha1.InstanceReady), in(v1alpha1.InstanceAbsent), in(v1alpha1.InstanceStuck),
		}},
		{UUID: "b", MIG: true, Instances: []v1alpha1.MIGInstance{in(v1alpha1.InstanceReady)}},
		{UUID: "c", Healthy: true},
		{UUID: "d"},
	}}}
	s := &gpus{nodes: map[string]*gpunodes.Node{"n": {Object: object}}}
	shared := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64")}
	nodes := func() []corev1.Node {
		list := []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, {ObjectMeta: metav1.ObjectMeta{Name: "other"}}}
		for i := range list {
			list[i].Status = corev1.NodeStatus{Capacity: shared, Allocatable: shared}
		}
		s.claimed(list)
		return list
	}
	if got := nodes()[0].Status; len(got.Capacity) != 1 || len(got.Allocatable) != 1 {
		t.Errorf("with a device plugin the node has %v", got)
	}
	object.Status.Allocation = v1alpha1.AllocationDynamicResources
	list := nodes()
	counts := func(l corev1.ResourceList) map[corev1.ResourceName]int64 {
		out := map[corev1.ResourceName]int64{}
		for name, q := range l {
			out[name] = q.Value()
		}
		return out
	}
	if got, want := counts(list[0].Status.Capacity), (map[corev1.ResourceName]int64{corev1.ResourceCPU: 64, slice: 4, v1alpha1.WholeGPU: 2}); !cmp.Equal(got, want) {
		t.Errorf("capacity: %s", cmp.Diff(want, got))
	}
	if got, want := counts(list[0].Status.Allocatable), (map[corev1.ResourceName]int64{corev1.ResourceCPU: 64, slice: 2, v1alpha1.WholeGPU: 1}); !cmp.Equal(got, want) {
		t.Errorf("allocatable: %s", cmp.Diff(want, got))
	}
	if len(shared) != 1 || len(list[1].Status.Allocatable) != 1 {
		t.Errorf("what others share was changed: %v", shared)
	}
}
