package scenarios

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kindOfJob is a kind of job, and what is to be seen of it under its own controller.
type kindOfJob struct {
	// name of its island, which is its manifest's and its namespace's too; object's own.
	name, object string
	resource     schema.GroupVersionResource
	// suspend is the field that keeps it from running; none: its pods wait instead.
	suspend []string
	// pods hold units when it runs, least when it has given back what one replica of the
	// service needs; 0: it stops whole.
	pods, least int
	// units of the island's only node; 0: eight.
	units int64
	// each pod is a job of its own.
	each bool
	// forGood: when it is stopped, nobody makes it anew.
	forGood bool
	// index is the label of the pods with their number, if those of the lowest ones stay.
	index string
	// ended tells whether it has finished, by its status; nil: it never does by itself.
	ended func(status map[string]any) bool
	// last tells, by a label, the pods whose end is its own; none: all do.
	last string
	// replaces is how many pods its controller may stop for others when it gets smaller.
	replaces int
	// counters are fields of the status that count restarts or failures.
	counters [][]string
}

// island is how many units the kind's node has.
func (k *kindOfJob) island() int64 { return cmp.Or(k.units, 8) }

var kindsOfJobs = []kindOfJob{
	{
		name: "job", object: "tune", resource: schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
		suspend: []string{"spec", "suspend"}, pods: 8, least: 4, ended: hasCondition("Complete"), counters: [][]string{{"failed"}},
	},
	{
		name: "indexed", object: "ranks", resource: schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
		suspend: []string{"spec", "suspend"}, pods: 12, least: 6, units: 12, index: "batch.kubernetes.io/job-completion-index",
		ended: hasCondition("Complete"), counters: [][]string{{"failed"}},
	},
	{
		name: "jobset", object: "pretrain", resource: schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"},
		suspend: []string{"spec", "suspend"}, pods: 4, ended: hasCondition("Completed"),
		counters: [][]string{{"restarts"}, {"restartsCountTowardsMax"}},
	},
	{
		name: "trainjob", object: "finetune", resource: schema.GroupVersionResource{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"},
		suspend: []string{"spec", "suspend"}, pods: 2, ended: hasCondition("Complete"),
	},
	{
		name: "pytorchjob", object: "resnet", resource: schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"},
		suspend: []string{"spec", "runPolicy", "suspend"}, pods: 12, least: 6, units: 12, index: "training.kubeflow.org/replica-index",
		ended: hasCondition("Succeeded"), counters: [][]string{{"replicaStatuses", "Worker", "failed"}},
	},
	{
		name: "mpijob", object: "horovod", resource: schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "mpijobs"},
		suspend: []string{"spec", "runPolicy", "suspend"}, pods: 2,
		ended: hasCondition("Succeeded"), last: "training.kubeflow.org/replica-type=launcher",
		counters: [][]string{{"replicaStatuses", "Launcher", "failed"}, {"replicaStatuses", "Worker", "failed"}},
	},
	{
		name: "rayjob", object: "tune-ray", resource: schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayjobs"},
		suspend: []string{"spec", "suspend"}, pods: 4, least: 2, last: "batch.kubernetes.io/job-name=tune-ray",
		ended: func(status map[string]any) bool { return status["jobDeploymentStatus"] == "Complete" }, counters: [][]string{{"failed"}},
		replaces: 1,
	},
	{
		name: "raycluster", object: "notebook", resource: schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"},
		suspend: []string{"spec", "suspend"}, pods: 4, least: 2, replaces: 1,
	},
	{
		name: "lws", object: "batch-infer", resource: schema.GroupVersionResource{Group: "leaderworkerset.x-k8s.io", Version: "v1", Resource: "leaderworkersets"},
		pods: 2,
	},
	{
		name: "deployment", object: "offline", resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
		pods: 2, least: 1, each: true,
	},
	{
		name: "podgroup", object: "pair-0", resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"},
		pods: 2, forGood: true, ended: func(status map[string]any) bool { return status["phase"] == "Succeeded" },
	},
}

// kindNamed is one of them.
func kindNamed(name string) kindOfJob {
	return kindsOfJobs[slices.IndexFunc(kindsOfJobs, func(k kindOfJob) bool { return k.name == name })]
}

// hasCondition is true of a status whose condition of that type is.
func hasCondition(kind string) func(map[string]any) bool {
	return func(status map[string]any) bool {
		conditions, _, _ := unstructured.NestedSlice(status, "conditions")
		return slices.ContainsFunc(conditions, func(c any) bool {
			condition, ok := c.(map[string]any)
			return ok && condition["type"] == kind && condition["status"] == "True"
		})
	}
}
