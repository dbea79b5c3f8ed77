package audit

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

// thing is an object of a revision.
func thing(uid string, revision int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": uid, "namespace": "x", "uid": uid, "resourceVersion": fmt.Sprint(revision)},
	}}
}

func things(revision int, items ...*unstructured.Unstructured) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "PodList", "metadata": map[string]any{"resourceVersion": fmt.Sprint(revision)}}}
	for _, o := range items {
		list.Items = append(list.Items, *o)
	}
	return list
}

// newEar has heard of a at 5 and of b, which is gone.
func newEar() *ear {
	h := &ear{kind: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, hear: func(any, bool, bool) {}, known: map[types.UID]uint64{}}
	h.OnAdd(thing("a", 3), true)
	h.OnUpdate(nil, thing("a", 5))
	h.OnAdd(thing("b", 4), false)
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "x/b", Obj: thing("b", 6)})
	return h
}

// A watch has told of all if it knows of each that exists, and of each that does not.
func TestToldOf(t *testing.T) {
	for name, tc := range map[string]struct {
		list *unstructured.UnstructuredList
		want bool
	}{
		"as it is":             {things(7, thing("a", 5)), true},
		"as it was before":     {things(4, thing("a", 3)), true},
		"a change is missing":  {things(8, thing("a", 8)), false},
		"one is missing":       {things(8, thing("a", 5), thing("c", 8)), false},
		"an end is missing":    {things(8), false},
		"it was made since":    {things(4), true},
		"what is gone existed": {things(5, thing("a", 5), thing("b", 4)), false}, // and is listed no more when asked again
	} {
		if got := newEar().toldOf(tc.list); got != tc.want {
			t.Errorf("%s: told of all: %v", name, got)
		}
	}
}

// The end is judged when the slowest watch has told of it.
func TestFinalWaitsForAllWatches(t *testing.T) {
	api := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{{Version: "v1", Resource: "pods"}: "PodList"})
	h := newEar()
	h.api = api
	asked := 0
	api.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if asked++; asked == 3 {
			h.OnUpdate(nil, thing("a", 9))
		}
		return true, things(9, thing("a", 9)), nil
	})
	a := &Auditor{inbox: inbox{hold: time.Hour}, auditor: newAuditor(Options{Resource: "nvidia.com/gpu"}), ears: []*ear{h}}
	if _, err := a.Final(t.Context()); err != nil || asked != 3 {
		t.Errorf("after %d lists: %v, want it after the third", asked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.OnDelete(thing("a", 10))
	if _, err := a.Final(ctx); err == nil {
		t.Error("what the watch has not told of is judged")
	}
}
