package exported

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// gpus are those of all pods of a job that have any.
type gpus struct {
	all, pods, each int64
	// others says that the job has pods without GPUs, uneven that pods differ in them.
	others, uneven bool
	flavor         string
}

// add takes in several pods of a template. flavors says what their resources are called, if
// something does.
func (g *gpus) add(pods int64, t *corev1.PodTemplateSpec, flavors map[corev1.ResourceName]string) {
	resource, each := GPUs(&corev1.Pod{Spec: t.Spec})
	if pods < 1 {
		return
	}
	if each == 0 {
		g.others = true
		return
	}
	g.uneven = g.uneven || g.each != 0 && g.each != each
	g.each, g.all, g.pods = each, g.all+pods*each, g.pods+pods
	g.flavor = cmp.Or(flavors[resource], g.flavor, Flavor(resource))
}

// most is more GPUs than a pod has, and more pods than a job.
const most = 1_000_000

// GPUs that a pod asks for, and the resource that they are of: of several the first by name.
// A template may say limits only, which are requests too.
func GPUs(pod *corev1.Pod) (corev1.ResourceName, int64) {
	asked := map[corev1.ResourceName]int64{}
	for _, list := range []corev1.ResourceList{
		resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}),
		resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}),
	} {
		for name, quantity := range list {
			if v1alpha1.GPU(name) {
				asked[name] = max(asked[name], min(quantity.Value(), most))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if asked[name] > 0 {
			return name, asked[name]
		}
	}
	return "", 0
}

// Flavor of a resource that nothing names: none for whole GPUs, and of slices what they are.
func Flavor(resource corev1.ResourceName) string {
	if resource == v1alpha1.WholeGPU {
		return ""
	}
	_, name, _ := strings.Cut(string(resource), "/")
	return name
}
