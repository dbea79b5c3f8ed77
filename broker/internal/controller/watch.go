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
		new := after.(*corev1.Pod)
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
	}
	if matters(before, after) {
		return soon
	}
	return never
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

// slim drops what no decision needs before an object is cached. Objects from the
// caches are therefore never written back, only patched.
func slim(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetManagedFields(nil)
	}
	switch o := object.(type) {
	case *corev1.Pod:
		slimPod(o)
	case *batchv1.Job:
		o.Spec.Template.Spec.Volumes = nil
		slimContainers(&o.Spec.Template.Spec)
	}
	return object, nil
}

func slimPod(pod *corev1.Pod) {
	pod.Spec.Volumes = nil
	slimStatuses(pod.Status.ContainerStatuses)
	pod.Status.InitContainerStatuses = nil
	slimContainers(&pod.Spec)
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds))
}

// slimStatuses keeps how often each container began anew: what such a pod took until it
// was ready is no start.
func slimStatuses(statuses []corev1.ContainerStatus) {
	for i := range statuses {
		statuses[i] = corev1.ContainerStatus{Name: statuses[i].Name, RestartCount: statuses[i].RestartCount}
	}
}

func slimContainers(spec *corev1.PodSpec) {
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			c := &containers[i]
			containers[i] = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		}
	}
}
