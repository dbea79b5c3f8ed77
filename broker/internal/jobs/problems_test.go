package jobs

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// at changes a field of an object, where a number is the place in a list.
func at(t *testing.T, of any, value any, path ...any) {
	t.Helper()
	for _, step := range path[:len(path)-1] {
		switch s := step.(type) {
		case string:
			fields := of.(map[string]any)
			if fields[s] == nil {
				fields[s] = map[string]any{}
			}
			of = fields[s]
		case int:
			of = of.([]any)[s]
		}
	}
	last, fields := path[len(path)-1].(string), of.(map[string]any)
	if value == nil {
		delete(fields, last)
		return
	}
	fields[last] = value
}

type edit struct {
	value any
	path  []any
}

func limits(resource, n string) map[string]any {
	return map[string]any{"limits": map[string]any{resource: n}}
}

// TestProblems: what is wrong with a job is said, and names the fields.
func TestProblems(t *testing.T) {
	jobs := []any{"spec", "replicatedJobs"}
	container := []any{"template", "spec", "containers", 0, "resources"}
	launcher := append(append([]any{}, append(jobs, 0, "template", "spec")...), container...)
	workers := []any{"spec", "workerGroupSpecs"}
	borrower := edit{"ebbtide-borrower", append(jobs, 1, "template", "spec", "template", "spec", "priorityClassName")}
	for name, test := range map[string]struct {
		example string
		edits   []edit
		want    []string // nothing: no problem
		pods    int64
	}{
		"launcher with the same":  {"jobset", []edit{{limits(gpu, "1"), launcher}}, nil, 5},
		"launcher with more":      {"jobset", []edit{{limits(gpu, "2"), launcher}}, []string{"spec.replicatedJobs[launcher].template", "spec.replicatedJobs[workers].template", "2 nvidia.com/gpu", "1 nvidia.com/gpu"}, 5},
		"launcher with others":    {"jobset", []edit{{limits("rdma/hca", "1"), launcher}}, []string{"1 rdma/hca"}, 5},
		"launcher elsewhere":      {"jobset", []edit{{limits(gpu, "1"), launcher}, {map[string]any{"zone": "a"}, append(jobs, 0, "template", "spec", "template", "spec", "nodeSelector")}}, []string{"nodeSelector", "spec.replicatedJobs[launcher].template"}, 5},
		"launcher more important": {"jobset", []edit{{limits(gpu, "1"), launcher}, {"high", append(jobs, 0, "template", "spec", "template", "spec", "priorityClassName")}}, []string{"priorityClassName"}, 5},
		"launcher with none":      {"jobset", []edit{{limits(gpu, "0"), launcher}}, nil, 4},
		"one after another":       {"jobset", []edit{{limits(gpu, "1"), launcher}, {"InOrder", []any{"spec", "startupPolicy", "startupPolicyOrder"}}}, []string{"spec.startupPolicy.startupPolicyOrder"}, 5},
		"launcher first":          {"jobset", []edit{{"InOrder", []any{"spec", "startupPolicy", "startupPolicyOrder"}}}, nil, 4},
		"depends":                 {"jobset", []edit{{limits(gpu, "1"), launcher}, {[]any{map[string]any{"name": "launcher", "status": "Ready"}}, append(jobs, 1, "dependsOn")}}, []string{"spec.replicatedJobs[workers].dependsOn"}, 5},
		"depends on a launcher":   {"jobset", []edit{{[]any{map[string]any{"name": "launcher", "status": "Ready"}}, append(jobs, 1, "dependsOn")}}, nil, 4},
		"exclusive":               {"jobset", []edit{{"rack", []any{"metadata", "annotations", annotationExclusive}}, borrower}, []string{"spec.replicatedJobs[workers].template.spec.priorityClassName", "ebbtide-training"}, 4},
		"one Job is exclusive":    {"jobset", []edit{{map[string]any{annotationExclusive: "rack"}, append(jobs, 1, "template", "metadata", "annotations")}, borrower}, []string{annotationExclusive}, 4},
		"another Job is":          {"jobset", []edit{{map[string]any{annotationExclusive: "rack"}, append(jobs, 0, "template", "metadata", "annotations")}, borrower}, nil, 4},
		"exclusive, at 0":         {"jobset", []edit{{"rack", []any{"metadata", "annotations", annotationExclusive}}}, nil, 4},
		"none asks":               {"jobset", []edit{{nil, append(append([]any{}, append(jobs, 1, "template", "spec")...), container...)}}, nil, 5},
		"no template":             {"jobset", []edit{{nil, append(jobs, 1, "template", "spec", "template")}}, []string{"spec.replicatedJobs[workers].template"}, 0},
		"fewer completions":       {"jobset", []edit{{int64(1), append(jobs, 1, "template", "spec", "completions")}}, nil, 2},
		"runtime has other size":  {"trainjob", []edit{{int64(4), []any{"spec", "trainer", "numNodes"}}}, []string{"JobSet", "spec.trainer.numNodes"}, 2},
		"launcher is a node":      {"trainjob", []edit{{int64(3), []any{"spec", "trainer", "numNodes"}}}, nil, 2},
		"size of the runtime":     {"trainjob", []edit{{nil, []any{"spec", "trainer", "numNodes"}}}, nil, 2},
		"autoscaled":              {"pytorchjob", []edit{{[]any{map[string]any{"type": "Resource"}}, []any{"spec", "elasticPolicy", "metrics"}}}, []string{"spec.elasticPolicy.metrics"}, 4},
		"Ray's autoscaler":        {"raycluster", []edit{{true, []any{"spec", "enableInTreeAutoscaling"}}}, []string{"spec.enableInTreeAutoscaling"}, 4},
		"Ray's autoscaler in job": {"rayjob", []edit{{true, []any{"spec", "rayClusterSpec", "enableInTreeAutoscaling"}}}, []string{"spec.rayClusterSpec.enableInTreeAutoscaling"}, 4},
		"stays up":                {"rayjob", []edit{{false, []any{"spec", "shutdownAfterJobFinishes"}}}, []string{"spec.shutdownAfterJobFinishes"}, 4},
		"on a cluster":            {"rayjob", []edit{{map[string]any{"ray.io/cluster": "c"}, []any{"spec", "clusterSelector"}}}, []string{"spec.clusterSelector"}, 0},
		"submitter asks": {"rayjob", []edit{{map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "s", "resources": limits(gpu, "1")}}}},
			[]any{"spec", "submitterPodTemplate"}}}, []string{"spec.submitterPodTemplate"}, 4},
		"hosts":             {"raycluster", []edit{{int64(2), append(workers, 0, "numOfHosts")}}, nil, 8},
		"fewer than it may": {"raycluster", []edit{{int64(1), append(workers, 0, "replicas")}}, nil, 2},
		"more than it may":  {"raycluster", []edit{{int64(9), append(workers, 0, "replicas")}}, nil, 4},
		"stopped group":     {"raycluster", []edit{{true, append(workers, 0, "suspend")}}, nil, 1},
		"head asks":         {"raycluster", []edit{{limits(gpu, "1"), append([]any{"spec", "headGroupSpec"}, container...)}}, nil, 5},
	} {
		t.Run(name, func(t *testing.T) {
			objects := objectsOf(t, test.example)
			for _, e := range test.edits {
				at(t, objects[0].(*unstructured.Unstructured).Object, e.value, e.path...)
			}
			s, c := cluster(t, objects...)
			job := only(t, s, c)
			if job.Pods != test.pods || (job.Problem == "") != (len(test.want) == 0) {
				t.Fatalf("%d pods, problem %q", job.Pods, job.Problem)
			}
			for _, part := range test.want {
				if !strings.Contains(job.Problem, part) {
					t.Errorf("%q does not name %q", job.Problem, part)
				}
			}
			gang := Gang{job.Pods, gpu, UnitsOf(&job.Template.Spec, gpu)}
			if err := s.Resume(t.Context(), job.Ref, 1, gang); errors.Is(err, ErrChanged) != (len(test.want) > 0) {
				t.Errorf("resumed: %v", err)
			}
		})
	}
}

// TestDependsInBetween: what stands between two sets of a gang makes one wait for the other.
func TestDependsInBetween(t *testing.T) {
	o := example(t, "jobset")[0]
	jobs, _, _ := unstructured.NestedSlice(o.Object, "spec", "replicatedJobs")
	named := func(name string, from int, dependsOn ...any) any {
		job := (&unstructured.Unstructured{Object: jobs[from].(map[string]any)}).DeepCopy().Object
		job["name"] = name
		for _, on := range dependsOn {
			job["dependsOn"] = append(itemsAny(job["dependsOn"]), map[string]any{"name": on, "status": "Ready"})
		}
		return job
	}
	for name, test := range map[string]struct {
		between int // of the example: 0 asks for nothing
		on      []any
		problem bool
	}{
		"a launcher":            {0, []any{"first"}, true},
		"a launcher by itself":  {0, nil, false},
		"a circle of launchers": {0, []any{"last", "between"}, true}, // last is above last
	} {
		t.Run(name, func(t *testing.T) {
			list := []any{named("first", 1), named("between", test.between, test.on...), named("last", 1, "between")}
			if err := unstructured.SetNestedSlice(o.Object, list, "spec", "replicatedJobs"); err != nil {
				t.Fatal(err)
			}
			s, c := cluster(t, o.DeepCopy())
			job := only(t, s, c)
			if (job.Problem != "") != test.problem || test.problem && !strings.Contains(job.Problem, "spec.replicatedJobs[last].dependsOn") {
				t.Errorf("problem %q", job.Problem)
			}
		})
	}
}

func itemsAny(of any) []any {
	list, _ := of.([]any)
	return list
}

// TestRigidUnlessSaid: a minimum that says nothing makes no job elastic.
func TestRigidUnlessSaid(t *testing.T) {
	headAsks := edit{limits(gpu, "1"), []any{"spec", "headGroupSpec", "template", "spec", "containers", 0, "resources"}}
	for name, test := range map[string]struct {
		example string
		edit    edit
		want    int64
	}{
		"said":                      {"pytorchjob", edit{int64(3), []any{"spec", "elasticPolicy", "minReplicas"}}, 3},
		"all":                       {"pytorchjob", edit{int64(4), []any{"spec", "elasticPolicy", "minReplicas"}}, 0},
		"more than there are":       {"pytorchjob", edit{int64(9), []any{"spec", "elasticPolicy", "minReplicas"}}, 0},
		"no policy":                 {"pytorchjob", edit{nil, []any{"spec", "elasticPolicy"}}, 0},
		"a stopped worker fails it": {"pytorchjob", edit{"Never", []any{"spec", "pytorchReplicaSpecs", "Worker", "restartPolicy"}}, 0},
		"Ray's default":             {"raycluster", edit{int64(0), []any{"spec", "workerGroupSpecs", 0, "minReplicas"}}, 0},
		"Ray's replicas of two":     {"raycluster", edit{int64(2), []any{"spec", "workerGroupSpecs", 0, "numOfHosts"}}, 0},
		"Ray's head is of the gang": {"raycluster", headAsks, 3},
		"Ray's, in a job":           {"rayjob", edit{int64(1), []any{"spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"}}, 1},
	} {
		objects := objectsOf(t, test.example)
		at(t, objects[0].(*unstructured.Unstructured).Object, test.edit.value, test.edit.path...)
		if name == "Ray's default" { // the head alone is no minimum
			at(t, objects[0].(*unstructured.Unstructured).Object, headAsks.value, headAsks.path...)
		}
		s, c := cluster(t, objects...)
		if got := only(t, s, c); got.MinPods != test.want {
			t.Errorf("%s: at least %d of %d, want %d", name, got.MinPods, got.Pods, test.want)
		}
	}
}

// TestTrainJobWithoutJobSet: until its own JobSet is there, it waits for that; then it is
// seen anew.
func TestTrainJobWithoutJobSet(t *testing.T) {
	objects := objectsOf(t, "trainjob")
	s, c := cluster(t, objects[0])
	job := only(t, s, c)
	if !strings.Contains(job.Problem, "JobSet does not exist yet") || job.Pods != 0 {
		t.Fatalf("got %+v", job)
	}
	another := objects[1].DeepCopyObject().(*unstructured.Unstructured)
	another.SetOwnerReferences(nil)
	another.SetLabels(nil)
	if err := c.Create(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	if job := only(t, s, c); !strings.Contains(job.Problem, "JobSet does not exist yet") {
		t.Errorf("another's JobSet was taken for its own: %+v", job)
	}
	if err := c.Delete(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), objects[1]); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), c, func(_ types.UID, version string) bool { return version == job.Version })
	if err != nil || len(list) != 1 || list[0].Problem != "" || list[0].Pods != 2 {
		t.Errorf("with its JobSet: %+v, %v", list, err)
	}
	// Its controller tries unsupported runtimes again, and so the job has not ended.
	o := live(t, c, objects[0])
	status := conditions("Failed")
	at(t, status["conditions"].([]any)[0], "TrainingRuntimeNotSupported", "reason")
	o.Object["status"] = status
	if err := c.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if only(t, s, c).Finished {
		t.Error("it has ended for want of a runtime")
	}
}

// TestSuspendableStore: the store of an informer has all objects of the kind.
func TestSuspendableStore(t *testing.T) {
	queued := example(t, "mpijob")[0]
	free := queued.DeepCopy()
	free.SetName("free")
	free.SetLabels(map[string]string{v1alpha1.LabelQueue + "-not": "default"})
	kind := &Suspendable{about: mpiJob(), Store: store{queued, free, "something else"}}
	list, err := kind.List(t.Context(), nil, anything)
	if err != nil || len(list) != 1 || list[0].Key != client.ObjectKeyFromObject(queued) {
		t.Errorf("got %+v, %v", list, err)
	}
}
