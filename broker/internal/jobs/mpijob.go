package jobs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var kindMPIJob = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "MPIJob"}

// mpiJob: as a PyTorchJob, but none is elastic: mpirun has a fixed number of processes.
func mpiJob() *about {
	return &about{
		kind: kindMPIJob, suspend: []string{"spec", "runPolicy", "suspend"},
		ended: func(o *unstructured.Unstructured) bool { return hasCondition(o, "Succeeded", "Failed") },
		sets: func(o, _ *unstructured.Unstructured) (sets []podSet, problem string, err error) {
			sets, err = replicaSets(o, "mpiReplicaSpecs")
			return sets, "", err
		},
	}
}
