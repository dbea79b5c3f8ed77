package ebbtide

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// listen adds the plugin's event handlers. An informer shows an object to its
// store before its handlers, so whatever a handler wakes sees the new state.
func (p *Ebbtide) listen(ctx context.Context, watches *book.Watches, succeeded cache.SharedInformer) error {
	logger := klog.FromContext(ctx)
	factory := p.handle.SharedInformerFactory()
	type listener struct {
		of       string
		informer cache.SharedInformer
		handler  cache.ResourceEventHandlerFuncs
	}
	listeners := []listener{
		{"loans", watches.Loans, p.onLoan(logger)},
		{"tenant quotas", watches.Quotas, p.onQuota(logger)},
		{"GPU nodes", watches.GPUNodes, p.onGPUNode(logger)},
		{"pods", factory.Core().V1().Pods().Informer(), p.onPod(logger)},
		{"pods that succeeded", succeeded, p.onSucceeded(logger)},
		{"nodes", factory.Core().V1().Nodes().Informer(), p.onNode(logger)},
		{"stateful sets", factory.Apps().V1().StatefulSets().Informer(), p.onStatefulSet(logger)},
		{"jobs", factory.Batch().V1().Jobs().Informer(), p.onJob(logger)},
		{"namespaces", factory.Core().V1().Namespaces().Informer(), p.onNamespace(logger)},
		{"priority classes", factory.Scheduling().V1().PriorityClasses().Informer(), p.onPriorityClass(logger)},
	}
	if p.groups != nil {
		listeners = append(listeners, listener{"pod groups", factory.Scheduling().V1alpha2().PodGroups().Informer(), p.onPodGroup(logger)})
	}
	for _, x := range listeners {
		registration, err := x.informer.AddEventHandler(x.handler)
		if err != nil {
			return fmt.Errorf("listen to %s: %w", x.of, err)
		}
		p.heard = append(p.heard, registration.HasSynced)
	}
	return nil
}

// awaitStart waits, at the first pod after the start, until everything that was
// there is counted: a scheduler that does not know what is used would hand it out
// again.
func (p *Ebbtide) awaitStart(ctx context.Context) error {
	if p.ready.Load() {
		return nil
	}
	if !cache.WaitForCacheSync(ctx.Done(), p.heard...) {
		return fmt.Errorf("read what is in use: %w", context.Cause(ctx))
	}
	p.askAll()
	p.ready.Store(true)
	return nil
}

func (p *Ebbtide) onQuota(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	wake := func(q *v1alpha1.TenantQuota) {
		p.account.SetQuota(q)
		p.activate(logger, p.pending())
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if quota, ok := obj.(*v1alpha1.TenantQuota); ok {
				wake(quota)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*v1alpha1.TenantQuota)
			quota, ok2 := after.(*v1alpha1.TenantQuota)
			if ok1 && ok2 && (old.Generation != quota.Generation || old.UID != quota.UID) {
				wake(quota)
			}
		},
		DeleteFunc: func(obj any) {
			if quota, ok := deleted[*v1alpha1.TenantQuota](obj); ok {
				p.account.DropQuota(quota.Name)
				p.activate(logger, p.pending())
			}
		},
	}
}

// onPod keeps the account, and forgets what is remembered of pods that are bound
// or gone.
func (p *Ebbtide) onPod(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if pod, ok := obj.(*corev1.Pod); ok {
				p.podCame(logger, pod)
			}
		},
		UpdateFunc: func(before, after any) {
			old, _ := before.(*corev1.Pod)
			pod, ok := after.(*corev1.Pod)
			switch {
			case !ok:
			case old != nil && old.UID != pod.UID: // it was deleted and made anew while nobody looked
				p.podGone(logger, old)
				p.podCame(logger, pod)
			default:
				p.podChanged(logger, old, pod)
			}
		},
		DeleteFunc: func(obj any) {
			if pod, ok := deleted[*corev1.Pod](obj); ok {
				p.podGone(logger, pod)
			}
		},
	}
}

func (p *Ebbtide) podCame(logger klog.Logger, pod *corev1.Pod) {
	p.wake(logger, p.account.SetPod(nil, pod))
	p.follow(logger, nil, pod)
	p.followGroup(logger, nil, pod)
	p.wakeGroup(logger, pod)
}

func (p *Ebbtide) podChanged(logger klog.Logger, old, pod *corev1.Pod) {
	if ended(pod) {
		p.cards.release(pod.UID)
	}
	freed := p.account.SetPod(old, pod)
	if !waits(pod) {
		p.leaveLine(logger, pod)
	}
	if pod.Spec.NodeName != "" {
		p.forget(pod.UID)
	}
	p.follow(logger, old, pod)
	p.followGroup(logger, old, pod)
	p.wake(logger, freed)
}

func (p *Ebbtide) podGone(logger klog.Logger, pod *corev1.Pod) {
	freed := p.account.DropPod(pod.UID)
	p.leaveLine(logger, pod)
	p.forget(pod.UID)
	p.cards.release(pod.UID)
	p.unfollow(logger, pod)
	p.wake(logger, freed)
}

// forget drops what is remembered of a pod only as long as it has no node.
func (p *Ebbtide) forget(pod types.UID) {
	p.waiting.forget(pod)
	p.blocked.forget(pod)
	p.gangs.forgetPod(pod)
}

func (p *Ebbtide) onNode(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	set := func(obj any) {
		if node, ok := obj.(*corev1.Node); ok {
			p.wake(logger, p.account.SetNode(node))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, after any) { set(after) },
		DeleteFunc: func(obj any) {
			if node, ok := deleted[*corev1.Node](obj); ok {
				p.wake(logger, p.account.DropNode(node.Name))
			}
		},
	}
}

func (p *Ebbtide) onNamespace(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if ns, ok := obj.(*corev1.Namespace); ok {
				p.account.SetNamespace(ns)
				p.activate(logger, p.pendingIn("/"+ns.Name))
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*corev1.Namespace)
			ns, ok2 := after.(*corev1.Namespace)
			if ok1 && ok2 && !maps.Equal(old.Labels, ns.Labels) {
				p.account.SetNamespace(ns)
				p.activate(logger, p.pending())
			}
		},
		DeleteFunc: func(obj any) {
			if ns, ok := deleted[*corev1.Namespace](obj); ok {
				p.wake(logger, p.account.DropNamespace(ns.Name))
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
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*schedulingv1.PriorityClass)
			class, ok2 := after.(*schedulingv1.PriorityClass)
			if ok1 && ok2 && old.Value != class.Value { // it was made anew
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
