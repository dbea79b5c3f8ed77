package jobs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Read is the job that an object of a suspendable kind is, or would be if it were
// created; false if it is of no such kind, or a Job. What follows from other objects is
// not known: a TrainJob's pods.
func Read(o *unstructured.Unstructured) (Job, bool) {
	for _, about := range suspendables() {
		if about.kind == o.GroupVersionKind() {
			return (&Suspendable{about: about}).job(o, nil), true
		}
	}
	return Job{}, false
}
