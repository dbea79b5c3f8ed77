package gather

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// shedOrder says which pods of an elastic job would go, one after the other, where the job
// keeps those of the lowest numbers. If that is not known, as while one of them is made or
// has ended, the loan is not elastic for now.
func (l *loan) shedOrder(leaving []*corev1.Pod) {
	label := l.object.Spec.IndexLabel
	if label == "" || l.MinPods == 0 {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(l.pods), func(p *corev1.Pod) bool { return slices.Contains(leaving, p) })
	slices.SortFunc(stay, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(index(b, label), index(a, label)), cmp.Compare(a.Name, b.Name))
	})
	spare := max(l.Pods-l.MinPods, 0)
	if int64(len(stay)) != l.Pods || !numbered(stay, label, spare) {
		l.MinPods = 0
		return
	}
	for _, p := range stay[:spare] {
		l.ShedOrder = append(l.ShedOrder, p.Spec.NodeName)
	}
}

// numbered tells whether pods, the highest number first, have all numbers down to 0, each
// once, and the first ones a node, which none of them is about to leave. Only of the lowest
// number there may be several: a master's is 0, like the first worker's.
func numbered(pods []*corev1.Pod, label string, first int64) bool {
	next := int64(-1)
	for n, p := range pods {
		i := index(p, label)
		if n == 0 {
			next = i
		}
		goes := int64(n) < first
		switch {
		case goes && (p.Spec.NodeName == "" || p.DeletionTimestamp != nil):
			return false
		case i == next:
			next--
		case i != 0 || next != -1 || goes:
			return false
		}
	}
	return next == -1
}

// index is a pod's number, -1 if it has none.
func index(pod *corev1.Pod, label string) int64 {
	n, err := strconv.ParseInt(pod.Labels[label], 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
