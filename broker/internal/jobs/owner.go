package jobs

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// makesJobs are the kinds whose objects are made of objects of other kinds: what one of
// them controls is a part of it, and no job of its own, whatever labels were copied.
var makesJobs = map[schema.GroupKind]bool{
	kindJob.GroupKind():        true,
	kindJobSet.GroupKind():     true,
	kindTrainJob.GroupKind():   true,
	kindPyTorchJob.GroupKind(): true,
	kindMPIJob.GroupKind():     true,
	kindRayJob.GroupKind():     true,
	kindRayCluster.GroupKind(): true,
	kindLWS.GroupKind():        true,
}

// partOfJob tells whether an object is controlled by one of a kind that has a queue
// itself.
func partOfJob(object metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && makesJobs[schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()]
}
