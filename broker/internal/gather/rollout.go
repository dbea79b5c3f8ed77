package gather

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
)

// While a workload is rolled out it has more pods than replicas, and its new ones are
// slower than its old ones: what it needs then says nothing about what it needs later.

// deploymentRolls tells whether a Deployment is being rolled out, one that was paused in
// the middle of it included.
func deploymentRolls(d *appsv1.Deployment) bool {
	s := &d.Status
	return s.ObservedGeneration < d.Generation || s.UpdatedReplicas < s.Replicas || s.UpdatedReplicas < ptr.Deref(d.Spec.Replicas, 1)
}

// setRolls tells the same of a StatefulSet. The replicas below a partition are meant to
// stay as they are, and with OnDelete it is somebody else who replaces them.
func setRolls(s *appsv1.StatefulSet) bool {
	if s.Status.ObservedGeneration < s.Generation {
		return true
	}
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return false
	}
	wanted := ptr.Deref(s.Spec.Replicas, 1)
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		wanted -= ptr.Deref(r.Partition, 0)
	}
	return s.Status.UpdateRevision != s.Status.CurrentRevision && s.Status.UpdatedReplicas < wanted
}

// groupsRoll tells the same of a LeaderWorkerSet.
func groupsRoll(o *unstructured.Unstructured) bool {
	status, _ := autoscaler.Condition(o, "UpdateInProgress")
	return status == "True"
}

// serviceRolls tells the same of a Knative Service: its newest Revision does not serve
// yet.
func serviceRolls(o *unstructured.Unstructured) bool {
	created, _, _ := unstructured.NestedString(o.Object, "status", "latestCreatedRevisionName")
	ready, _, _ := unstructured.NestedString(o.Object, "status", "latestReadyRevisionName")
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	return created != ready || observed < o.GetGeneration()
}
