package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// catchUpWithin bounds how long a watch is waited for: after an absence of the API server it
// may take a minute until one begins to come back. lookAgain is how often it is looked at.
const catchUpWithin, lookAgain = 2 * time.Minute, 50 * time.Millisecond

// ear is the watch of one kind: what exists, as far as it has told.
type ear struct {
	kind schema.GroupVersionResource
	api  dynamic.Interface
	hear func(obj any, deleted, initial bool)

	mu    sync.Mutex
	known map[types.UID]uint64 // the revision of each
}

// OnAdd implements cache.ResourceEventHandler.
func (h *ear) OnAdd(obj any, initial bool) { h.tell(obj, false, initial) }

// OnUpdate implements cache.ResourceEventHandler.
func (h *ear) OnUpdate(_, obj any) { h.tell(obj, false, false) }

// OnDelete implements cache.ResourceEventHandler.
func (h *ear) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	h.tell(obj, true, false)
}

// tell hands on what was told, and only then notes that it was.
func (h *ear) tell(obj any, deleted, initial bool) {
	h.hear(obj, deleted, initial)
	o, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if deleted {
		delete(h.known, o.GetUID())
		return
	}
	h.known[o.GetUID()] = revisionOf(o)
}

// awaitAll waits until the watch has told of all that exists when it is asked, and of all that
// does not exist any more.
func (h *ear) awaitAll(ctx context.Context) error {
	t := time.NewTicker(lookAgain)
	defer t.Stop()
	for {
		list, err := h.api.Resource(h.kind).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			return nil // a kind that is not served any more has nothing to tell
		}
		if err == nil && h.toldOf(list) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the watch of %s has told of all: %w", h.kind.Resource, errors.Join(context.Cause(ctx), err))
		case <-t.C:
		}
	}
}

// toldOf reports whether the watch has told of the list, or of later states. It may be said
// to have not where that is so: of what was deleted since the list was made.
func (h *ear) toldOf(list *unstructured.UnstructuredList) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	exists := map[types.UID]bool{}
	for i := range list.Items {
		o := &list.Items[i]
		exists[o.GetUID()] = true
		if revision, known := h.known[o.GetUID()]; !known || revision < revisionOf(o) {
			return false
		}
	}
	until, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	if err != nil {
		return false
	}
	for uid, revision := range h.known {
		if !exists[uid] && revision <= until {
			return false
		}
	}
	return true
}

// revisionOf returns an object's revision; 0 if it has none.
func revisionOf(o metav1.Object) uint64 {
	revision, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return revision
}
