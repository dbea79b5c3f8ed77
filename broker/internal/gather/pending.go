package gather

import (
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// pending adds a pod without a node. One that no node of the lender's flavor
// could take, were it empty, does not wait for units: no loan is taken back for
// it, and it keeps nothing from being lent. A gated pod waits for its owner, one of
// another scheduler is never placed, and one below the online priority takes back
// nothing: its workload has forgotten its class.
func (l *lender) pending(pod *corev1.Pod, nodes []*corev1.Node) {
	if pod.Spec.SchedulerName != v1alpha1.SchedulerName || len(pod.Spec.SchedulingGates) > 0 || !online(pod) {
		return
	}
	name := pod.Namespace + "/" + pod.Name
	if l.Flavor != "" && !placeable(pod, nodes) {
		l.stuck = append(l.stuck, name)
		return
	}
	l.Pending = append(l.Pending, lend.PendingPod{Name: name, Since: pod.CreationTimestamp.UTC()})
}

// online pods may take units back.
func online(pod *corev1.Pod) bool {
	return ptr.Deref(pod.Spec.Priority, 0) >= v1alpha1.PriorityOnline
}

// placeable tells whether the pod's selector, required affinity and tolerations
// allow one of the nodes.
func placeable(pod *corev1.Pod, nodes []*corev1.Node) bool {
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	return slices.ContainsFunc(nodes, func(node *corev1.Node) bool {
		// An affinity that cannot be read matches nothing: the scheduler says the same.
		match, err := required.Match(node)
		return err == nil && match && !repelled(pod, node)
	})
}

// repelled tells whether a taint of the node keeps the pod away.
func repelled(pod *corev1.Pod, node *corev1.Node) bool {
	keepsAway := func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	_, untolerated := scheduling.FindMatchingUntoleratedTaint(logr.Discard(), node.Spec.Taints, pod.Spec.Tolerations, keepsAway, false)
	return untolerated
}

// unplaceable says which of the lender's pods wait in vain; empty if none does.
func (l *lender) unplaceable() string {
	slices.Sort(l.stuck)
	switch n := len(l.stuck); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("pod %s may run on no node of flavor %s: see its nodeSelector, affinity and tolerations; nothing is taken back for it", l.stuck[0], l.Flavor)
	default:
		return fmt.Sprintf("pod %s and %d more may run on no node of flavor %s: see their nodeSelector, affinity and tolerations; nothing is taken back for them", l.stuck[0], n-1, l.Flavor)
	}
}

// nodesByFlavor are the nodes that pods can be placed on.
func nodesByFlavor(flavors *flavorTable, list []corev1.Node) map[string][]*corev1.Node {
	nodes := map[string][]*corev1.Node{}
	for i := range list {
		if !schedulable(&list[i]) {
			continue
		}
		for _, flavor := range flavors.nodes[list[i].Name] {
			nodes[flavor] = append(nodes[flavor], &list[i])
		}
	}
	return nodes
}
