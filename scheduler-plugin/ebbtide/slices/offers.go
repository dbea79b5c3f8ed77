package slices

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Settling reports whether a change of the node's cards is not known to its kubelet yet, or
// has only just become so: the device plugin starts anew at its end (see
// v1alpha1.GPUNode.Settling), now or within v1alpha1.JustSettled before, by the clock of Hear.
func (n *Node) Settling(now time.Time) bool { return n.settling || n.settled.Lately(now) }

// Offers returns how many units of each resource are on the node now, those left out that
// are not usable or are to go: no fewer will be offered when the device plugin has seen
// them. The map is not to be changed.
func (n *Node) Offers() map[corev1.ResourceName]int64 { return n.offers }

// GotOn reports whether a change of a card went on since the node was as before.
func (n *Node) GotOn(before *Node) bool {
	return before == nil || !slices.EqualFunc(n.Reshapes, before.Reshapes, alike)
}
