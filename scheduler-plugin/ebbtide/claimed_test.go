package ebbtide

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// On a node whose devices are allocated by claims the agent says how many there are, and
// pods hold what they ask for and what they claim.
func TestUnitsOfClaimedDevices(t *testing.T) {
	w := newWorld(t).sliced()
	n := w.card("n", sevenths)
	n.gn.Status.Allocation = v1alpha1.AllocationDynamicResources
	n.gn.Status.GPUs[0].Instances[0].State = v1alpha1.InstanceAbsent
	n.allocatable = map[corev1.ResourceName]int64{gpu0: 0, corev1.ResourceCPU: 64, oneG: 0}
	n.tell()
	w.replicaOn("chat-0", n.node)
	claims := w.workerOn(w.sliceLoan("small", oneG, "a100-1g", 2, "n"), "small-0", n.node)
	claims.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	claims.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "a", ResourceClaimTemplateName: ptr.To("mig-1g.5gb.ebbtide.dev")}}

	if units, offered := w.unitsOf(n.node, oneG); units != 7 || !offered {
		t.Errorf("the node has %d units, offered: %v; want 7", units, offered)
	}
	if _, offered := w.unitsOf(n.node, "nvidia.com/mig-3g.20gb"); offered {
		t.Error("the node offers what its layout does not have")
	}
	if free := w.freeUnits(n.node, oneG); free != 5 {
		t.Errorf("%d units are free, want 5", free)
	}
	if !w.lacks(n.node, book.Request{Resource: oneG, Units: 6}) || w.lacks(n.node, book.Request{Resource: oneG, Units: 5}) {
		t.Error("5 of the units are not to be had, or 6 are")
	}
	want := []book.Request{{Resource: oneG, Units: 1}}
	if got := book.Requests(claims, nil); len(got) != 1 || got[0] != want[0] || book.Units(claims, oneG) != 1 {
		t.Errorf("the pod that claims asks for %v, want %v", got, want)
	}
	q := w.counted(n.node).Node().Status.Allocatable[oneG]
	if q.Value() != 7 {
		t.Errorf("a dry run goes by %d units, want 7", q.Value())
	}
}
