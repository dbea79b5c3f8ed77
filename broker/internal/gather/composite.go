package gather

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// composite is a workload of a kind that may be installed later; object is nil if there
// is none.
func composite(object *unstructured.Unstructured, ref v1alpha1.TargetRef, found *autoscaler.Found) (*target, *lend.Problem) {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	parts := []schema.GroupVersionKind{gvk}
	if gvk == autoscaler.KnativeServices { // without these its pods are not known to be its own
		parts = append(parts, autoscaler.KnativeConfigurations, autoscaler.KnativeRevisions)
	}
	for _, part := range parts {
		if slices.Contains(found.Unread, part.Kind) {
			return nil, unknownTarget(ref, "was not read yet: cannot read "+part.Kind)
		}
	}
	switch {
	case object == nil:
		return nil, unknownTarget(ref, "does not exist")
	case gvk == autoscaler.LeaderWorkerSets:
		return groupTarget(object, ref)
	}
	return serviceTarget(object, ref)
}

// groupTarget is a LeaderWorkerSet. A replica of it is a group of pods, which start and
// end together; a unit taken from one of them breaks all. A lender's replica is one pod,
// so groups of several are refused.
func groupTarget(o *unstructured.Unstructured, ref v1alpha1.TargetRef) (*target, *lend.Problem) {
	size, found, _ := unstructured.NestedInt64(o.Object, "spec", "leaderWorkerTemplate", "size")
	if found && size > 1 {
		return nil, unknownTarget(ref, fmt.Sprintf("has groups of %d pods (spec.leaderWorkerTemplate.size): only groups of one pod can lend", size))
	}
	t := &target{uid: o.GetUID(), replicas: 1, rolling: groupsRoll(o), scalable: true}
	if n, found, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); found {
		t.replicas = n
	}
	for _, name := range []string{"leaderTemplate", "workerTemplate"} {
		path := []string{"spec", "leaderWorkerTemplate", name}
		if _, set, _ := unstructured.NestedMap(o.Object, path...); set {
			return t.with(o, ref, path...)
		}
	}
	return nil, unknownTarget(ref, "has no pod template at spec.leaderWorkerTemplate.workerTemplate")
}

// serviceTarget is a Knative Service. It has no replicas of its own: its PodAutoscalers
// say how many there should be.
func serviceTarget(o *unstructured.Unstructured, ref v1alpha1.TargetRef) (*target, *lend.Problem) {
	t := &target{uid: o.GetUID(), rolling: serviceRolls(o)}
	return t.with(o, ref, "spec", "template")
}

// with adds the pod template at a path.
func (t *target) with(o *unstructured.Unstructured, ref v1alpha1.TargetRef, path ...string) (*target, *lend.Problem) {
	raw, found, err := unstructured.NestedMap(o.Object, path...)
	if err != nil || !found || runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &t.template) != nil {
		return nil, unknownTarget(ref, "has no pod template at "+strings.Join(path, "."))
	}
	return t, nil
}

// refOf is the policy's target.
func refOf(p *v1alpha1.LendingPolicy) autoscaler.Ref {
	ref := p.Spec.TargetRef
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	return autoscaler.Ref{Namespace: p.Namespace, Group: gvk.Group, Kind: gvk.Kind, Name: ref.Name}
}

// unreadAutoscalers says which kinds of autoscalers there may be without us knowing;
// empty if we do.
func unreadAutoscalers(found *autoscaler.Found) string {
	var kinds []string
	for _, gvk := range []schema.GroupVersionKind{autoscaler.ScaledObjects, autoscaler.PodAutoscalers, autoscaler.VariantAutoscalings} {
		if slices.Contains(found.Unread, gvk.Kind) {
			kinds = append(kinds, gvk.Kind)
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return "it is not known whether an autoscaler has the target: cannot read " + strings.Join(kinds, ", ")
}
