package ebbtide

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// EventsToRegister names the events after which a refused pod is worth another
// try. Loans, quotas, namespaces and priority classes are not among them: the
// scheduler's own watch of these could run ahead of the plugin's, and the pod
// would be refused again on old knowledge. For the same reason nothing here wakes a
// pod that waits for its tenant's quota. The plugin activates the pods itself,
// after it knows (see listen).
func (p *Ebbtide) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	nodes := fwk.Add | fwk.UpdateNodeAllocatable | fwk.UpdateNodeLabel
	// Nodes that are full may be left out (see withRoom), and then no other plugin has
	// looked at them, nor asks for what opens them to a pod that loans are taken back for.
	opens := fwk.UpdateNodeTaint
	return []fwk.ClusterEventWithHint{
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, QueueingHintFn: p.afterPodDelete},
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: nodes}, QueueingHintFn: p.afterNode},
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: opens}, QueueingHintFn: p.afterTaint},
	}, nil
}

// afterPodDelete queues a pod when another one gave up units that both ask for, on a
// node that the pod may use.
func (p *Ebbtide) afterPodDelete(_ klog.Logger, pod *corev1.Pod, oldObj, _ any) (fwk.QueueingHint, error) {
	gone, ok := oldObj.(*corev1.Pod)
	if !ok {
		return fwk.Queue, fmt.Errorf("want a deleted object of type %T, got %T", gone, oldObj)
	}
	if p.blocked.has(pod.UID) || p.unplaced(gone) && p.sameGang(pod, gone) {
		return fwk.QueueSkip, nil // what it waits for, or its gang, was not helped
	}
	resources := p.account.Resources()
	shared := share(book.Requests(pod, resources), book.Requests(gone, resources))
	return queueIf(len(shared) > 0 && p.mayUse(pod, placeOf(gone), shared)), nil
}

// placeOf returns the node of which a pod that is gone held units, or on which it
// kept them from others; empty if the pod does not say: the scheduler can have
// placed it without that.
func placeOf(gone *corev1.Pod) string {
	if gone.Spec.NodeName != "" {
		return gone.Spec.NodeName
	}
	return gone.Status.NominatedNodeName
}

// mayUse reports whether any of the resources on the node may be for the pod: its
// loan grants units there, or its tenant has a flavor of it. Where no node is
// given, one may.
func (p *Ebbtide) mayUse(pod *corev1.Pod, node string, resources []corev1.ResourceName) bool {
	if loan := p.book.LoanOf(pod); loan != nil {
		return node == "" || book.GrantedOn(loan, node) > 0
	}
	tenant, _ := p.account.Tenant(pod.Namespace)
	return tenant != nil && (node == "" || slices.ContainsFunc(resources, func(r corev1.ResourceName) bool {
		return p.account.HasFlavor(tenant, r, node)
	}))
}

// afterNode queues a pod when a node came or changed that it may use: one of its
// loan's, or one with units of its tenant's flavors.
func (p *Ebbtide) afterNode(_ klog.Logger, pod *corev1.Pod, _, newObj any) (fwk.QueueingHint, error) {
	node, ok := newObj.(*corev1.Node)
	if !ok {
		return fwk.Queue, fmt.Errorf("want a node, got %T", newObj)
	}
	if loan := p.book.LoanOf(pod); loan != nil {
		return queueIf(book.GrantedOn(loan, node.Name) > 0), nil
	}
	tenant, _ := p.account.Tenant(pod.Namespace)
	if tenant == nil || p.blocked.has(pod.UID) {
		return fwk.QueueSkip, nil // no node helps
	}
	devices := p.cards.on(node.Name).Devices()
	for _, r := range book.Requests(pod, p.account.Resources()) {
		units := node.Status.Allocatable[r.Resource]
		if tenant.Flavor(r.Resource, node.Labels) < 0 || max(units.Value(), devices[r.Resource]) < r.Units {
			return fwk.QueueSkip, nil
		}
	}
	return fwk.Queue, nil
}

// afterTaint is afterNode for a node that may let more pods in than before.
func (p *Ebbtide) afterTaint(logger klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, ok1 := oldObj.(*corev1.Node)
	node, ok2 := newObj.(*corev1.Node)
	if ok1 && ok2 && !opened(old, node) {
		return fwk.QueueSkip, nil
	}
	return p.afterNode(logger, pod, oldObj, newObj)
}

// opened reports whether the node is no longer cordoned, or lacks a taint that it had.
func opened(old, node *corev1.Node) bool {
	return old.Spec.Unschedulable && !node.Spec.Unschedulable || slices.ContainsFunc(old.Spec.Taints, func(was corev1.Taint) bool {
		return was.Effect != corev1.TaintEffectPreferNoSchedule && !slices.ContainsFunc(node.Spec.Taints, func(is corev1.Taint) bool {
			return is.MatchTaint(&was) && is.Value == was.Value
		})
	})
}

func queueIf(helps bool) fwk.QueueingHint {
	if helps {
		return fwk.Queue
	}
	return fwk.QueueSkip
}

// unplaced reports whether a pod that the scheduler says is deleted lives on: then
// it only lost the place it was to have.
func (p *Ebbtide) unplaced(gone *corev1.Pod) bool {
	obj, exists, err := p.pods.GetByKey(gone.Namespace + "/" + gone.Name)
	if err != nil || !exists {
		return false
	}
	pod, ok := obj.(*corev1.Pod)
	return ok && pod.UID == gone.UID && waits(pod)
}

// sameGang reports whether the two pods are of one job or of one PodGroup.
func (p *Ebbtide) sameGang(a, b *corev1.Pod) bool {
	if name := groupName(a); name != "" && name == groupName(b) {
		return true
	}
	x, y := metav1.GetControllerOfNoCopy(a), metav1.GetControllerOfNoCopy(b)
	if x != nil && y != nil && x.UID == y.UID {
		return true
	}
	loan := p.book.LoanOf(a)
	return loan != nil && loan == p.book.LoanOf(b)
}

// share returns the resources that both ask for.
func share(a, b []book.Request) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, x := range a {
		if slices.ContainsFunc(b, func(y book.Request) bool { return x.Resource == y.Resource }) {
			out = append(out, x.Resource)
		}
	}
	return out
}
