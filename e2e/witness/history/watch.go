package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// again is how long a watch waits before it comes back.
const again = 100 * time.Millisecond

var errExpired = errors.New("the revision is too old to go on from")

// stream is the watch of one kind.
type stream struct {
	kind   kind
	client dynamic.Interface
	put    func(Event)

	revision string
	// last is the last revision of which all was seen: what a later list has no more may have
	// been deleted right after it.
	last string
	// until is the revision of the last list.
	until uint64
	// known is what exists, by namespace/name: what is missing from a later list was deleted.
	known map[string]*unstructured.Unstructured
	ready chan struct{} // closed when the first list was read
	seen  bool
	// watching: a watch is open. absent: the API server does not serve the kind.
	watching, absent atomic.Bool
}

func newStream(k kind, client dynamic.Interface, put func(Event)) *stream {
	return &stream{kind: k, client: client, put: put, known: map[string]*unstructured.Unstructured{}, ready: make(chan struct{})}
}

// run follows the kind until ctx ends.
func (s *stream) run(ctx context.Context) {
	for ctx.Err() == nil {
		var err error
		if s.revision == "" {
			err = s.list(ctx)
		} else {
			err = s.follow(ctx)
		}
		if errors.Is(err, errExpired) {
			s.revision = ""
		}
		if err != nil {
			pause(ctx, again)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// list reads all that exists, and from it what changed unseen. A kind that the API server
// does not have has no objects yet.
func (s *stream) list(ctx context.Context) error {
	list, err := s.client.Resource(s.kind.resource).List(ctx, metav1.ListOptions{FieldSelector: s.kind.fields})
	s.absent.Store(apierrors.IsNotFound(err))
	if apierrors.IsNotFound(err) {
		s.isReady()
		return fmt.Errorf("list %s: %w", s.kind.resource.Resource, err)
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", s.kind.resource.Resource, err)
	}
	if s.until, err = strconv.ParseUint(list.GetResourceVersion(), 10, 64); err != nil {
		return fmt.Errorf("list %s: %w", s.kind.resource.Resource, err)
	}
	now, exists := time.Now(), map[string]bool{}
	for i := range list.Items {
		exists[key(&list.Items[i])] = true
	}
	for name, old := range s.known {
		if !exists[name] {
			s.gone(old, s.last, now, true)
		}
	}
	for i := range list.Items {
		s.is(&list.Items[i], now, s.seen)
	}
	s.revision = list.GetResourceVersion()
	s.last = s.revision
	s.isReady()
	return nil
}

func (s *stream) isReady() {
	if !s.seen {
		s.seen = true
		close(s.ready)
	}
}

// follow watches from the last revision until the watch ends.
func (s *stream) follow(ctx context.Context) error {
	w, err := s.client.Resource(s.kind.resource).Watch(ctx, metav1.ListOptions{
		FieldSelector: s.kind.fields, ResourceVersion: s.revision, AllowWatchBookmarks: true,
	})
	if err != nil {
		return expired(err)
	}
	defer w.Stop()
	s.watching.Store(true)
	defer s.watching.Store(false)
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return expired(apierrors.FromObject(e.Object))
		}
		o, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("watch %s: %T is no object", s.kind.resource.Resource, e.Object)
		}
		s.revision = o.GetResourceVersion()
		s.last = s.revision
		switch e.Type {
		case watch.Deleted:
			s.gone(o, o.GetResourceVersion(), time.Now(), false)
		case watch.Added, watch.Modified:
			s.is(o, time.Now(), false)
		}
	}
	return errors.New("the watch has ended")
}

func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errors.Join(errExpired, err)
	}
	return err
}

func key(o *unstructured.Unstructured) string { return o.GetNamespace() + "/" + o.GetName() }

// is hands on what an object is, unless that is known.
func (s *stream) is(o *unstructured.Unstructured, now time.Time, unseen bool) {
	old := s.known[key(o)]
	if old != nil && old.GetResourceVersion() == o.GetResourceVersion() {
		return
	}
	if old != nil && old.GetUID() != o.GetUID() {
		s.gone(old, s.last, now, true)
	}
	s.known[key(o)] = o
	s.hand(o, o.GetResourceVersion(), Event{At: now, Unseen: unseen})
}

func (s *stream) gone(o *unstructured.Unstructured, revision string, now time.Time, unseen bool) {
	delete(s.known, key(o))
	s.hand(o, revision, Event{At: now, Deleted: true, Unseen: unseen})
}

func (s *stream) hand(o *unstructured.Unstructured, revision string, e Event) {
	o.SetManagedFields(nil) // of no interest, and half of what events take up
	typed := s.kind.empty()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed); err != nil {
		return // it is not of the version that was asked for
	}
	number, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return
	}
	e.Revision, e.Object, e.Initial = number, typed, !s.seen
	if e.Unseen {
		e.Until = s.until
		e.after, _ = strconv.ParseUint(s.last, 10, 64) // which was a revision when it was kept
	}
	s.put(e)
}
