package gather

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Leaving are those of a job's pods that have to go so that the job holds no more than its
// loan keeps on the nodes where it sheds: those that go anyway first, the soonest before
// the others, then those that were told, then the newest. A job that keeps the pods of
// the lowest numbers has those of the highest go first, whatever else. None if it sheds
// nothing.
func Leaving(pods []*corev1.Pod, object *v1alpha1.Loan) []*corev1.Pod {
	if len(object.Status.Shedding) == 0 {
		return nil
	}
	keeps, sheds, on := map[string]int64{}, map[string]bool{}, map[string]int64{}
	for _, g := range object.Keeps() {
		keeps[g.Node] += g.Count
	}
	for _, g := range object.Status.Shedding {
		sheds[g.Node] = true
	}
	order := slices.Clone(pods)
	label := object.Spec.IndexLabel
	slices.SortFunc(order, func(a, b *corev1.Pod) int {
		if label != "" && index(a, label) != index(b, label) {
			return cmp.Compare(index(b, label), index(a, label))
		}
		return cmp.Or(cmp.Compare(stays(a), stays(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	})
	for _, p := range order {
		on[p.Spec.NodeName] += object.Spec.UnitsPerPod
	}
	var out []*corev1.Pod
	for _, p := range order {
		if node := p.Spec.NodeName; sheds[node] && on[node] > keeps[node] {
			on[node] -= object.Spec.UnitsPerPod
			out = append(out, p)
		}
	}
	return out
}

// stays orders pods by how soon they go of themselves.
func stays(p *corev1.Pod) int {
	switch {
	case dying(p):
		return 0
	case p.DeletionTimestamp != nil:
		return 1
	case p.Annotations[v1alpha1.AnnotationReclaimBy] != "":
		return 2
	}
	return 3
}
