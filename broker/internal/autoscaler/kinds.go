package autoscaler

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The kinds that a cluster may or may not have: autoscalers, and workloads that are more
// than a Deployment.
var (
	ScaledObjects         = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}
	PodAutoscalers        = schema.GroupVersionKind{Group: "autoscaling.internal.knative.dev", Version: "v1alpha1", Kind: "PodAutoscaler"}
	VariantAutoscalings   = schema.GroupVersionKind{Group: "llmd.ai", Version: "v1alpha1", Kind: "VariantAutoscaling"}
	KnativeServices       = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}
	KnativeConfigurations = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Configuration"}
	KnativeRevisions      = schema.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Revision"}
	LeaderWorkerSets      = schema.GroupVersionKind{Group: "leaderworkerset.x-k8s.io", Version: "v1", Kind: "LeaderWorkerSet"}
)

var optional = []schema.GroupVersionKind{
	ScaledObjects, PodAutoscalers, VariantAutoscalings, KnativeServices, KnativeConfigurations, KnativeRevisions, LeaderWorkerSets,
}

// Informers are caches that are filled on demand; controller-runtime's cache.Cache is
// one.
type Informers interface {
	client.Reader
	GetInformer(ctx context.Context, object client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// lookEvery is how often it is looked for kinds that were not there.
const lookEvery = 30 * time.Second

// Kinds watches the kinds that may be installed later. Its exported fields are set before
// Run; its methods may be called concurrently.
type Kinds struct {
	Cache Informers
	Clock clock.WithTicker
	// Changed is called after every change of an object; nil: nobody is told.
	Changed func()

	mu     sync.Mutex
	states map[schema.GroupVersionKind]*state
}

// state of a kind: absent, or watched, or that is not known yet.
type state struct {
	absent   bool
	informer cache.Informer
}

// Run looks for the kinds until ctx ends.
func (k *Kinds) Run(ctx context.Context) {
	ticker := k.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		k.Look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// Look looks once for every kind that is not watched yet. For each it asks the API
// server at most which resources the kind's group has.
func (k *Kinds) Look(ctx context.Context) {
	for _, gvk := range optional {
		k.mu.Lock()
		known := k.states[gvk]
		k.mu.Unlock()
		if known != nil && known.informer != nil {
			continue
		}
		s, err := k.find(ctx, gvk)
		if err != nil {
			logr.FromContextOrDiscard(ctx).V(1).Info("A kind cannot be looked up", "kind", gvk.String(), "error", err.Error())
			continue
		}
		k.mu.Lock()
		if k.states == nil {
			k.states = map[schema.GroupVersionKind]*state{}
		}
		k.states[gvk] = s
		k.mu.Unlock()
	}
}

func (k *Kinds) find(ctx context.Context, gvk schema.GroupVersionKind) (*state, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gvk)
	informer, err := k.Cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if meta.IsNoMatchError(err) {
		return &state{absent: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", gvk.Kind, err)
	}
	if k.Changed != nil {
		tell := func() { k.Changed() }
		_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { tell() }, UpdateFunc: func(_, _ any) { tell() }, DeleteFunc: func(any) { tell() },
		})
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", gvk.Kind, err)
		}
	}
	return &state{informer: informer}, nil
}

// Read returns what there is. It waits for nothing. A nil Kinds has found nothing.
func (k *Kinds) Read(ctx context.Context) (*Found, error) {
	found := &Found{objects: map[schema.GroupVersionKind][]unstructured.Unstructured{}}
	if k == nil {
		return found, nil
	}
	for _, gvk := range optional {
		k.mu.Lock()
		s := k.states[gvk]
		k.mu.Unlock()
		if s != nil && s.absent {
			continue
		}
		if s == nil || !s.informer.HasSynced() {
			found.Unread = append(found.Unread, gvk.Kind)
			continue
		}
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		// They are only read, so they need not be copied.
		if err := k.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %s: %w", gvk.Kind, err)
		}
		found.objects[gvk] = list.Items
	}
	return found, nil
}

// Found is the objects of the kinds that may or may not be installed. They are shared:
// nobody may change them.
type Found struct {
	objects map[schema.GroupVersionKind][]unstructured.Unstructured
	// Unread are the kinds of which it is not known whether they are installed, or which
	// objects there are.
	Unread []string
}

// NewFound is made of the given objects.
func NewFound(objects ...*unstructured.Unstructured) *Found {
	f := &Found{objects: map[schema.GroupVersionKind][]unstructured.Unstructured{}}
	for _, o := range objects {
		f.objects[o.GroupVersionKind()] = append(f.objects[o.GroupVersionKind()], *o)
	}
	return f
}

// Get is one object; nil if there is none.
func (f *Found) Get(gvk schema.GroupVersionKind, key types.NamespacedName) *unstructured.Unstructured {
	list := f.objects[gvk]
	i := slices.IndexFunc(list, func(o unstructured.Unstructured) bool {
		return o.GetNamespace() == key.Namespace && o.GetName() == key.Name
	})
	if i < 0 {
		return nil
	}
	return &list[i]
}

func (f *Found) each(gvk schema.GroupVersionKind, do func(*unstructured.Unstructured)) {
	for i := range f.objects[gvk] {
		do(&f.objects[gvk][i])
	}
}

// Owners has the controller of each of Knative's Revisions and Configurations, by UID.
func (f *Found) Owners() map[types.UID]types.UID {
	owners := map[types.UID]types.UID{}
	for _, gvk := range []schema.GroupVersionKind{KnativeRevisions, KnativeConfigurations} {
		f.each(gvk, func(o *unstructured.Unstructured) {
			if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
				owners[o.GetUID()] = ref.UID
			}
		})
	}
	return owners
}
