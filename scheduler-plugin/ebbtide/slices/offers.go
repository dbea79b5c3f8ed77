package slices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Changes reports whether the reshape goes on or back, or is to: the device plugin starts
// anew at its end.
func (r Reshape) Changes() bool {
	return r.State != v1alpha1.ReshapeStuck && (r.State != v1alpha1.ReshapeMade || r.Undo)
}

// Offers returns how many slices of each resource are on the node now, those left out that
// are not usable or are to go: no fewer will be offered when the device plugin has seen
// them.
func (n *Node) Offers() map[corev1.ResourceName]int64 {
	out := map[corev1.ResourceName]int64{}
	for i := range n.Instances {
		if in := &n.Instances[i]; in.usable && in.going < 0 {
			out[in.Resource]++
		}
	}
	return out
}

// GotOn reports whether a change of a card went on since the node was as before.
func (n *Node) GotOn(before *Node) bool {
	return before == nil || !slices.EqualFunc(n.Reshapes, before.Reshapes, alike)
}
