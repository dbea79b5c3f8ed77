package engine

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/e2e/virtual"
)

// tick is how often a fleet catches up with the clock.
const tick = 25 * time.Millisecond

// Follow keeps the fleet's replicas equal to the pods of namespace that selector
// chooses, until ctx ends: a Running pod is a replica, which serves while the pod
// is Ready and not being deleted.
func Follow(ctx context.Context, client kubernetes.Interface, namespace, selector string, f *Fleet) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	pods := factory.Core().V1().Pods().Informer()
	observe := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok {
			f.observe(pod)
		}
	}
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    observe,
		UpdateFunc: func(_, obj any) { observe(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				f.RemoveReplica(name)
			}
		},
	}); err != nil {
		return fmt.Errorf("watch the pods of %s: %w", namespace, err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return fmt.Errorf("list the pods of %s: %w", namespace, context.Cause(ctx))
	}
	<-ctx.Done()
	return nil
}

func (f *Fleet) observe(pod *corev1.Pod) {
	name := pod.Namespace + "/" + pod.Name
	if pod.Status.Phase != corev1.PodRunning {
		f.RemoveReplica(name)
		return
	}
	f.SetReplica(name, pod.DeletionTimestamp == nil && ready(pod))
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Play advances the fleet along the clock until ctx ends.
func Play(ctx context.Context, f *Fleet, clock virtual.Clock) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			f.Advance(clock.At(now))
		}
	}
}
