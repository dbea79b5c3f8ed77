package audit

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// tick is how often events are judged and lasting states looked at.
const tick = 100 * time.Millisecond

// Auditor watches a cluster. Its methods may be called from any goroutine.
type Auditor struct {
	inbox inbox

	mu      sync.Mutex
	auditor *auditor
}

// Start begins to watch, and returns once everything that exists has been seen.
// It ends with ctx; Close waits for that.
func Start(ctx context.Context, client kubernetes.Interface, dyn dynamic.Interface, opts Options) (*Auditor, func(), error) {
	a := &Auditor{inbox: inbox{hold: opts.Hold}, auditor: newAuditor(opts)}
	typed := informers.NewSharedInformerFactory(client, 0)
	untyped := dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0)
	watched := []cache.SharedIndexInformer{
		typed.Core().V1().Nodes().Informer(),
		typed.Core().V1().Pods().Informer(),
		typed.Core().V1().Namespaces().Informer(),
		untyped.ForResource(ebbtidev1.GroupVersion.WithResource("loans")).Informer(),
		untyped.ForResource(ebbtidev1.GroupVersion.WithResource("tenantquotas")).Informer(),
	}
	for _, kind := range opts.Makers {
		watched = append(watched, untyped.ForResource(kind).Informer())
	}
	var synced []cache.InformerSynced
	for _, informer := range watched {
		registration, err := informer.AddEventHandler(a)
		if err != nil {
			return nil, nil, fmt.Errorf("watch for the audit: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	var group sync.WaitGroup
	stop := func() { group.Wait(); typed.Shutdown(); untyped.Shutdown() }
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		stop()
		return nil, nil, fmt.Errorf("fill the audit's caches: %w", context.Cause(ctx))
	}
	a.judge(time.Now().Add(opts.Hold))
	group.Go(func() { a.run(ctx) })
	return a, stop, nil
}

func (a *Auditor) run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			a.judge(now)
		}
	}
}

func (a *Auditor) judge(now time.Time) {
	events := a.inbox.take(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range events {
		a.auditor.judge(e)
	}
	a.auditor.lasting(now.Add(-a.inbox.hold))
}

// Final judges what has been received so far without holding it back any longer,
// and returns the report. It is for the end, when nothing moves any more: an
// event that comes afterwards may be Late.
func (a *Auditor) Final() Report {
	a.judge(time.Now().Add(a.inbox.hold))
	return a.Report()
}

// Report returns what was seen up to Options.Hold ago.
func (a *Auditor) Report() Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.auditor.snapshot()
}

// Usage returns who held units Options.Hold ago.
func (a *Auditor) Usage() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.auditor.cluster.usage()
}

// OnAdd implements cache.ResourceEventHandler.
func (a *Auditor) OnAdd(obj any, initial bool) { a.receive(obj, false, initial) }

// OnUpdate implements cache.ResourceEventHandler.
func (a *Auditor) OnUpdate(_, obj any) { a.receive(obj, false, false) }

// OnDelete implements cache.ResourceEventHandler.
func (a *Auditor) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	a.receive(obj, true, false)
}

func (a *Auditor) receive(obj any, deleted, initial bool) {
	e := event{received: time.Now(), deleted: deleted, initial: initial}
	var meta metav1.Object
	switch o := obj.(type) {
	case *corev1.Node:
		e.object, meta = o, o
	case *corev1.Pod:
		e.object, meta = o, o
	case *corev1.Namespace:
		e.object, meta = o, o
	case *unstructured.Unstructured:
		if o.GroupVersionKind().Group != ebbtidev1.GroupVersion.Group {
			if deleted {
				return // what it made may still be there
			}
			e.object, meta = maker{o.GetUID(), madeBy(o.GetOwnerReferences())}, o
			break
		}
		var own interface {
			metav1.Object
			runtime.Object
		} = &ebbtidev1.Loan{}
		if o.GetKind() == "TenantQuota" {
			own = &ebbtidev1.TenantQuota{}
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, own); err != nil {
			return // the API server checks them against their schema
		}
		e.object, meta = own, own
	default:
		return
	}
	if revision, err := strconv.ParseUint(meta.GetResourceVersion(), 10, 64); err == nil {
		e.revision = revision
	}
	a.inbox.put(e)
}
