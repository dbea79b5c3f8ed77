package gather

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// lendLast is how late a node is lent: the later, the more some service prefers it for
// its own pods. It is 0 for a node in no policy's pools.
func lendLast(node *corev1.Node, policies []v1alpha1.LendingPolicy) int32 {
	var last int32
	for i := range policies {
		pools := policies[i].Spec.Pools
		for j := range pools {
			if selects(pools[j].NodeSelector, node.Labels) {
				last = max(last, int32(len(pools)-j))
			}
		}
	}
	return last
}
