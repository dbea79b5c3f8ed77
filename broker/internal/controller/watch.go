package controller

import (
	"context"
	"fmt"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// watch asks for all caches before they start, and has the watcher look at every
// change. seen reports whether it has looked at all that there was.
func watch(ctx context.Context, informers cache.Informers, w *watcher) (seen []toolscache.InformerSynced, err error) {
	for _, kind := range gather.Kinds() {
		informer, err := informers.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("watch %T: %w: install Ebbtide's CustomResourceDefinitions first", kind, err)
		}
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind, err)
		}
		registration, err := informer.AddEventHandler(w.handler())
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind, err)
		}
		seen = append(seen, registration.HasSynced)
	}
	return seen, nil
}

// handler looks at every change.
func (w *watcher) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { w.poke(w.added(object)) },
		UpdateFunc: func(before, after any) { w.poke(w.changed(before, after)) },
		DeleteFunc: func(object any) { w.poke(w.deleted(object)) },
	}
}

// watcher judges how urgent a change is, and notes who has made whom.
type watcher struct {
	disrupted *gather.Disrupted
	resources *resources
	chains    *lineage.Lineage
	// jobs reads the state of objects of other kinds than Job.
	jobs *jobs.Set
	poke func(urgency)
}

// link notes who controls an object that may control pods, or what has made pods.
func (w *watcher) link(object any) {
	switch o := object.(type) {
	case *corev1.Pod:
		if lineage.Leads(o) {
			w.chains.Put(o)
		}
	case *batchv1.Job:
		w.chains.Put(o)
	case *appsv1.StatefulSet:
		w.chains.Put(o)
	case *unstructured.Unstructured:
		w.chains.Put(o)
	}
}

func (w *watcher) added(object any) urgency {
	w.link(object)
	switch o := object.(type) {
	case *corev1.Pod:
		switch {
		case w.disrupted.Note(o):
			return atOnce
		case !w.resources.concern(o):
			return never
		case waits(o):
			return crowd
		}
	case *corev1.Node:
		return atOnce
	}
	return soon
}

func (w *watcher) changed(before, after any) urgency {
	w.link(after)
	switch old := before.(type) {
	case *corev1.Pod:
		return w.podChanged(old, after.(*corev1.Pod))
	case *corev1.Node:
		if matters(before, after) {
			return atOnce
		}
		return never
	case *batchv1.Job:
		new := after.(*batchv1.Job)
		if jobConditions(old) != jobConditions(new) || leaves(old) != leaves(new) {
			return atOnce // it has ended, or as good as
		}
		if taken := new.Annotations[v1alpha1.AnnotationTakenBack]; taken != "" && taken != old.Annotations[v1alpha1.AnnotationTakenBack] {
			return atOnce // its units are gone
		}
	case *unstructured.Unstructured:
		return w.jobChanged(old, after.(*unstructured.Unstructured))
	case *v1alpha1.GPUNode:
		if reshapesCame(old, after.(*v1alpha1.GPUNode)) {
			return atOnce // somebody waits for what was made, or for what is there again
		}
	}
	if matters(before, after) {
		return soon
	}
	return never
}

func (w *watcher) podChanged(old, new *corev1.Pod) urgency {
	switch {
	case w.disrupted.Note(new):
		return atOnce
	case !w.resources.concern(new) || !podMatters(old, new):
		return never
	case waits(new):
		return crowd
	case over(new):
		return atOnce
	}
	return soon
}

// jobChanged judges a change of a job of another kind than Job.
func (w *watcher) jobChanged(old, new *unstructured.Unstructured) urgency {
	_, queued := new.GetLabels()[v1alpha1.LabelQueue]
	if kind, is := w.jobs.Of(new.GroupVersionKind().GroupKind()).(*jobs.Suspendable); is && queued {
		wasSuspended, had := kind.State(old)
		suspended, ended := kind.State(new)
		taken := new.GetAnnotations()[v1alpha1.AnnotationTakenBack]
		switch {
		case had != ended, suspended && !wasSuspended:
			return atOnce // units have come free, or will
		case taken != "" && taken != old.GetAnnotations()[v1alpha1.AnnotationTakenBack]:
			return atOnce // they are gone
		}
	}
	if old.GetGeneration() != new.GetGeneration() || !apiequality.Semantic.DeepEqual(old.GetLabels(), new.GetLabels()) {
		return soon
	}
	return never
}

func (w *watcher) deleted(object any) urgency {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if o, ok := object.(client.Object); ok { // it keeps its place above what it has made
		w.chains.Delete(o.GetNamespace(), o.GetUID())
	}
	switch o := object.(type) {
	case *corev1.Pod:
		if !w.disrupted.Note(o) && !w.resources.concern(o) {
			return never
		}
		return atOnce
	case *corev1.Node, *batchv1.Job:
		return atOnce
	case *unstructured.Unstructured:
		if _, queued := o.GetLabels()[v1alpha1.LabelQueue]; queued {
			return atOnce
		}
	}
	return soon
}

// waits: an online pod that has no units yet.
func waits(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 &&
		ptr.Deref(pod.Spec.Priority, 0) >= v1alpha1.PriorityOnline
}

// over: a pod that holds nothing any more.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// resources are those that some flavor is of, as the last decision saw them. The
// zero value is ready to use.
type resources struct {
	names atomic.Pointer[map[corev1.ResourceName]bool]
}

func (r *resources) set(byFlavor map[string]corev1.ResourceName) {
	names := make(map[corev1.ResourceName]bool, len(byFlavor))
	for _, name := range byFlavor {
		names[name] = true
	}
	r.names.Store(&names)
}

// concern tells whether a pod can be part of a decision: it is of a queued job, or
// asks for units of some flavor. Most pods of a cluster are neither. Before the
// first decision any may be, and a new flavor is a change in itself.
func (r *resources) concern(pod *corev1.Pod) bool {
	names := r.names.Load()
	if _, queued := pod.Labels[v1alpha1.LabelQueue]; queued || names == nil {
		return true
	}
	for name := range *names {
		if jobs.UnitsOf(&pod.Spec, name) > 0 {
			return true
		}
	}
	return false
}
