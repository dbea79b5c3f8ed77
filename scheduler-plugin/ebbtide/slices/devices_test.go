package slices

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Claims can be given what is of a layout, there or not, and GPUs that are not cut. What
// was reshaped is known to be none at the moment.
func TestDevices(t *testing.T) {
	gn := node(sevenths, "1g.5gb@0 1g.5gb@1", "4g.20gb@0", "")
	for i := range gn.Status.GPUs {
		gn.Status.GPUs[i].MIG = i < 3
	}
	if got := new(Boards).Read(gn).Devices(); got != nil {
		t.Errorf("with a device plugin there are %v", got)
	}
	gn.Status.Allocation = v1alpha1.AllocationDynamicResources
	gn.Status.GPUs[0].Instances[2].State = v1alpha1.InstanceAbsent
	gn.Status.GPUs[0].Instances[3].State = v1alpha1.InstanceForeign
	gn.Status.GPUs[1].Healthy = false
	gn.Status.GPUs = append(gn.Status.GPUs, v1alpha1.GPUStatus{UUID: "e"}) // whole, and not well
	reshape(gn, "r", v1alpha1.ReshapeMade, "2g.10gb@0 2g.10gb@2", "4g.20gb@0")
	n, instances := new(Boards).Read(gn), gn.Status.GPUs[2].Instances
	want := map[corev1.ResourceName]int64{oneG: 6, fourG: 1, "nvidia.com/gpu": 1, "nvidia.com/mig-2g.10gb": 0}
	if got := n.Devices(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	gn.Status.GPUs[2].Instances = nil // what was made has been lost
	gn.Spec.Reshapes[0].GPU = "c"
	if made, known := new(Boards).Read(gn).Devices()[fourG]; made != 0 || !known {
		t.Errorf("of what was made there are %d, known: %t", made, known)
	}
	gn.Status.GPUs[2].Instances = instances
	var none *Node
	if none.Devices() != nil {
		t.Error("a node without an agent has devices")
	}
	gn.Status.GPUs[1].Healthy = true
	gn.Status.GPUs[1].Instances[0].State, gn.Status.GPUs[1].Instances[1].State = v1alpha1.InstanceAbsent, v1alpha1.InstanceAbsent
	more := new(Boards).Read(gn)
	if !more.MayHelp(n, nil) || n.MayHelp(more, nil) {
		t.Errorf("more devices help: %v; fewer: %v", more.MayHelp(n, nil), n.MayHelp(more, nil))
	}
}
