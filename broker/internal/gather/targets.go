package gather

import (
	"cmp"
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
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
}

// target reads the workload. Kinds without a cache are read live, through their
// scale subresource and spec.template.
func (g *Gatherer) target(ctx context.Context, namespace string, ref v1alpha1.TargetRef) (*target, *lend.Problem, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	var t *target
	var err error
	switch {
	case ref.APIVersion == "apps/v1" && ref.Kind == "Deployment":
		var d appsv1.Deployment
		if err = g.Cache.Get(ctx, key, &d); err == nil {
			t = &target{d.UID, int64(ptr.Deref(d.Spec.Replicas, 1)), d.Spec.Template}
		}
	case ref.APIVersion == "apps/v1" && ref.Kind == "StatefulSet":
		var s appsv1.StatefulSet
		if err = g.Cache.Get(ctx, key, &s); err == nil {
			t = &target{s.UID, int64(ptr.Deref(s.Spec.Replicas, 1)), s.Spec.Template}
		}
	default:
		return g.otherTarget(ctx, key, ref)
	}
	if apierrors.IsNotFound(err) {
		return nil, unknownTarget(ref, "does not exist"), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s %s: %w", ref.Kind, key, err)
	}
	return t, nil, nil
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
	var scale autoscalingv1.Scale
	if err := g.Scales.SubResource("scale").Get(ctx, &object, &scale); err != nil {
		return nil, unknownTarget(ref, "has no scale subresource that can be read"), nil
	}
	t := &target{uid: object.GetUID(), replicas: int64(scale.Spec.Replicas)}
	raw, found, err := unstructured.NestedMap(object.Object, "spec", "template")
	if err != nil || !found || runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &t.template) != nil {
		return nil, unknownTarget(ref, "has no pod template at spec.template"), nil
	}
	return t, nil, nil
}

// Scaler gives access to subresources; client.Client is one.
type Scaler interface {
	SubResource(name string) client.SubResourceClient
}

// autoscalers are the HorizontalPodAutoscalers by what they scale.
type autoscalers map[scaled]*autoscalingv2.HorizontalPodAutoscaler

type scaled struct{ namespace, group, kind, name string }

func newAutoscalers(list []autoscalingv2.HorizontalPodAutoscaler) autoscalers {
	a := autoscalers{}
	for i := range list {
		hpa := &list[i]
		ref := hpa.Spec.ScaleTargetRef
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			continue
		}
		key := scaled{hpa.Namespace, gv.Group, ref.Kind, ref.Name}
		// Two autoscalers on one target fight; the choice only has to be stable.
		if old := a[key]; old == nil || cmp.Less(hpa.Name, old.Name) {
			a[key] = hpa
		}
	}
	return a
}

// scalingDisabled is the reason of an autoscaler that rests because its target is
// scaled to zero: nothing is wrong with it.
const scalingDisabled = "ScalingDisabled"

// blindness says why an autoscaler does not know what its target needs; empty if
// it does. What it wants is then older than it looks, so the load is unknown, too.
func blindness(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, c := range hpa.Status.Conditions {
		if c.Type == autoscalingv2.ScalingActive && c.Status == corev1.ConditionFalse && c.Reason != scalingDisabled {
			return fmt.Sprintf("HorizontalPodAutoscaler %s cannot tell how many replicas are needed: %s", hpa.Name, c.Reason)
		}
	}
	return ""
}

func (a autoscalers) of(namespace string, ref v1alpha1.TargetRef) *autoscalingv2.HorizontalPodAutoscaler {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil
	}
	return a[scaled{namespace, gv.Group, ref.Kind, ref.Name}]
}
