package history

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// LedgerLease is the name of the Lease in whose annotations a ledger's head is published.
const LedgerLease = "ebbtide-ledger"

// tick is how often events are handed on.
const tick = 100 * time.Millisecond

// kind is what is watched.
type kind struct {
	resource schema.GroupVersionResource
	fields   string
	empty    func() runtime.Object
}

var kinds = []kind{
	{corev1.SchemeGroupVersion.WithResource("nodes"), "", func() runtime.Object { return &corev1.Node{} }},
	{corev1.SchemeGroupVersion.WithResource("pods"), "", func() runtime.Object { return &corev1.Pod{} }},
	{corev1.SchemeGroupVersion.WithResource("namespaces"), "", func() runtime.Object { return &corev1.Namespace{} }},
	{batchv1.SchemeGroupVersion.WithResource("jobs"), "", func() runtime.Object { return &batchv1.Job{} }},
	{coordinationv1.SchemeGroupVersion.WithResource("leases"), "metadata.name=" + LedgerLease, func() runtime.Object { return &coordinationv1.Lease{} }},
	{v1alpha1.GroupVersion.WithResource("loans"), "", func() runtime.Object { return &v1alpha1.Loan{} }},
	{v1alpha1.GroupVersion.WithResource("lendingpolicies"), "", func() runtime.Object { return &v1alpha1.LendingPolicy{} }},
	{v1alpha1.GroupVersion.WithResource("tenantquotas"), "", func() runtime.Object { return &v1alpha1.TenantQuota{} }},
	{v1alpha1.GroupVersion.WithResource("trainingqueues"), "", func() runtime.Object { return &v1alpha1.TrainingQueue{} }},
	{v1alpha1.GroupVersion.WithResource("gpunodes"), "", func() runtime.Object { return &v1alpha1.GPUNode{} }},
}

// Watcher follows the API server.
type Watcher struct {
	order   order
	clock   clock
	streams []*stream
	sink    func(Event)
	cancel  context.CancelFunc
	group   sync.WaitGroup

	mu sync.Mutex // of the sink
}

// Start begins to watch, and returns when everything that exists was handed to sink. Events
// are held back for hold, to be put in order. Sink is called by one goroutine at a time.
func Start(ctx context.Context, config *rest.Config, hold time.Duration, sink func(Event)) (*Watcher, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client to watch with: %w", err)
	}
	asking := rest.CopyConfig(config)
	asking.QPS = -1
	questions, err := discovery.NewDiscoveryClientForConfig(asking)
	if err != nil {
		return nil, fmt.Errorf("make a client to ask for the last revision: %w", err)
	}
	w := &Watcher{order: order{hold: hold}, clock: clock{began: time.Now()}, sink: sink}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	w.clock.ask(ctx, questions.RESTClient())
	for _, k := range kinds {
		s := newStream(k, client, w.order.put)
		w.streams = append(w.streams, s)
		w.group.Go(func() { s.run(running) })
		select {
		case <-s.ready:
		case <-ctx.Done():
			w.Close()
			return nil, fmt.Errorf("list %s: %w", k.resource.Resource, context.Cause(ctx))
		}
	}
	w.Flush()
	w.group.Go(func() { w.run(running) })
	w.group.Go(func() { w.clock.run(running, questions.RESTClient()) })
	return w, nil
}

func (w *Watcher) run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			w.handOn(now)
		}
	}
}

func (w *Watcher) handOn(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.order.take(now) {
		w.clock.set(&e)
		w.sink(e)
	}
}

// Flush hands on all that was received, without holding it back any longer.
func (w *Watcher) Flush() { w.handOn(time.Now().Add(w.order.hold)) }

// Blind is a kind that is not watched at the moment, because the API server cannot be reached
// or does not serve it; empty: all are.
func (w *Watcher) Blind() string {
	for _, s := range w.streams {
		if !s.watching.Load() && !s.absent.Load() {
			return s.kind.resource.Resource
		}
	}
	return ""
}

// Close ends the watching and waits for that.
func (w *Watcher) Close() {
	w.cancel()
	w.group.Wait()
}
