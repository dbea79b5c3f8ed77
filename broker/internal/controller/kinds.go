package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

const (
	// lookEvery is how often it is looked which kinds of jobs are installed.
	lookEvery = 10 * time.Second
	// discoveryTimeout bounds one question about that.
	discoveryTimeout = 5 * time.Second
	// firstSync bounds how long the first decision waits for the kinds that are installed.
	firstSync = 10 * time.Second
)

// errUnread: it is not known which objects of a kind there are.
var errUnread = errors.New("the kind is not in the caches yet")

// informers are caches that are filled on demand.
type informers interface {
	GetInformer(ctx context.Context, object client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
	RemoveInformer(ctx context.Context, object client.Object) error
}

// kinds watches the kinds of jobs that a cluster may or may not have, and may get or lose
// at any time. What is not known of one stops nobody: its jobs wait, its loans stay as
// they are, and a pod that may be of one of its jobs holds its units.
type kinds struct {
	caches informers
	// served are the kinds of a group's version that the API server has now.
	served func(schema.GroupVersion) (map[string]bool, error)
	watch  *watcher
	clock  clock.WithTicker

	mu     sync.Mutex
	states map[schema.GroupVersionKind]*kindState
}

// kindState is absent, or watched, or neither: that is not known.
type kindState struct {
	absent bool
	store  toolscache.Store
	synced func() bool
}

func newKinds(caches informers, served func(schema.GroupVersion) (map[string]bool, error), w *watcher, c clock.WithTicker) *kinds {
	k := &kinds{caches: caches, served: served, watch: w, clock: c, states: map[schema.GroupVersionKind]*kindState{}}
	for _, f := range jobs.Fields() {
		if f.Kind.Group != "batch" { // every cluster has that
			k.states[f.Kind] = &kindState{}
		}
	}
	return k
}

// servedBy asks the API server.
func servedBy(config *rest.Config) (func(schema.GroupVersion) (map[string]bool, error), error) {
	config = rest.CopyConfig(config)
	config.Timeout = discoveryTimeout
	c, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make the discovery client: %w", err)
	}
	return func(gv schema.GroupVersion) (map[string]bool, error) {
		list, err := c.ServerResourcesForGroupVersion(gv.String())
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look up what %s has: %w", gv, err)
		}
		kinds := map[string]bool{}
		for i := range list.APIResources {
			kinds[list.APIResources[i].Kind] = true
		}
		return kinds, nil
	}, nil
}

// run looks for the kinds until ctx ends.
func (k *kinds) run(ctx context.Context) {
	ticker := k.clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			k.look(ctx)
		}
	}
}

// begin looks once, and waits a moment for what is there.
func (k *kinds) begin(ctx context.Context) {
	k.look(ctx)
	ctx, cancel := context.WithTimeout(ctx, firstSync)
	defer cancel()
	var synced []toolscache.InformerSynced
	k.mu.Lock()
	for _, s := range k.states {
		if s.synced != nil {
			synced = append(synced, s.synced)
		}
	}
	k.mu.Unlock()
	toolscache.WaitForCacheSync(ctx.Done(), synced...)
}

// look finds out which kinds are installed now, watches those that are new, and forgets
// those that are not there any more.
func (k *kinds) look(ctx context.Context) {
	log := logr.FromContextOrDiscard(ctx)
	served := map[schema.GroupVersion]map[string]bool{}
	failed := map[schema.GroupVersion]bool{}
	for kind, was := range k.all() {
		gv := kind.GroupVersion()
		if _, asked := served[gv]; !asked && !failed[gv] {
			has, err := k.served(gv)
			if err != nil {
				log.Error(err, "It is not known which kinds of jobs are installed")
				failed[gv] = true
			} else {
				served[gv] = has
			}
		}
		if failed[gv] {
			continue
		}
		switch is := served[gv][kind.Kind]; {
		case is && was.store == nil:
			s, err := k.start(ctx, kind)
			if err != nil {
				log.Error(err, "A kind of jobs cannot be watched yet", "kind", kind.String())
				k.set(kind, &kindState{})
				continue
			}
			log.Info("Jobs of this kind are admitted", "kind", kind.String())
			k.set(kind, s)
		case !is && !was.absent:
			k.stop(ctx, kind, was)
			k.set(kind, &kindState{absent: true})
		}
	}
}

func (k *kinds) start(ctx context.Context, kind schema.GroupVersionKind) (*kindState, error) {
	informer, err := k.caches.GetInformer(ctx, objectOf(kind), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind.Kind, err)
	}
	shared, ok := informer.(toolscache.SharedInformer)
	if !ok {
		return nil, fmt.Errorf("watch %s: its informer has no store", kind.Kind)
	}
	registration, err := informer.AddEventHandler(k.watch.handler())
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind.Kind, err)
	}
	return &kindState{store: shared.GetStore(), synced: registration.HasSynced}, nil
}

// stop ends the watch of a kind that is not installed any more, and with it all its
// objects.
func (k *kinds) stop(ctx context.Context, kind schema.GroupVersionKind, was *kindState) {
	if was.store == nil {
		return
	}
	if err := k.caches.RemoveInformer(ctx, objectOf(kind)); err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "A kind that is not installed any more is still watched", "kind", kind.String())
	}
	for _, object := range was.store.List() {
		k.watch.poke(k.watch.deleted(object))
	}
}

func objectOf(kind schema.GroupVersionKind) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	return object
}

func (k *kinds) all() map[schema.GroupVersionKind]*kindState {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[schema.GroupVersionKind]*kindState, len(k.states))
	for kind, s := range k.states {
		all[kind] = s
	}
	return all
}

func (k *kinds) set(kind schema.GroupVersionKind, s *kindState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.states[kind] = s
}

// state of a kind; nil if it is none of these.
func (k *kinds) state(kind schema.GroupVersionKind) *kindState {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.states[kind]
}

// known: it is known which objects of the kind there are.
func (s *kindState) known() bool { return s != nil && (s.absent || (s.synced != nil && s.synced())) }

// installed tells whether the objects of a kind can be listed, and what they follow from.
func (k *kinds) installed(kind schema.GroupVersionKind) bool {
	s := k.state(kind)
	if !s.known() || s.absent {
		return false
	}
	if kind.Kind != "TrainJob" {
		return true
	}
	// A TrainJob's pods are its JobSet's.
	for other, s := range k.all() {
		if other.Kind == "JobSet" {
			return s.known()
		}
	}
	return false
}

// stores gives each kind that it has a field for its store.
func (k *kinds) stores(set *jobs.Set) {
	for _, f := range jobs.Fields() {
		if s, is := set.Of(f.Kind.GroupKind()).(*jobs.Suspendable); is {
			s.Store = kindStore{k, f.Kind}
		}
	}
	set.Installed = k.installed
}

// kindStore is the store of a kind's informer, whenever there is one.
type kindStore struct {
	kinds *kinds
	kind  schema.GroupVersionKind
}

// List implements jobs.Store.
func (s kindStore) List() []any {
	if state := s.kinds.state(s.kind); state.known() && !state.absent {
		return state.store.List()
	}
	return nil
}

// reader reads the caches, and never waits for one of the kinds: what is not known is an
// error, and what is not installed is not found.
type reader struct {
	client.Reader
	kinds *kinds
}

// Get implements client.Reader.
func (r reader) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	object, ok := into.(*unstructured.Unstructured)
	if !ok {
		return r.Reader.Get(ctx, key, into, opts...)
	}
	kind := object.GroupVersionKind()
	state := r.kinds.state(kind)
	switch {
	case state == nil:
		return r.Reader.Get(ctx, key, into, opts...)
	case !state.known():
		return fmt.Errorf("%s %s: %w", kind.Kind, key, errUnread)
	case !state.absent:
		found, exists, err := state.store.GetByKey(key.String())
		if u, is := found.(*unstructured.Unstructured); err == nil && exists && is {
			object.Object = u.Object // it is only read
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, key.Name)
}
