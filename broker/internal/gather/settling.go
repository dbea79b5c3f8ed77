package gather

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// settling says what nodes have that offer less than that while a change of their cards
// becomes known to them, or has only just (gpunodes.Node.Settling): what their agents
// see. Nothing there is lost, and no loan has to end for it. nodes are changed; what they
// share with others is not.
func (s *gpus) settling(nodes []corev1.Node) {
	for i := range nodes {
		seen := s.nodes[nodes[i].Name]
		if seen == nil || seen.Stale || !seen.Settling {
			continue
		}
		has, offers := seen.Object.Offers()
		status := &nodes[i].Status
		capacity, usable := maps.Clone(status.Capacity), maps.Clone(status.Allocatable)
		for name, n := range offers {
			if now := usable[name]; now.Value() >= n {
				continue
			}
			if capacity == nil {
				capacity = corev1.ResourceList{}
			}
			if usable == nil {
				usable = corev1.ResourceList{}
			}
			capacity[name] = *resource.NewQuantity(has[name], resource.DecimalSI)
			usable[name] = *resource.NewQuantity(n, resource.DecimalSI)
		}
		status.Capacity, status.Allocatable = capacity, usable
	}
}
