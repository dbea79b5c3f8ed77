package jobs

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var kindPyTorchJob = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"}

// pyTorchJob: a suspension deletes the pods before anything counts them;
// spec.runPolicy.backoffLimit counts the restarts of containers and failed pods. Its
// conditions are not those of the API conventions. Of fewer workers the first remain:
// another one that was stopped comes back.
func pyTorchJob() *about {
	return &about{
		kind: kindPyTorchJob, suspend: []string{"spec", "runPolicy", "suspend"},
		ended:  func(o *unstructured.Unstructured) bool { return hasCondition(o, "Succeeded", "Failed") },
		sets:   func(o, _ *unstructured.Unstructured) ([]podSet, string, error) { return pyTorchSets(o) },
		resize: resizePyTorch, indexLabel: "training.kubeflow.org/replica-index",
	}
}

const (
	pyTorchReplicas = "pytorchReplicaSpecs"
	roleWorker      = "Worker"
)

func pyTorchSets(o *unstructured.Unstructured) (sets []podSet, problem string, err error) {
	if sets, err = replicaSets(o, pyTorchReplicas); err != nil {
		return nil, "", err
	}
	if metrics := itemsIn(o.Object, "spec", "elasticPolicy", "metrics"); len(metrics) > 0 {
		problem = "spec.elasticPolicy.metrics: with them an autoscaler changes the job's size, which then is not the one that was admitted"
	}
	least := numberIn(o.Object, 0, "spec", "elasticPolicy", "minReplicas")
	for i := range sets {
		set := &sets[i]
		restarts, _, _ := unstructured.NestedString(o.Object, "spec", pyTorchReplicas, set.name, "restartPolicy")
		// With Never, a worker that is stopped fails the job.
		if set.name == roleWorker && least >= 1 && restarts != string(corev1.RestartPolicyNever) {
			set.min = min(set.pods, least)
		}
	}
	return sets, problem, nil
}

func resizePyTorch(_ *unstructured.Unstructured, fields map[string]any, to sizes, _ map[string][]string) error {
	pods, changes := to[roleWorker]
	if !changes {
		return nil
	}
	return unstructured.SetNestedField(fields, pods, "spec", pyTorchReplicas, roleWorker, "replicas")
}

// replicaSets are the pods of the training operator's kinds: one set for each role.
func replicaSets(o *unstructured.Unstructured, under string) (sets []podSet, err error) {
	found, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", under)
	roles, _ := found.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		role, ok := roles[name].(map[string]any)
		if !ok {
			continue
		}
		set := podSet{name: name, field: fmt.Sprintf("spec.%s.%s.template", under, name), pods: numberIn(role, 1, "replicas")}
		set.min = set.pods
		if set.template, err = templateIn(role, "template"); err != nil {
			return nil, fmt.Errorf("%s: %w", set.field, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}
