package gather

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// ReasonOtherScheduler of a pod: it asks for GPUs through another scheduler.
const ReasonOtherScheduler = "OtherScheduler"

// Stranger is a pod that asks for GPUs and names another scheduler than Ebbtide's. Where
// admission looks, it refuses such a pod, since two schedulers hand out the same GPU twice:
// this one is of a namespace that is exempt, or came when the policies were gone.
type Stranger struct {
	Namespace, Name string
	UID             types.UID
	// Scheduler that it names, Node that it is on: empty while it waits.
	Scheduler, Node string
	// Units of the resource, the first by name of those that it asks for.
	Resource corev1.ResourceName
	Units    int64
}

// strangers returns those that have not ended, by namespace and name.
func strangers(pods []corev1.Pod) []Stranger {
	var found []Stranger
	for i := range pods {
		pod := &pods[i]
		// The API server leaves none without a name.
		if name := pod.Spec.SchedulerName; name == v1alpha1.SchedulerName || name == "" || ended(pod) {
			continue
		}
		for _, resource := range gpusOf(&pod.Spec) {
			if n := jobs.UnitsOf(&pod.Spec, resource); n > 0 {
				found = append(found, Stranger{
					Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
					Scheduler: pod.Spec.SchedulerName, Node: pod.Spec.NodeName, Resource: resource, Units: n,
				})
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b Stranger) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return found
}

// gpusOf are the GPU resources that a pod names, by name.
func gpusOf(spec *corev1.PodSpec) []corev1.ResourceName {
	var names []corev1.ResourceName
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				for name := range list {
					if v1alpha1.GPU(name) && !slices.Contains(names, name) {
						names = append(names, name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}
