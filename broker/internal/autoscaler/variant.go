package autoscaler

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ofVariant reads a VariantAutoscaling. It scales nothing by itself: what it wants
// becomes a metric that a HorizontalPodAutoscaler or a ScaledObject reads, later.
func ofVariant(o *unstructured.Unstructured) (Ref, Autoscaler) {
	a := Autoscaler{Kind: o.GetKind(), Name: o.GetName()}
	a.Desired, _ = integer(o, "status", "desiredOptimizedAlloc", "numReplicas")
	if status, reason := Condition(o, "MetricsAvailable"); status == "False" {
		a.Blind = fmt.Sprintf("%s has no metrics: %s", &a, cmp.Or(reason, "no reason given"))
	}
	// Before it had a reference, it had its Deployment's name.
	return refOf(o.GetNamespace(), cmp.Or(text(o, "spec", "scaleTargetRef", "apiVersion"), "apps/v1"),
		cmp.Or(text(o, "spec", "scaleTargetRef", "kind"), "Deployment"),
		cmp.Or(text(o, "spec", "scaleTargetRef", "name"), o.GetName())), a
}
