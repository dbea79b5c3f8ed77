package controller

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// slim drops what no decision needs before an object is cached. Objects from the
// caches are therefore never written back, only patched.
func slim(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetManagedFields(nil)
	}
	switch o := object.(type) {
	case *corev1.Pod:
		slimPod(o)
	case *v1alpha1.GPUNode:
		slimGPUNode(o)
	case *batchv1.Job:
		o.Spec.Template.Spec.Volumes = nil
		slimContainers(&o.Spec.Template.Spec)
	}
	return object, nil
}

func slimGPUNode(node *v1alpha1.GPUNode) {
	for i := range node.Status.GPUs {
		gpu := &node.Status.GPUs[i]
		gpu.Activity = nil
		for j := range gpu.Instances {
			gpu.Instances[j].Activity = nil
		}
	}
}

func slimPod(pod *corev1.Pod) {
	pod.Spec.Volumes = nil
	slimStatuses(pod.Status.ContainerStatuses)
	pod.Status.InitContainerStatuses = nil
	slimContainers(&pod.Spec)
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds))
}

// slimStatuses keeps how often each container began anew: what such a pod took until it
// was ready is no start.
func slimStatuses(statuses []corev1.ContainerStatus) {
	for i := range statuses {
		statuses[i] = corev1.ContainerStatus{Name: statuses[i].Name, RestartCount: statuses[i].RestartCount}
	}
}

func slimContainers(spec *corev1.PodSpec) {
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			c := &containers[i]
			containers[i] = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		}
	}
}
