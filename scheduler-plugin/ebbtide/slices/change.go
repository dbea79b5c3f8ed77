package slices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Unsettles reports whether the kubelet may hand out slices of the resource that are gone:
// from the first destroy on until a change is settled, that is until the device plugin has
// started anew, the node advertises what was there before. A plugin cannot withdraw one
// device, and the kubelet chooses among those of a resource as it likes, so that a pod
// which was reserved a slice that stays may be given one that went.
func (r *Reshape) Unsettles(resource corev1.ResourceName) bool {
	switch r.State {
	case "", v1alpha1.ReshapeMaking:
		return resource == r.From
	case v1alpha1.ReshapeUndoing:
		// One that turned back before it was made was never advertised.
		return resource == r.Resource || resource == r.From && !r.made
	}
	return false
}

// Unsettled returns the first of the resources that a pod asks for of which the kubelet
// may hand out slices that are gone (see Reshape.Unsettles); empty if there is none.
func (n *Node) Unsettled(asks []Ask) corev1.ResourceName {
	for _, ask := range asks {
		if slices.ContainsFunc(n.Reshapes, func(r Reshape) bool { return r.Unsettles(ask.Resource) }) {
			return ask.Resource
		}
	}
	return ""
}
