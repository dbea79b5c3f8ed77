package ebbtide

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Names of the plugin's indexes on the scheduler's pods.
const (
	byJob     = "ebbtide.dev/job"
	byWaiting = "ebbtide.dev/waiting"
)

func podIndexers() cache.Indexers {
	return cache.Indexers{
		byJob: func(obj any) ([]string, error) {
			pod, ok := obj.(*corev1.Pod)
			if !ok {
				return nil, nil
			}
			job, ok := book.JobOf(pod)
			if !ok {
				return nil, nil
			}
			return []string{pod.Namespace + "/" + string(job)}, nil
		},
		byWaiting: func(obj any) ([]string, error) {
			pod, ok := obj.(*corev1.Pod)
			if !ok || pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil {
				return nil, nil
			}
			return []string{pod.Spec.SchedulerName}, nil
		},
	}
}

// EventsToRegister names the events after which a refused pod is worth another
// try. Loans, quotas, namespaces and priority classes are not among them: the
// scheduler's own watch of these could run ahead of the plugin's, and the pod
// would be refused again on old knowledge. The plugin activates the pods itself,
// after it knows (see listen).
func (p *Ebbtide) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	nodes := fwk.Add | fwk.UpdateNodeAllocatable | fwk.UpdateNodeLabel | fwk.UpdateNodeTaint
	return []fwk.ClusterEventWithHint{
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, QueueingHintFn: p.afterPodDelete},
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: nodes}},
	}, nil
}

// afterPodDelete queues a pod when another one gave up units that both ask for.
func (p *Ebbtide) afterPodDelete(_ klog.Logger, pod *corev1.Pod, oldObj, _ any) (fwk.QueueingHint, error) {
	gone, ok := oldObj.(*corev1.Pod)
	if !ok {
		return fwk.Queue, fmt.Errorf("want a deleted object of type %T, got %T", gone, oldObj)
	}
	if p.unplaced(gone) && sameController(pod, gone) {
		return fwk.QueueSkip, nil // its gang was broken up: nothing came free for it
	}
	resources := p.book.Resources()
	if share(book.Requests(pod, resources), book.Requests(gone, resources)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// unplaced reports whether a pod that the scheduler says is deleted lives on: then
// it only lost the place it was to have.
func (p *Ebbtide) unplaced(gone *corev1.Pod) bool {
	obj, exists, err := p.pods.GetByKey(gone.Namespace + "/" + gone.Name)
	if err != nil || !exists {
		return false
	}
	pod, ok := obj.(*corev1.Pod)
	return ok && pod.UID == gone.UID && pod.DeletionTimestamp == nil && pod.Spec.NodeName == ""
}

func sameController(a, b *corev1.Pod) bool {
	x, y := metav1.GetControllerOf(a), metav1.GetControllerOf(b)
	return x != nil && y != nil && x.UID == y.UID
}

func share(a, b []book.Request) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Resource == y.Resource {
				return true
			}
		}
	}
	return false
}

// listen adds the plugin's event handlers. An informer shows an object to its
// store before its handlers, so whatever a handler wakes sees the new state.
func (p *Ebbtide) listen(ctx context.Context, watches *book.Watches) error {
	logger := klog.FromContext(ctx)
	factory := p.handle.SharedInformerFactory()
	for _, x := range []struct {
		of       string
		informer cache.SharedInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{"loans", watches.Loans, p.onLoan(logger)},
		{"tenant quotas", watches.Quotas, p.onQuota(logger)},
		{"pods", factory.Core().V1().Pods().Informer(), p.onPod()},
		{"jobs", factory.Batch().V1().Jobs().Informer(), p.onJob(logger)},
		{"namespaces", factory.Core().V1().Namespaces().Informer(), p.onNamespace(logger)},
		{"priority classes", factory.Scheduling().V1().PriorityClasses().Informer(), p.onPriorityClass(logger)},
	} {
		if _, err := x.informer.AddEventHandler(x.handler); err != nil {
			return fmt.Errorf("listen to %s: %w", x.of, err)
		}
	}
	return nil
}

// onLoan wakes the pods that a loan's start or end lets run, and turns pods away
// that wait in Permit on a loan that ended.
func (p *Ebbtide) onLoan(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	ended := func(loan *v1alpha1.Loan) {
		p.ended(logger, loan, "the loan of the job that controls this pod ended")
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if loan, ok := obj.(*v1alpha1.Loan); ok {
				p.activate(logger, p.pendingOf(loan))
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*v1alpha1.Loan)
			loan, ok2 := after.(*v1alpha1.Loan)
			switch {
			case !ok1 || !ok2:
			case book.Open(old) && !book.Open(loan):
				ended(loan)
			case !book.Open(old) && book.Open(loan):
				p.activate(logger, p.pendingOf(loan))
			}
		},
		DeleteFunc: func(obj any) {
			if loan, ok := deleted[*v1alpha1.Loan](obj); ok {
				ended(loan)
				p.gangs.forgetLoan(loan.UID)
			}
		},
	}
}

// ended turns the loan's waiting pods away, and wakes others: units on its nodes
// are no longer held for it, and are coming free.
func (p *Ebbtide) ended(logger klog.Logger, loan *v1alpha1.Loan, reason string) {
	p.breakUp(loan, reason)
	p.activate(logger, p.pending())
}

func (p *Ebbtide) onQuota(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	wake := func() { p.activate(logger, p.pending()) }
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() },
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*v1alpha1.TenantQuota)
			quota, ok2 := after.(*v1alpha1.TenantQuota)
			if ok1 && ok2 && old.Generation != quota.Generation {
				wake()
			}
		},
		DeleteFunc: func(any) { wake() },
	}
}

// onPod forgets what is remembered of pods that are bound or gone.
func (p *Ebbtide) onPod() cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, after any) {
			if pod, ok := after.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				p.waiting.forget(pod.UID)
			}
		},
		DeleteFunc: func(obj any) {
			if pod, ok := deleted[*corev1.Pod](obj); ok {
				p.waiting.forget(pod.UID)
				p.gangs.forgetPod(pod.UID)
			}
		},
	}
}

func (p *Ebbtide) onNamespace(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*corev1.Namespace)
			ns, ok2 := after.(*corev1.Namespace)
			if ok1 && ok2 && !maps.Equal(old.Labels, ns.Labels) {
				p.activate(logger, p.pending())
			}
		},
	}
}

func (p *Ebbtide) onPriorityClass(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if _, ok := obj.(*schedulingv1.PriorityClass); ok {
				p.activate(logger, p.pending())
			}
		},
	}
}

// deleted returns the object of a delete event, also where the event itself was
// missed.
func deleted[T any](obj any) (T, bool) {
	if unseen, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unseen.Obj
	}
	object, ok := obj.(T)
	return object, ok
}

// activate puts pods back into the queue, without backoff.
func (p *Ebbtide) activate(logger klog.Logger, pods []*corev1.Pod) {
	resources := p.book.Resources()
	wake := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if len(book.Requests(pod, resources)) > 0 {
			wake[pod.Namespace+"/"+pod.Name] = pod
		}
	}
	// While the scheduler is still being put together there are no pods, and
	// nothing to activate them with.
	if len(wake) > 0 {
		p.handle.Activate(logger, wake)
	}
}

// podsOf returns the pods that the loan's job controls.
func (p *Ebbtide) podsOf(loan *v1alpha1.Loan) []*corev1.Pod {
	return p.podsBy(byJob, loan.Namespace+"/"+string(loan.Spec.Job.UID))
}

// pendingOf returns those of the loan's pods that have no node yet.
func (p *Ebbtide) pendingOf(loan *v1alpha1.Loan) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range p.podsOf(loan) {
		if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
			out = append(out, pod)
		}
	}
	return out
}

// pending returns all pods of this scheduler that have no node yet.
func (p *Ebbtide) pending() []*corev1.Pod { return p.podsBy(byWaiting, p.handle.ProfileName()) }

func (p *Ebbtide) podsBy(index, key string) []*corev1.Pod {
	objs, err := p.pods.ByIndex(index, key)
	if err != nil {
		return nil
	}
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, obj := range objs {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}
