package gather

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Reasons of a LendingPolicy, or of a job, that cannot be used.
const (
	ReasonUnknownTarget   = "UnknownTarget"
	ReasonDuplicateTarget = "DuplicateTarget"
	ReasonOwnedUnknown    = "OwnedUnknown"
	ReasonNoUnits         = "NoUnits"
	ReasonInvalidPolicy   = "InvalidPolicy"
)

// liveTimeout bounds the read of a target that has no cache.
const liveTimeout = 2 * time.Second

// target is the workload behind a LendingPolicy.
type target struct {
	uid      types.UID
	replicas int64
	template corev1.PodTemplateSpec
	// rolling: its pods are being replaced.
	rolling bool
	// scalable: it has a scale subresource.
	scalable bool
}

// target reads the workload. Kinds without a cache are read live, through their
// scale subresource and spec.template.
func (g *Gatherer) target(ctx context.Context, namespace string, ref v1alpha1.TargetRef, found *autoscaler.Found) (*target, *lend.Problem, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	switch gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind); gvk {
	case appsv1.SchemeGroupVersion.WithKind("Deployment"):
		var d appsv1.Deployment
		if problem, err := g.cached(ctx, key, ref, &d); problem != nil || err != nil {
			return nil, problem, err
		}
		return &target{d.UID, int64(ptr.Deref(d.Spec.Replicas, 1)), d.Spec.Template, deploymentRolls(&d), true}, nil, nil
	case appsv1.SchemeGroupVersion.WithKind("StatefulSet"):
		var s appsv1.StatefulSet
		if problem, err := g.cached(ctx, key, ref, &s); problem != nil || err != nil {
			return nil, problem, err
		}
		return &target{s.UID, int64(ptr.Deref(s.Spec.Replicas, 1)), s.Spec.Template, setRolls(&s), true}, nil, nil
	case autoscaler.LeaderWorkerSets, autoscaler.KnativeServices:
		t, problem := composite(found.Get(gvk, key), ref, found)
		return t, problem, nil
	}
	return g.otherTarget(ctx, key, ref)
}

// cached reads a workload of a kind that has a cache.
func (g *Gatherer) cached(ctx context.Context, key types.NamespacedName, ref v1alpha1.TargetRef, into client.Object) (*lend.Problem, error) {
	err := g.Cache.Get(ctx, key, into)
	if apierrors.IsNotFound(err) {
		return unknownTarget(ref, "does not exist"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", ref.Kind, key, err)
	}
	return nil, nil
}

func unknownTarget(ref v1alpha1.TargetRef, why string) *lend.Problem {
	return &lend.Problem{
		Reason:  ReasonUnknownTarget,
		Message: fmt.Sprintf("spec.targetRef: %s %s %s %s", ref.APIVersion, ref.Kind, ref.Name, why),
	}
}

// otherTarget reads a workload of any kind. What goes wrong here concerns one
// lender and is its problem, not the decision's.
func (g *Gatherer) otherTarget(ctx context.Context, key types.NamespacedName, ref v1alpha1.TargetRef) (*target, *lend.Problem, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, unknownTarget(ref, "has an invalid apiVersion"), nil
	}
	var object unstructured.Unstructured
	object.SetGroupVersionKind(gv.WithKind(ref.Kind))
	if err := g.Live.Get(ctx, key, &object); err != nil {
		return nil, unknownTarget(ref, "cannot be read: "+string(apierrors.ReasonForError(err))), nil
	}
	scale, replicas, err := ReadScale(ctx, g.Scales, &object)
	switch {
	case scale == nil:
		return nil, unknownTarget(ref, "has no scale subresource that can be read"), nil
	case err != nil:
		return nil, unknownTarget(ref, "has a scale subresource without a number of replicas"), nil
	}
	t := &target{uid: object.GetUID(), replicas: replicas, scalable: true}
	t, problem := t.with(&object, ref, "spec", "template")
	return t, problem, nil
}

// ReadScale reads the scale subresource of an object of any kind, and the replicas that
// are set in it. It returns no scale where there is none that can be read.
func ReadScale(ctx context.Context, scales Scaler, object *unstructured.Unstructured) (scale *unstructured.Unstructured, replicas int64, err error) {
	// Objects without a Go type have scales without one.
	scale = &unstructured.Unstructured{}
	scale.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	if err := scales.SubResource("scale").Get(ctx, object, scale); err != nil {
		return nil, 0, err
	}
	replicas, _, err = unstructured.NestedInt64(scale.Object, "spec", "replicas") // 0 is left out
	return scale, replicas, err
}

// Scaler gives access to subresources; client.Client is one.
type Scaler interface {
	SubResource(name string) client.SubResourceClient
}
