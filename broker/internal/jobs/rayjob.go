package jobs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var kindRayJob = schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayJob"}

// rayJob: a suspension deletes its RayCluster and its submitter, and submits the job
// anew when it is resumed; spec.backoffLimit counts failed submissions alone, of which
// a suspension is none. It has no conditions. Its cluster is made of what the RayJob
// says at each admission, so that one that was made smaller is whole the next time.
func rayJob() *about {
	return &about{
		kind: kindRayJob, suspend: []string{"spec", "suspend"},
		ended: func(o *unstructured.Unstructured) bool {
			status, _, _ := unstructured.NestedString(o.Object, "status", "jobDeploymentStatus")
			return status == "Complete" || status == "Failed"
		},
		sets: func(o, _ *unstructured.Unstructured) ([]podSet, string, error) { return rayJobSets(o) },
		grows: func(o *unstructured.Unstructured) (*about, string) {
			name, _, _ := unstructured.NestedString(o.Object, "status", "rayClusterName")
			return rayCluster(), name
		},
	}
}

func rayJobSets(o *unstructured.Unstructured) (sets []podSet, problem string, err error) {
	if selector, _, _ := unstructured.NestedMap(o.Object, "spec", "clusterSelector"); len(selector) > 0 {
		return nil, "spec.clusterSelector: a job on a cluster that exists cannot be suspended; queue the RayCluster", nil
	}
	if sets, problem, err = raySets(o, "spec", "rayClusterSpec"); err != nil {
		return nil, "", err
	}
	if shuts, _, _ := unstructured.NestedBool(o.Object, "spec", "shutdownAfterJobFinishes"); !shuts {
		problem = "spec.shutdownAfterJobFinishes must be true: KubeRay suspends no other job"
	}
	submitter := podSet{field: "spec.submitterPodTemplate", pods: 1}
	if submitter.template, err = templateIn(o.Object, "spec", "submitterPodTemplate"); err == nil && len(asking([]podSet{submitter})) > 0 {
		problem = "spec.submitterPodTemplate asks for units, but its pod starts when the cluster is ready; those of a gang start together"
	}
	return sets, problem, nil
}
