package autoscaler

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// server has the objects of the kinds that are installed.
type server struct {
	client.Reader
	installed map[string]*informer
	err       error
	asked     int
	looks     chan struct{}
}

func (s *server) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	s.asked++
	if s.looks != nil {
		s.looks <- struct{}{}
	}
	gvk := object.GetObjectKind().GroupVersionKind()
	if s.err != nil {
		return nil, s.err
	}
	if i := s.installed[gvk.Kind]; i != nil {
		return i, nil
	}
	return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind()}
}

func (s *server) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	u := list.(*unstructured.UnstructuredList)
	i := s.installed[u.GetKind()[:len(u.GetKind())-len("List")]]
	if i.err != nil {
		return i.err
	}
	u.Items = i.objects
	return nil
}

type informer struct {
	cache.Informer
	synced   bool
	objects  []unstructured.Unstructured
	err      error
	handlers []toolscache.ResourceEventHandler
}

func (i *informer) HasSynced() bool { return i.synced }

func (i *informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.handlers = append(i.handlers, h)
	return nil, nil
}

func read(t *testing.T, k *Kinds) *Found {
	t.Helper()
	found, err := k.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestInstalledLater: a kind that is not installed is absent, one that was installed is
// watched without a restart, and one that was not read yet is neither.
func TestInstalledLater(t *testing.T) {
	s := &server{installed: map[string]*informer{}}
	changes := 0
	k := &Kinds{Cache: s, Changed: func() { changes++ }}
	if found := read(t, k); len(found.Unread) != len(optional) {
		t.Errorf("before it was looked, unread are %v", found.Unread)
	}
	k.Look(t.Context())
	if found := read(t, k); len(found.Unread) != 0 || found.Get(ScaledObjects, types.NamespacedName{Namespace: "serving", Name: "chat"}) != nil {
		t.Errorf("nothing is installed, and unread are %v", found.Unread)
	}
	so := &informer{objects: []unstructured.Unstructured{*object(t, scaledObjectChat)}}
	s.installed["ScaledObject"] = so
	k.Look(t.Context())
	if found := read(t, k); !slices.Equal(found.Unread, []string{"ScaledObject"}) {
		t.Errorf("before its cache is full, unread are %v", found.Unread)
	}
	so.synced = true
	found := read(t, k)
	if len(found.Unread) != 0 || found.Get(ScaledObjects, types.NamespacedName{Namespace: "serving", Name: "chat"}) == nil {
		t.Errorf("installed, and not found; unread are %v", found.Unread)
	}
	for _, h := range so.handlers {
		h.OnAdd(nil, false)
		h.OnUpdate(nil, nil)
		h.OnDelete(nil)
	}
	if changes != 3 {
		t.Errorf("told of %d changes, want 3", changes)
	}
	before := s.asked
	k.Look(t.Context())
	if asked := s.asked - before; asked != len(optional)-1 {
		t.Errorf("asked about %d kinds, want those %d that are not watched", asked, len(optional)-1)
	}
}

const scaledObjectChat = `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: chat}, spec: {scaleTargetRef: {name: chat}}}`

// TestUnreadable: where it cannot be told whether a kind is installed, it is not taken
// for absent; and a cache that fails fails the reading.
func TestUnreadable(t *testing.T) {
	s := &server{installed: map[string]*informer{}, err: errors.New("the server is overloaded")}
	k := &Kinds{Cache: s}
	k.Look(t.Context())
	if found := read(t, k); len(found.Unread) != len(optional) {
		t.Errorf("unread are %v, want all", found.Unread)
	}
	s.err = nil
	s.installed["LeaderWorkerSet"] = &informer{synced: true, err: errors.New("broken")}
	k.Look(t.Context())
	if _, err := k.Read(t.Context()); err == nil || err.Error() != "list LeaderWorkerSet: broken" {
		t.Errorf("got %v", err)
	}
	var none *Kinds
	if found := read(t, none); len(found.Unread) != 0 || found.Get(schema.GroupVersionKind{}, types.NamespacedName{}) != nil {
		t.Errorf("a nil Kinds found %+v", found)
	}
}

// TestRun looks again after a while, and ends with its context.
func TestRun(t *testing.T) {
	s := &server{installed: map[string]*informer{}, looks: make(chan struct{})}
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(&Kinds{Cache: s, Clock: clock}).Run(ctx)
	}()
	for range optional {
		<-s.looks
	}
	clock.Step(lookEvery)
	for range optional {
		<-s.looks
	}
	stop()
	<-ended
}
