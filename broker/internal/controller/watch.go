package controller

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
)

// watch asks for all caches before they start, and pokes on changes that can
// change a decision.
func watch(ctx context.Context, informers cache.Informers, disrupted *gather.Disrupted, poke func()) error {
	for _, kind := range gather.Kinds() {
		informer, err := informers.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("watch %T: %w: install Ebbtide's CustomResourceDefinitions first", kind, err)
		}
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(object any) {
				note(disrupted, object)
				poke()
			},
			UpdateFunc: func(before, after any) {
				if note(disrupted, after) || matters(before, after) {
					poke()
				}
			},
			DeleteFunc: func(object any) {
				if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
					object = gone.Obj
				}
				note(disrupted, object)
				poke()
			},
		})
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	return nil
}

func note(disrupted *gather.Disrupted, object any) bool {
	pod, ok := object.(*corev1.Pod)
	return ok && disrupted.Note(pod)
}

// matters tells whether an update can change a decision. Most updates are
// heartbeats and statuses, many of them the broker's own.
func matters(before, after any) bool {
	switch old := before.(type) {
	case *corev1.Pod:
		return podMatters(old, after.(*corev1.Pod))
	case *corev1.Node:
		return nodeMatters(old, after.(*corev1.Node))
	case *batchv1.Job:
		new := after.(*batchv1.Job)
		return old.Generation != new.Generation || jobConditions(old) != jobConditions(new) ||
			(old.DeletionTimestamp == nil) != (new.DeletionTimestamp == nil) ||
			!apiequality.Semantic.DeepEqual(old.Labels, new.Labels)
	case *corev1.Namespace:
		return !apiequality.Semantic.DeepEqual(old.Labels, after.(*corev1.Namespace).Labels)
	default:
		old2, ok1 := before.(client.Object)
		new, ok2 := after.(client.Object)
		return !ok1 || !ok2 || old2.GetGeneration() != new.GetGeneration()
	}
}

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

// slim drops what no decision needs before an object is cached. Objects from the
// caches are therefore never written back, only patched.
func slim(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetManagedFields(nil)
	}
	if pod, ok := object.(*corev1.Pod); ok {
		slimPod(pod)
	}
	return object, nil
}

func slimPod(pod *corev1.Pod) {
	pod.Spec.Volumes = nil
	pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses = nil, nil
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			c := &containers[i]
			containers[i] = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		}
	}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds))
}
