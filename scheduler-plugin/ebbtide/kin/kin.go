// Package kin watches the objects between pods and jobs whose kinds a cluster need not
// have, by their metadata alone.
//
// Which of the kinds are there is asked of the API server, again and again: one that is
// installed later is watched soon after, and what is left of one that was removed counts
// as deleted. A kind that cannot be asked about, or not be read, is unknown and never
// absent; nobody waits for it here.
package kin

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// lookEvery is how often it is asked which kinds there are; each time once for each.
	lookEvery = 30 * time.Second
	// lookAgain is the least time between that and a Kick that leads to the same.
	lookAgain = 2 * time.Second
)

// Change tells of an object as it was and as it is; before is nil if it is new, and now
// if it is gone.
type Change func(before, now *metav1.PartialObjectMetadata)

// Kin is the watch. Its exported fields are set before it is used; its methods may be
// called concurrently.
type Kin struct {
	// Resources are what is watched, if it is there.
	Resources []schema.GroupVersionResource
	Client    metadata.Interface
	API       discovery.ServerResourcesInterface
	Clock     clock.WithTicker
	// Changed is told of every change, of one kind one after the other.
	Changed Change

	kick   chan struct{}
	once   sync.Once
	mu     sync.RWMutex
	states map[schema.GroupVersionResource]*state
}

// state is what is known of a kind: that it is absent, or what is watched of it.
type state struct {
	kind     schema.GroupKind
	informer cache.SharedIndexInformer
	// told: of all that was there at the start.
	told cache.InformerSynced
	stop context.CancelFunc
}

func (k *Kin) kicks() chan struct{} {
	k.once.Do(func() { k.kick = make(chan struct{}, 1) })
	return k.kick
}

// Kick has the kinds looked for soon, unless this one is watched or none of them: there
// is word of an object of it.
func (k *Kin) Kick(kind schema.GroupKind) {
	if !k.missing(kind) {
		return
	}
	select {
	case k.kicks() <- struct{}{}:
	default: // that is to happen anyway
	}
}

func (k *Kin) missing(kind schema.GroupKind) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.ContainsFunc(k.Resources, func(resource schema.GroupVersionResource) bool {
		s := k.states[resource]
		return resource.Group == kind.Group && (s == nil || s.informer == nil)
	})
}

// Run watches until ctx ends.
func (k *Kin) Run(ctx context.Context) {
	ticker := k.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		k.Look(ctx)
		looked := k.Clock.Now()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		case <-k.kicks():
			if !k.rest(ctx, lookAgain-k.Clock.Since(looked)) {
				return
			}
		}
	}
}

// rest returns false if ctx ended.
func (k *Kin) rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := k.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// Look asks once which of the kinds there are, begins to watch those that are new and
// ends it for those that are gone. What it begins ends with ctx.
func (k *Kin) Look(ctx context.Context) {
	for _, resource := range k.Resources {
		kind, served, err := k.ask(resource)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot ask for a kind of jobs; its pods may have to wait", "resource", resource.String())
			continue
		}
		if known := k.state(resource); served != (known != nil && known.informer != nil) || known == nil {
			k.change(ctx, resource, kind, served)
		}
	}
}

func (k *Kin) state(resource schema.GroupVersionResource) *state {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.states[resource]
}

// ask returns the kind of a resource, and whether the API server has it.
func (k *Kin) ask(resource schema.GroupVersionResource) (kind schema.GroupKind, served bool, err error) {
	list, err := k.API.ServerResourcesForGroupVersion(resource.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return kind, false, nil
	}
	if err != nil {
		return kind, false, fmt.Errorf("ask whether %s are served: %w", resource.GroupResource(), err)
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == resource.Resource {
			return schema.GroupKind{Group: resource.Group, Kind: list.APIResources[i].Kind}, true, nil
		}
	}
	return kind, false, nil
}

// change begins to watch a kind, or ends it.
func (k *Kin) change(ctx context.Context, resource schema.GroupVersionResource, kind schema.GroupKind, served bool) {
	next := &state{}
	if served {
		watching, stop := context.WithCancel(ctx)
		informer, told := k.watch(ctx, resource)
		next = &state{kind: kind, informer: informer, told: told, stop: stop}
		go next.informer.RunWithContext(watching)
		klog.FromContext(ctx).Info("Watching a kind of jobs", "resource", resource.String())
	}
	k.mu.Lock()
	before := k.states[resource]
	if k.states == nil {
		k.states = map[schema.GroupVersionResource]*state{}
	}
	k.states[resource] = next
	k.mu.Unlock()
	if before == nil || before.informer == nil {
		return
	}
	before.stop()
	for _, obj := range before.informer.GetStore().List() {
		if gone, ok := obj.(*metav1.PartialObjectMetadata); ok {
			k.Changed(gone, nil)
		}
	}
}

func (k *Kin) watch(ctx context.Context, resource schema.GroupVersionResource) (informer cache.SharedIndexInformer, told cache.InformerSynced) {
	informer = metadatainformer.NewFilteredMetadataInformer(k.Client, resource, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	// Both fail only once the informer runs.
	_ = informer.SetTransform(slim)
	listener, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { k.tell(nil, obj) },
		UpdateFunc: func(before, now any) { k.tell(before, now) },
		DeleteFunc: func(obj any) {
			if unseen, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unseen.Obj
			}
			k.tell(obj, nil)
		},
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot listen to a kind of jobs", "resource", resource.String())
		return informer, func() bool { return false }
	}
	return informer, listener.HasSynced
}

// slim drops what nobody reads.
func slim(obj any) (any, error) {
	if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
		o.ManagedFields = nil
	}
	return obj, nil
}

func (k *Kin) tell(before, now any) {
	old, _ := before.(*metav1.PartialObjectMetadata)
	next, _ := now.(*metav1.PartialObjectMetadata)
	if old != nil || next != nil {
		k.Changed(old, next)
	}
}

// Get returns the object of that name; nil if none is known.
func (k *Kin) Get(kind schema.GroupKind, namespace, name string) *metav1.PartialObjectMetadata {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, s := range k.states {
		if s.informer == nil || s.kind != kind {
			continue
		}
		obj, exists, err := s.informer.GetStore().GetByKey(namespace + "/" + name)
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok && exists && err == nil {
			return o
		}
	}
	return nil
}

// Settled reports whether all objects of a kind that is watched are known: they were
// read, or the cluster does not have the kind. group is enough to name one, because the
// name of a kind is only known where it is served.
func (k *Kin) Settled(kind schema.GroupKind) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, resource := range k.Resources {
		if resource.Group != kind.Group {
			continue
		}
		if s := k.states[resource]; s == nil || s.informer != nil && !s.told() {
			return false
		}
	}
	return true
}
