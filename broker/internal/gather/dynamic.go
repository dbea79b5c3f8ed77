package gather

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// claimed says what nodes have whose devices are allocated by claims: no kubelet counts
// those. Such a node is then like one with a device plugin, which offers what its agent
// calls the cards' layouts, and the GPUs that are not cut. nodes are changed; what they
// share with others is not.
func (s *gpus) claimed(nodes []corev1.Node) {
	for i := range nodes {
		seen := s.nodes[nodes[i].Name]
		if seen == nil || seen.Object.Status.Allocation != v1alpha1.AllocationDynamicResources {
			continue
		}
		capacity, usable := devices(seen.Object.Status.GPUs)
		status := &nodes[i].Status
		status.Capacity = withDevices(status.Capacity, capacity)
		status.Allocatable = withDevices(status.Allocatable, usable)
	}
}

// devices are how many there are of each resource, and of how many of them pods can be
// given.
func devices(gpus []v1alpha1.GPUStatus) (capacity, usable map[corev1.ResourceName]int64) {
	capacity, usable = map[corev1.ResourceName]int64{}, map[corev1.ResourceName]int64{}
	for i := range gpus {
		gpu := &gpus[i]
		if !gpu.MIG {
			capacity[v1alpha1.WholeGPU]++
			if gpu.Healthy {
				usable[v1alpha1.WholeGPU]++
			}
			continue
		}
		for j := range gpu.Instances {
			in := &gpu.Instances[j]
			name := corev1.ResourceName(in.Resource)
			if name == "" {
				continue
			}
			capacity[name]++
			if gpu.Healthy && (in.State == v1alpha1.InstanceReady || in.State == v1alpha1.InstanceAbsent) {
				usable[name]++
			}
		}
	}
	return capacity, usable
}

// withDevices is the list with what it does not have of its own.
func withDevices(list corev1.ResourceList, more map[corev1.ResourceName]int64) corev1.ResourceList {
	list = maps.Clone(list)
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, n := range more {
		if has := list[name]; has.IsZero() {
			list[name] = *resource.NewQuantity(n, resource.DecimalSI)
		}
	}
	return list
}
