package slices

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Devices returns how many units of each resource claims can be given on the node: those
// of the cards' layouts, there or not, and GPUs that are not cut. It is nil for a node
// with a device plugin.
func (n *Node) Devices() map[corev1.ResourceName]int64 {
	if n == nil {
		return nil
	}
	return n.devices
}

// devicesOf counts what the agent of a node says that claims can be given there. What the
// node had lately and has none of any more is in it with 0.
func devicesOf(n *Node, gn *v1alpha1.GPUNode) map[corev1.ResourceName]int64 {
	if !n.Dynamic {
		return nil
	}
	out := map[corev1.ResourceName]int64{}
	for i := range gn.Status.GPUs {
		gpu := &gn.Status.GPUs[i]
		if !gpu.MIG && gpu.Healthy {
			out[v1alpha1.WholeGPU]++
		}
		for j := range gpu.Instances {
			in := &gpu.Instances[j]
			name := corev1.ResourceName(in.Resource)
			if name == "" {
				name = n.resourceOf(gpu.UUID, in.MIGPlacement)
			}
			if out[name] += 0; gpu.Healthy && (in.State == v1alpha1.InstanceReady || in.State == v1alpha1.InstanceAbsent) {
				out[name]++
			}
		}
	}
	for _, r := range n.Reshapes { // what was made into others, until it comes back
		out[r.From] += 0
		out[r.Resource] += 0
	}
	return out
}
