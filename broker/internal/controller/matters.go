package controller

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// matters tells whether an update can change a decision. Most updates are
// heartbeats and statuses, many of them the broker's own.
func matters(before, after any) bool {
	switch old := before.(type) {
	case *corev1.Node:
		return nodeMatters(old, after.(*corev1.Node))
	case *batchv1.Job:
		new := after.(*batchv1.Job)
		return old.Generation != new.Generation || jobConditions(old) != jobConditions(new) ||
			leaves(old) != leaves(new) || !apiequality.Semantic.DeepEqual(old.Labels, new.Labels)
	case *corev1.ResourceQuota:
		new := after.(*corev1.ResourceQuota)
		return !apiequality.Semantic.DeepEqual(old.Spec, new.Spec) ||
			!apiequality.Semantic.DeepEqual(old.Status.Hard, new.Status.Hard) || lessUsed(old, new)
	case *v1alpha1.GPUNode:
		return gpusMatter(old, after.(*v1alpha1.GPUNode))
	case *corev1.LimitRange: // without a generation
		return !apiequality.Semantic.DeepEqual(old.Spec, after.(*corev1.LimitRange).Spec)
	case *corev1.Namespace:
		return !apiequality.Semantic.DeepEqual(old.Labels, after.(*corev1.Namespace).Labels)
	default:
		old2, ok1 := before.(client.Object)
		new, ok2 := after.(client.Object)
		return !ok1 || !ok2 || old2.GetGeneration() != new.GetGeneration()
	}
}

// lessUsed: some of a ResourceQuota has come free, or is counted for the first time.
// That more is used lets nobody in.
func lessUsed(old, new *corev1.ResourceQuota) bool {
	for name, used := range new.Status.Used {
		if before, known := old.Status.Used[name]; !known || used.Cmp(before) < 0 {
			return true
		}
	}
	return false
}

func leaves(object client.Object) bool { return object.GetDeletionTimestamp() != nil }

// jobConditions counts the conditions that are not the broker's own.
func jobConditions(job *batchv1.Job) int {
	n := 0
	for _, c := range job.Status.Conditions {
		if c.Type != v1alpha1.ConditionAdmitted {
			n++
		}
	}
	return n
}

func podMatters(old, new *corev1.Pod) bool {
	return old.Spec.NodeName != new.Spec.NodeName ||
		old.Status.Phase != new.Status.Phase ||
		(old.DeletionTimestamp == nil) != (new.DeletionTimestamp == nil) ||
		len(old.Spec.SchedulingGates) != len(new.Spec.SchedulingGates) ||
		ready(old) != ready(new)
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func nodeMatters(old, new *corev1.Node) bool {
	return old.Spec.Unschedulable != new.Spec.Unschedulable ||
		nodeReady(old) != nodeReady(new) ||
		!apiequality.Semantic.DeepEqual(old.Labels, new.Labels) ||
		!apiequality.Semantic.DeepEqual(old.Spec.Taints, new.Spec.Taints) ||
		!apiequality.Semantic.DeepEqual(old.Status.Capacity, new.Status.Capacity) ||
		!apiequality.Semantic.DeepEqual(old.Status.Allocatable, new.Status.Allocatable)
}

func nodeReady(node *corev1.Node) corev1.ConditionStatus {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
