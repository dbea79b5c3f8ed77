package audit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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
	ears  []*ear

	mu      sync.Mutex
	auditor *auditor
}

// Start begins to watch, and returns once everything that exists has been seen.
// It ends with ctx; Close waits for that.
func Start(ctx context.Context, client kubernetes.Interface, dyn dynamic.Interface, opts Options) (*Auditor, func(), error) {
	a := &Auditor{inbox: inbox{hold: opts.Hold}, auditor: newAuditor(opts)}
	typed := informers.NewSharedInformerFactory(client, 0)
	untyped := dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0)
	watched := map[schema.GroupVersionResource]cache.SharedIndexInformer{
		corev1.SchemeGroupVersion.WithResource("nodes"):      typed.Core().V1().Nodes().Informer(),
		corev1.SchemeGroupVersion.WithResource("pods"):       typed.Core().V1().Pods().Informer(),
		corev1.SchemeGroupVersion.WithResource("namespaces"): typed.Core().V1().Namespaces().Informer(),
	}
	own := []schema.GroupVersionResource{ebbtidev1.GroupVersion.WithResource("loans"), ebbtidev1.GroupVersion.WithResource("tenantquotas")}
	for _, kind := range slices.Concat(own, opts.Makers) {
		watched[kind] = untyped.ForResource(kind).Informer()
	}
	var synced []cache.InformerSynced
	for kind, informer := range watched {
		h := &ear{kind: kind, api: dyn, hear: a.receive, known: map[types.UID]uint64{}}
		a.ears = append(a.ears, h)
		registration, err := informer.AddEventHandler(h)
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

// Final waits until the watches have told of all that has happened when it is asked, judges
// it without holding it back any longer, and returns the report. It is for the end, when
// nothing moves any more: of what moves on, one watch may tell before another, and an event
// that comes afterwards may be Late.
func (a *Auditor) Final(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	for _, h := range a.ears {
		if err := h.awaitAll(ctx); err != nil {
			return Report{}, fmt.Errorf("audit: %w", err)
		}
	}
	a.judge(time.Now().Add(a.inbox.hold))
	return a.Report(), nil
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

// receive takes in what a watch told of.
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
	e.revision = revisionOf(meta)
	a.inbox.put(e)
}
