package jobs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var kindTrainJob = schema.GroupVersionKind{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"}

// trainJob: its pods follow from its runtime, by way of a JobSet of its name, which its
// controller makes, and keeps up to date, while both are suspended. A suspension is the
// JobSet's. Its controller changes conditions of its own only.
func trainJob() *about {
	return &about{
		kind: kindTrainJob, suspend: []string{"spec", "suspend"}, conditions: true,
		ended: func(o *unstructured.Unstructured) bool {
			// A runtime that is not supported may become so: the controller tries again.
			for _, c := range itemsIn(o.Object, "status", "conditions") {
				if c["type"] == "Failed" && c["reason"] == "TrainingRuntimeNotSupported" {
					return false
				}
			}
			return hasCondition(o, "Complete", "Failed")
		},
		part: func(o *unstructured.Unstructured) (schema.GroupVersionKind, string) { return kindJobSet, o.GetName() },
		runs: func(o *unstructured.Unstructured) (*about, string) { return jobSet(), o.GetName() },
		sets: trainJobSets,
	}
}

func trainJobSets(o, jobSet *unstructured.Unstructured) (sets []podSet, problem string, err error) {
	if jobSet == nil {
		return nil, "its JobSet does not exist yet: its controller makes one of spec.runtimeRef", nil
	}
	sets, problem, err = jobSetSets(jobSet)
	if err == nil && problem == "" {
		problem = outdated(o, jobSet)
	}
	return sets, problem, err
}

// outdated says that the JobSet does not have the size that the TrainJob asks for since
// it was last changed. A launcher may be one of the nodes.
func outdated(o, jobSet *unstructured.Unstructured) string {
	nodes := numberIn(o.Object, 0, "spec", "trainer", "numNodes")
	if nodes == 0 {
		return ""
	}
	var made int64
	for _, job := range itemsIn(jobSet.Object, "spec", "replicatedJobs") {
		if name, _, _ := unstructured.NestedString(job, "name"); name == "node" {
			made = numberIn(job, 1, "template", "spec", "parallelism")
		}
	}
	if made == 0 || made == nodes || made == max(nodes-1, 1) {
		return ""
	}
	return "its JobSet is not up to date yet: it has not the spec.trainer.numNodes that are asked for"
}
