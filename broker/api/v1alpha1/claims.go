package v1alpha1

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// claimSuffix is what the names of Ebbtide's DeviceClasses end with.
const claimSuffix = ".ebbtide.dev"

// ClaimedResource returns the extended resource of which a pod holds one unit for each of
// its claims from a ResourceClaimTemplate of that name: nvidia.com/mig-4g.20gb for
// mig-4g.20gb.ebbtide.dev. The name is enough, because the admission policies allow no
// template of it that asks for anything but one device of the DeviceClass with the same
// name, and no other template or claim that asks for such a device.
func ClaimedResource(template string) (resource corev1.ResourceName, claimed bool) {
	name, ours := strings.CutSuffix(template, claimSuffix)
	resource = corev1.ResourceName("nvidia.com/" + name)
	return resource, ours && GPU(resource)
}

// ClaimedResources returns the resource of each of the pod's claims for GPUs and slices.
func ClaimedResources(spec *corev1.PodSpec) []corev1.ResourceName {
	var out []corev1.ResourceName
	for i := range spec.ResourceClaims {
		if template := spec.ResourceClaims[i].ResourceClaimTemplateName; template != nil {
			if resource, claimed := ClaimedResource(*template); claimed {
				out = append(out, resource)
			}
		}
	}
	return out
}

// ClaimedUnits returns how many units of the resource the pod has by claims.
func ClaimedUnits(spec *corev1.PodSpec, resource corev1.ResourceName) int64 {
	var units int64
	for _, claimed := range ClaimedResources(spec) {
		if claimed == resource {
			units++
		}
	}
	return units
}
