package autoscaler

import (
	"cmp"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations of PodAutoscalers, the present name and the one before.
var (
	annotationsMin = []string{"autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"}
	annotationsMax = []string{"autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"}
)

// knative adds the PodAutoscalers: each to the Deployment of its Revision, and all of a
// Service's Revisions, together, to the Service.
func (s *Set) knative(found *Found) {
	owners := found.Owners()
	services := map[types.UID]*unstructured.Unstructured{}
	found.each(KnativeServices, func(o *unstructured.Unstructured) { services[o.GetUID()] = o })
	sums := map[types.UID]*Autoscaler{}
	found.each(PodAutoscalers, func(o *unstructured.Unstructured) {
		a := ofPodAutoscaler(o)
		s.add(refOf(o.GetNamespace(), text(o, "spec", "scaleTargetRef", "apiVersion"),
			text(o, "spec", "scaleTargetRef", "kind"), text(o, "spec", "scaleTargetRef", "name")), a)
		if service := services[serviceOf(o, owners)]; service != nil {
			sums[service.GetUID()] = sums[service.GetUID()].join(a)
		}
	})
	for uid, a := range sums {
		o := services[uid]
		s.add(Ref{o.GetNamespace(), KnativeServices.Group, KnativeServices.Kind, o.GetName()}, *a)
	}
}

// serviceOf is the UID three owners above: Revision, Configuration, Service.
func serviceOf(pa *unstructured.Unstructured, owners map[types.UID]types.UID) types.UID {
	ref := metav1.GetControllerOfNoCopy(pa)
	if ref == nil {
		return ""
	}
	return owners[owners[ref.UID]]
}

func ofPodAutoscaler(o *unstructured.Unstructured) Autoscaler {
	a := Autoscaler{Kind: o.GetKind(), Name: o.GetName(), Min: annotated(o, annotationsMin), Max: annotated(o, annotationsMax)}
	a.Slots, _ = integer(o, "spec", "containerConcurrency")
	desired, known := integer(o, "status", "desiredScale")
	a.Desired = max(desired, 0)
	a.AtMax = a.Max > 0 && a.Desired >= a.Max
	active, reason := Condition(o, "Active")
	// Below 0 it has no numbers. One that is not active had its target scaled to zero.
	if (!known || desired < 0) && active != "False" || reason == "NoMetrics" {
		a.Blind = fmt.Sprintf("%s cannot tell how many replicas are needed: NoMetrics", &a)
	}
	return a
}

func annotated(o *unstructured.Unstructured, names []string) int64 {
	for _, name := range names {
		if n, err := strconv.ParseInt(o.GetAnnotations()[name], 10, 32); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// join adds another Revision's: each serves a part of the requests. Which of them has
// which name does not matter, so that their order does not.
func (a *Autoscaler) join(b Autoscaler) *Autoscaler {
	if a == nil {
		return &b
	}
	a.Desired += b.Desired
	a.Min, a.Max = max(a.Min, b.Min), max(a.Max, b.Max)
	a.AtMax = a.AtMax || b.AtMax
	if a.Blind == "" || b.Blind != "" && b.Blind < a.Blind {
		a.Blind = cmp.Or(b.Blind, a.Blind)
	}
	if a.Slots == 0 || b.Slots > 0 && b.Slots < a.Slots {
		a.Slots = b.Slots
	}
	a.Name = max(a.Name, b.Name)
	return a
}
