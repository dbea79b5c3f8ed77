package gather_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// At the end of a change of a card the device plugin starts anew, and the node offers
// nothing until it has. Nothing of it is lost meanwhile, and all is lost if the plugin does
// not come back within the time that the agent waits for it.
func TestWhilePluginsRestart(t *testing.T) {
	toFour := v1alpha1.Reshape{ID: "r", GPU: "GPU-gpu-0", Lender: "serving/chat", From: "a100-1g", To: "a100-4g", Create: []v1alpha1.MIGPlacement{{Profile: 3}}}
	for start := range int32(4) {
		toFour.Destroy = append(toFour.Destroy, v1alpha1.MIGPlacement{Start: start})
	}
	offered := []lend.Units{{Flavor: "a100-1g", Capacity: 3}, {Flavor: "h100", Capacity: 2}}
	gone := []lend.Units{{Flavor: "a100-1g", Broken: 3}, {Flavor: "h100", Broken: 2}}
	gap := resourceList{mig1g: resource.MustParse("0"), gpu: resource.MustParse("0")}
	full := resourceList{mig1g: resource.MustParse("3"), gpu: resource.MustParse("2")}
	for name, tc := range map[string]struct {
		state            string
		since            time.Duration
		capacity, offers resourceList
		change           func(*v1alpha1.GPUNode)
		want             []lend.Units
		drained          bool
	}{
		"nothing is handed out":       {state: v1alpha1.ReshapeMaking, capacity: full, offers: gap, want: offered},
		"nothing is said at all":      {state: v1alpha1.ReshapeMaking, want: offered},
		"the kubelet is behind":       {state: v1alpha1.ReshapeMaking, capacity: resourceList{mig1g: resource.MustParse("7"), gpu: resource.MustParse("2")}, offers: gap, want: offered},
		"it has just been made":       {state: v1alpha1.ReshapeMade, capacity: full, offers: gap, want: offered},
		"nobody waits for it longer":  {state: v1alpha1.ReshapeMade, since: time.Minute, capacity: full, offers: gap, want: gone, drained: true},
		"it is stuck":                 {state: v1alpha1.ReshapeStuck, capacity: full, offers: gap, want: gone, drained: true},
		"the agent is silent":         {state: v1alpha1.ReshapeMaking, capacity: full, offers: gap, want: gone, drained: true, change: func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(now.Add(-time.Hour)) }},
		"more is offered than before": {state: v1alpha1.ReshapeMaking, capacity: resourceList{mig1g: resource.MustParse("7"), gpu: resource.MustParse("2")}, offers: resourceList{mig1g: resource.MustParse("7"), gpu: resource.MustParse("2")}, want: []lend.Units{{Flavor: "a100-1g", Capacity: 7}, {Flavor: "h100", Capacity: 2}}},
		"one of its GPUs is ill": {state: v1alpha1.ReshapeMaking, capacity: full, offers: gap, want: []lend.Units{{Flavor: "a100-1g", Capacity: 3}, {Flavor: "h100", Capacity: 1, Broken: 1}},
			change: func(n *v1alpha1.GPUNode) { n.Status.GPUs[2].Healthy = false }},
	} {
		t.Run(name, func(t *testing.T) {
			gn := agentSees("gpu-0", nil)
			gn.Spec.Reshapes = []v1alpha1.Reshape{toFour}
			gn.Status.Reshapes = []v1alpha1.ReshapeStatus{{ID: "r", State: tc.state, Since: metav1.NewMicroTime(gn.Status.Heartbeat.Add(-tc.since))}}
			gn.Status.GPUs[0].Instances = gn.Status.GPUs[0].Instances[4:]
			gn.Status.GPUs = append(gn.Status.GPUs, v1alpha1.GPUStatus{UUID: "GPU-x", Healthy: true}, v1alpha1.GPUStatus{UUID: "GPU-y", Healthy: true})
			if tc.change != nil {
				tc.change(gn)
			}
			objects := onSlices(func(*v1alpha1.LendingPolicy) {}, gn)
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Node:
					if o.Labels["host"] = o.Name; o.Name == "gpu-0" {
						o.Status.Capacity, o.Status.Allocatable = tc.capacity, tc.offers
					}
				case *v1alpha1.TenantQuota:
					whole := flavor("h100", "a100", 2)
					whole.NodeSelector["host"] = "gpu-0"
					o.Spec.Flavors[0] = whole
					o.Spec.Flavors[1].SliceOf, o.Spec.Flavors[1].Slices = "", nil
				}
			}
			n := gatherGPUs(t, objects...).Snapshot.Nodes[0]
			for i := range n.Units {
				n.Units[i].Pinned = 0
			}
			if diff := cmp.Diff(tc.want, n.Units); diff != "" || n.Schedulable == tc.drained {
				t.Errorf("schedulable: %t; units (-want +got):\n%s", n.Schedulable, diff)
			}
		})
	}
}
