// Package manifest applies manifests to a cluster and returns when they are in
// force: custom resources are served, and admission policies act.
package manifest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

const (
	fieldManager = "ebbtide-lab"
	// settleTime is how long a new kind may be unknown, or a new namespace's
	// objects refused, before it counts as an error; on a busy machine, too.
	settleTime     = time.Minute
	settleInterval = 50 * time.Millisecond
)

const (
	groupCRD = "apiextensions.k8s.io"
	kindCRD  = "CustomResourceDefinition"
	kindList = "List"
)

// Applier applies objects of any kind the server knows.
type Applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// NewApplier returns an Applier for the cluster that both clients talk to.
func NewApplier(client dynamic.Interface, kinds discovery.DiscoveryInterface) *Applier {
	return &Applier{
		client: client,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)),
	}
}

// Apply applies manifests (YAML or JSON, any number of documents each) by
// server-side apply. Custom resource definitions go first and are waited for,
// then namespaces, then everything else in the order given. When it returns, the
// API server enforces every admission policy among them.
//
// An object without a namespace, of a kind that has one, goes to "default".
func (a *Applier) Apply(ctx context.Context, manifests ...[]byte) error {
	objects, err := parse(manifests)
	if err != nil {
		return err
	}
	slices.SortStableFunc(objects, func(x, y *unstructured.Unstructured) int { return rank(x) - rank(y) })
	definitions := 0
	for definitions < len(objects) && rank(objects[definitions]) == 0 {
		definitions++
	}
	if err := a.applyAll(ctx, objects[:definitions]); err != nil {
		return err
	}
	if err := a.established(ctx, objects[:definitions]); err != nil {
		return err
	}
	if err := a.applyAll(ctx, objects[definitions:]); err != nil {
		return err
	}
	return a.enforced(ctx, objects[definitions:])
}

func parse(manifests [][]byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for i, manifest := range manifests {
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
		for {
			doc, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				objects, err = appendObjects(objects, doc)
			}
			if err != nil {
				return nil, fmt.Errorf("read manifest %d: %w", i, err)
			}
		}
	}
	return objects, nil
}

// appendObjects adds the object that doc holds, or the items of its list, or
// nothing for an empty document.
func appendObjects(objects []*unstructured.Unstructured, doc []byte) ([]*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
		return nil, err
	}
	if len(obj.Object) == 0 {
		return objects, nil
	}
	if obj.GetKind() == "" || obj.GetAPIVersion() == "" {
		return nil, errors.New("a document has no apiVersion or no kind")
	}
	if obj.GetKind() != kindList {
		return append(objects, obj), nil
	}
	err := obj.EachListItem(func(item runtime.Object) error {
		objects = append(objects, item.(*unstructured.Unstructured))
		return nil
	})
	return objects, err
}

func rank(obj *unstructured.Unstructured) int {
	switch obj.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: groupCRD, Kind: kindCRD}:
		return 0
	case schema.GroupKind{Kind: "Namespace"}:
		return 1
	}
	return 2
}

func (a *Applier) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if err := a.apply(ctx, obj); err != nil {
			return err
		}
	}
	return nil
}

// apply applies one object, giving the server a moment to learn of a kind or a
// namespace that was created just before.
func (a *Applier) apply(ctx context.Context, obj *unstructured.Unstructured) error {
	deadline := time.Now().Add(settleTime)
	for {
		err := a.try(ctx, obj)
		if err == nil {
			return nil
		}
		unsettled := meta.IsNoMatchError(err) || apierrors.IsNotFound(err)
		if !unsettled || time.Now().After(deadline) {
			return fmt.Errorf("apply %s: %w", describe(obj), err)
		}
		a.mapper.Reset()
		if pause(ctx, settleInterval) != nil {
			return fmt.Errorf("apply %s: %w", describe(obj), err)
		}
	}
}

func (a *Applier) try(ctx context.Context, obj *unstructured.Unstructured) error {
	resource, err := a.resource(obj)
	if err != nil {
		return err
	}
	_, err = resource.Apply(ctx, obj.GetName(), obj, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

func (a *Applier) resource(obj *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := obj.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	resource := a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return resource, nil
	}
	if obj.GetNamespace() == "" {
		obj.SetNamespace(corev1.NamespaceDefault)
	}
	return resource.Namespace(obj.GetNamespace()), nil
}

// established waits until the server serves the kinds that the definitions name.
func (a *Applier) established(ctx context.Context, definitions []*unstructured.Unstructured) error {
	crds := schema.GroupVersionResource{Group: groupCRD, Version: "v1", Resource: "customresourcedefinitions"}
	for _, want := range definitions {
		for {
			crd, err := a.client.Resource(crds).Get(ctx, want.GetName(), metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("read %s: %w", describe(want), err)
			}
			if hasCondition(crd, "Established") {
				break
			}
			if err := pause(ctx, settleInterval); err != nil {
				return fmt.Errorf("wait until %s is established: %w", describe(want), err)
			}
		}
	}
	a.mapper.Reset()
	return nil
}

func hasCondition(obj *unstructured.Unstructured, kind string) bool {
	conditions, _, err := unstructured.NestedSlice(obj.Object, "status", "conditions")
	if err != nil {
		return false
	}
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == kind {
			return condition["status"] == string(metav1.ConditionTrue)
		}
	}
	return false
}

func describe(obj *unstructured.Unstructured) string {
	name := obj.GetName()
	if ns := obj.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return obj.GetKind() + " " + name
}

// pause waits for d, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
