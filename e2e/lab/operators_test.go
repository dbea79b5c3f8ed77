package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// operatorWait bounds a step of an operator. KubeRay looks again only every three
// seconds, and needs several looks for a step.
const operatorWait = 3 * time.Minute

// operatorKind is a kind of job as its own operator runs it.
type operatorKind struct {
	name     string // of the object
	resource schema.GroupVersionResource
	manifest string
	// suspend is the field's path as JSON names it; a kind without one is stopped
	// by the deletion of its pods.
	suspend []string
	// pods says of which pods it consists when it runs: how many GPUs each asks for
	// and which controllers stand behind it, the nearest first.
	pods []string
	// suspended and finished are what the operator says in the object's status.
	// Kinds that do not finish have no finished.
	suspended, finished func(status map[string]any) bool
	// last tells, by a label, the pods whose end finishes the job; none: all do.
	last string
	// counters are fields of the status that count restarts or failures.
	counters [][]string
	// size is, for a kind that can shrink while it runs, the JSON pointer of the
	// number of its workers. sized, unless it is the object itself, is what holds it.
	size  string
	sized func(status map[string]any) (schema.GroupVersionResource, string)
}

var rayClusters = schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}

var operatorKinds = []operatorKind{
	{
		name: "sweep", manifest: "jobset", resource: schema.GroupVersionResource{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"},
		suspend: []string{"spec", "suspend"},
		pods: []string{
			"0 GPUs: Job < JobSet",
			"1 GPUs: Job < JobSet",
			"1 GPUs: Job < JobSet",
		},
		suspended: condition("Suspended"), finished: condition("Completed"),
		counters: [][]string{{"restarts"}, {"restartsCountTowardsMax"}},
	},
	{
		name: "tune", manifest: "trainjob", resource: schema.GroupVersionResource{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"},
		suspend: []string{"spec", "suspend"},
		pods: []string{
			"1 GPUs: Job < JobSet < TrainJob",
			"1 GPUs: Job < JobSet < TrainJob",
		},
		suspended: condition("Suspended"), finished: condition("Complete"),
	},
	{
		name: "resnet", manifest: "pytorchjob", resource: schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"},
		suspend: []string{"spec", "runPolicy", "suspend"},
		pods: []string{
			"0 GPUs: PyTorchJob",
			"1 GPUs: PyTorchJob",
			"1 GPUs: PyTorchJob",
		},
		suspended: condition("Suspended"), finished: condition("Succeeded"),
		counters: [][]string{{"replicaStatuses", "Master", "failed"}, {"replicaStatuses", "Worker", "failed"}},
		size:     "/spec/pytorchReplicaSpecs/Worker/replicas",
	},
	{
		name: "horovod", manifest: "mpijob", resource: schema.GroupVersionResource{Group: "kubeflow.org", Version: "v1", Resource: "mpijobs"},
		suspend: []string{"spec", "runPolicy", "suspend"},
		pods: []string{
			"0 GPUs: MPIJob",
			"1 GPUs: MPIJob",
			"1 GPUs: MPIJob",
		},
		suspended: condition("Suspended"), finished: condition("Succeeded"),
		last:     "training.kubeflow.org/replica-type=launcher",
		counters: [][]string{{"replicaStatuses", "Launcher", "failed"}, {"replicaStatuses", "Worker", "failed"}},
	},
	{
		name: "tune-ray", manifest: "rayjob", resource: schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayjobs"},
		suspend: []string{"spec", "suspend"},
		pods: []string{
			"0 GPUs: Job < RayJob",
			"0 GPUs: RayCluster < RayJob",
			"1 GPUs: RayCluster < RayJob",
			"1 GPUs: RayCluster < RayJob",
		},
		suspended: field("Suspended", "jobDeploymentStatus"), finished: field("Complete", "jobDeploymentStatus"),
		last:     "batch.kubernetes.io/job-name=tune-ray",
		counters: [][]string{{"failed"}},
		// Of changes to its own rayClusterSpec, KubeRay says that it disregards them.
		size: "/spec/workerGroupSpecs/0/replicas",
		sized: func(status map[string]any) (schema.GroupVersionResource, string) {
			name, _, _ := unstructured.NestedString(status, "rayClusterName")
			return rayClusters, name
		},
	},
	{
		name: "notebook", manifest: "raycluster", resource: rayClusters,
		suspend: []string{"spec", "suspend"},
		pods: []string{
			"0 GPUs: RayCluster",
			"1 GPUs: RayCluster",
			"1 GPUs: RayCluster",
		},
		suspended: field("suspended", "state"),
		size:      "/spec/workerGroupSpecs/0/replicas",
	},
	{
		name: "batch-infer", manifest: "lws", resource: schema.GroupVersionResource{Group: "leaderworkerset.x-k8s.io", Version: "v1", Resource: "leaderworkersets"},
		pods: []string{
			"0 GPUs: StatefulSet < LeaderWorkerSet",
			"1 GPUs: StatefulSet < Pod < StatefulSet < LeaderWorkerSet",
			"1 GPUs: StatefulSet < Pod < StatefulSet < LeaderWorkerSet",
		},
	},
}

// condition is true of a status whose condition of that type is.
func condition(kind string) func(map[string]any) bool {
	return func(status map[string]any) bool {
		conditions, _, _ := unstructured.NestedSlice(status, "conditions")
		return slices.ContainsFunc(conditions, func(c any) bool {
			condition, ok := c.(map[string]any)
			return ok && condition["type"] == kind && condition["status"] == "True"
		})
	}
}

// field is true of a status one of whose fields has that value.
func field(value string, path ...string) func(map[string]any) bool {
	return func(status map[string]any) bool {
		got, _, _ := unstructured.NestedString(status, path...)
		return got == value
	}
}

// TestOperators takes an object of each kind of job the way of a loan, under the
// kind's own operator: created suspended, resumed, suspended, resumed, finished.
func TestOperators(t *testing.T) {
	l := labtest.New(t, lab.Options{
		Nodes:        []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}, {Name: "gpu-1", GPUs: 8}},
		NoPrometheus: true, KubeScheduler: true, Operators: crds.Projects(),
	})
	if err := l.CreateNamespace(t.Context(), tenant, nil); err != nil {
		t.Fatal(err)
	}
	t.Run("webhooks", func(t *testing.T) { refusedByWebhook(t, l) })
	t.Run("started twice", func(t *testing.T) {
		if err := l.StartOperators(t.Context(), crds.KubeRay); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("a second %s: %v, want that one exists", crds.KubeRay, err)
		}
	})
	t.Run("first worker", func(t *testing.T) {
		t.Parallel()
		loseWorker(t, l, "first", 0, condition("Failed"))
	})
	t.Run("last worker", func(t *testing.T) {
		t.Parallel()
		loseWorker(t, l, "last", 1, func(status map[string]any) bool { return !condition("Failed")(status) })
	})
	for _, kind := range operatorKinds {
		t.Run(kind.manifest, func(t *testing.T) {
			t.Parallel()
			manifest, err := os.ReadFile("testdata/operators/" + kind.manifest + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Apply(t.Context(), manifest); err != nil {
				t.Fatal(err)
			}
			r := operatorRun{T: t, lab: l, kind: kind}
			if kind.suspend == nil {
				r.recreated()
				return
			}
			r.lifecycle()
		})
	}
}

// refusedByWebhook creates, for show, objects that nothing but the operators' own
// webhooks refuses.
func refusedByWebhook(t *testing.T, l *lab.Lab) {
	for _, tt := range []struct{ manifest, from, to string }{
		{"jobset", "name: sweep", "name: 1-sweep"},
		{"lws", "name: batch-infer", "name: 1-batch-infer"},
		{"pytorchjob", "name: resnet", "name: 1-resnet"},
		{"trainjob", "runtimeRef: {name: torch-distributed}", "runtimeRef: {name: nobody-made-it}"},
	} {
		text, err := os.ReadFile("testdata/operators/" + tt.manifest + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		// Of several documents, the object is the last.
		documents := strings.Split(strings.Replace(string(text), tt.from, tt.to, 1), "\n---\n")
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(documents[len(documents)-1]), &object.Object); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(operatorKinds, func(k operatorKind) bool { return k.manifest == tt.manifest })
		_, err = l.Dynamic().Resource(operatorKinds[i].resource).Namespace(tenant).Create(t.Context(), &object,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "admission webhook") {
			t.Errorf("%s with %s: %v, want that a webhook refuses it", tt.manifest, tt.to, err)
		}
	}
}

// loseWorker makes a PyTorchJob of two workers smaller by one and deletes the pod of
// the given one at once. The operator numbers its workers and keeps the first: who
// deletes that one leaves none, and the job, whose workers are never restarted, fails.
func loseWorker(t *testing.T, l *lab.Lab, name string, worker int, is func(map[string]any) bool) {
	text, err := os.ReadFile("testdata/operators/pytorchjob.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(t.Context(), []byte(strings.Replace(string(text), "name: resnet", "name: "+name, 1))); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(operatorKinds, func(k operatorKind) bool { return k.manifest == "pytorchjob" })
	r := operatorRun{T: t, lab: l, kind: operatorKinds[i]}
	r.kind.name, r.kind.counters = name, nil
	r.setSuspend(false)
	r.running(r.kind.pods, nil)
	r.setSize(1)
	lost := fmt.Sprintf("%s-worker-%d", name, worker)
	// The last one goes by itself, which may be over.
	err = l.Client().CoreV1().Pods(tenant).Delete(t.Context(), lost, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	labtest.Eventually(t, operatorWait, func(ctx context.Context) (bool, string) {
		_, err := l.Client().CoreV1().Pods(tenant).Get(ctx, lost, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprintf("%s is there: %v", lost, err)
	})
	r.status("without "+lost, is)
}

type operatorRun struct {
	*testing.T

	lab  *lab.Lab
	kind operatorKind
}

// suspensions is how often each object is suspended while it runs.
const suspensions = 3

func (r operatorRun) lifecycle() {
	r.status("suspended at creation", r.kind.suspended)
	if pods := r.pods(r.Context()); len(pods) > 0 {
		r.Errorf("the suspended object has %d pods", len(pods))
	}
	r.setSuspend(false)
	pods := r.running(r.kind.pods, nil)
	for i := range suspensions {
		if r.kind.size != "" {
			r.setSize(1)
			r.running(r.kind.pods[:len(r.kind.pods)-1], nil)
		}
		r.setSuspend(true)
		if i > 0 {
			r.kill(pods)
		}
		r.gone()
		r.status("suspended while it ran", r.kind.suspended)
		if r.kind.size != "" && r.kind.sized == nil {
			r.setSize(2)
		}
		r.setSuspend(false)
		pods = r.running(r.kind.pods, pods)
	}
	if r.kind.finished == nil {
		return
	}
	for _, p := range pods {
		if key, value, some := strings.Cut(r.kind.last, "="); !some || p.Labels[key] == value {
			r.complete(p)
		}
	}
	r.status("finished", r.kind.finished)
	for _, p := range r.pods(r.Context()) {
		r.Logf("left when finished: %s %s", p.Name, describe(&p))
	}
}

// setSize sets the number of workers, of whom there are at most two.
func (r operatorRun) setSize(workers int) {
	r.Helper()
	resource, name := r.kind.resource, r.kind.name
	if r.kind.sized != nil {
		object, err := r.object(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		status, _, _ := unstructured.NestedMap(object.Object, "status")
		resource, name = r.kind.sized(status)
	}
	patch := fmt.Sprintf(`[{"op":"replace","path":%q,"value":%d}]`, r.kind.size, workers)
	_, err := r.lab.Dynamic().Resource(resource).Namespace(tenant).Patch(r.Context(), name,
		types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// recreated takes the object the way of a kind that cannot be suspended: its pods
// are deleted, and come again.
func (r operatorRun) recreated() {
	first := r.running(r.kind.pods, nil)
	for _, p := range first {
		err := r.lab.Client().CoreV1().Pods(tenant).Delete(r.Context(), p.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			r.Fatal(err)
		}
	}
	r.running(r.kind.pods, first)
	r.status("running again", condition("Available"))
}

func (r operatorRun) object(ctx context.Context) (*unstructured.Unstructured, error) {
	return r.lab.Dynamic().Resource(r.kind.resource).Namespace(tenant).Get(ctx, r.kind.name, metav1.GetOptions{})
}

// status waits until the operator says that the object is in a state, and checks
// that it counts neither restarts nor failures.
func (r operatorRun) status(state string, is func(map[string]any) bool) {
	r.Helper()
	var status map[string]any
	labtest.Eventually(r, operatorWait, func(ctx context.Context) (bool, string) {
		object, err := r.object(ctx)
		if err != nil {
			return false, err.Error()
		}
		status, _, _ = unstructured.NestedMap(object.Object, "status")
		return is(status), fmt.Sprintf("%s: status %v", state, status)
	})
	text, err := json.Marshal(status)
	if err != nil {
		r.Fatal(err)
	}
	r.Logf("%s: %s", state, text)
	for _, path := range r.kind.counters {
		if count, _, _ := unstructured.NestedInt64(status, path...); count != 0 {
			r.Errorf("%s: %s counts %d, want no failure counted", state, strings.Join(path, "."), count)
		}
	}
}

func (r operatorRun) setSuspend(suspend bool) {
	r.Helper()
	patch := map[string]any{}
	if err := unstructured.SetNestedField(patch, suspend, r.kind.suspend...); err != nil {
		r.Fatal(err)
	}
	text, err := json.Marshal(patch)
	if err != nil {
		r.Fatal(err)
	}
	_, err = r.lab.Dynamic().Resource(r.kind.resource).Namespace(tenant).Patch(r.Context(), r.kind.name,
		types.MergePatchType, text, metav1.PatchOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// running waits until the object's pods are the wanted ones and all run, none of them
// one of before.
func (r operatorRun) running(want []string, before []corev1.Pod) []corev1.Pod {
	r.Helper()
	old := map[types.UID]bool{}
	for _, p := range before {
		old[p.UID] = true
	}
	var pods []corev1.Pod
	labtest.Eventually(r, operatorWait, func(ctx context.Context) (bool, string) {
		pods = r.pods(ctx)
		var got []string
		for _, p := range pods {
			chain, err := r.chain(ctx, &p)
			if err != nil {
				return false, err.Error()
			}
			gpus := p.Spec.Containers[0].Resources.Limits[lab.DefaultResource]
			if describe(&p) == "Running ready" && !old[p.UID] {
				got = append(got, fmt.Sprintf("%d GPUs: %s", gpus.Value(), strings.Join(chain[:len(chain)-1], " < ")))
			}
		}
		slices.Sort(got)
		diff := cmp.Diff(want, got)
		return diff == "" && len(pods) == len(want), fmt.Sprintf("running pods (-want +got) of %d:\n%s", len(pods), diff)
	})
	return pods
}

// kill deletes the pods of an object that was suspended, as soon as that counts as no
// failure: once the Jobs that made them, if any, know of the suspension. Before that, a
// Job takes a pod that is deleted for one that failed, and a JobSet restarts for it.
func (r operatorRun) kill(pods []corev1.Pod) {
	r.Helper()
	jobs := r.lab.Client().BatchV1().Jobs(tenant)
	for _, p := range pods {
		owner := metav1.GetControllerOf(&p)
		if owner.Kind != "Job" {
			continue
		}
		labtest.Eventually(r, operatorWait, func(ctx context.Context) (bool, string) {
			job, err := jobs.Get(ctx, owner.Name, metav1.GetOptions{})
			if err != nil {
				return apierrors.IsNotFound(err), err.Error()
			}
			return job.DeletionTimestamp != nil || ptr.Deref(job.Spec.Suspend, false), "Job " + owner.Name + " is not suspended"
		})
	}
	for _, p := range pods {
		err := r.lab.Client().CoreV1().Pods(tenant).Delete(r.Context(), p.Name, *metav1.NewDeleteOptions(1))
		if err != nil && !apierrors.IsNotFound(err) {
			r.Fatal(err)
		}
	}
}

// gone waits until none of the object's pods is left.
func (r operatorRun) gone() {
	r.Helper()
	labtest.Eventually(r, operatorWait, func(ctx context.Context) (bool, string) {
		pods := r.pods(ctx)
		return len(pods) == 0, fmt.Sprintf("%d pods are left", len(pods))
	})
}

func (r operatorRun) complete(p corev1.Pod) {
	r.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"0s"}}}`, kubelet.AnnotationCompleteAfter)
	_, err := r.lab.Client().CoreV1().Pods(tenant).Patch(r.Context(), p.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// pods are those with the object among their ancestors.
func (r operatorRun) pods(ctx context.Context) []corev1.Pod {
	r.Helper()
	object, err := r.object(ctx)
	if err != nil {
		return nil
	}
	list, err := r.lab.Client().CoreV1().Pods(tenant).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		chain, err := r.chain(ctx, &p)
		return err != nil || !slices.Contains(chain, string(object.GetUID()))
	})
}

// controllers are the kinds that stand between a pod and its job.
var controllers = map[string]schema.GroupVersionResource{
	"Job":             {Group: "batch", Version: "v1", Resource: "jobs"},
	"JobSet":          {Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"},
	"LeaderWorkerSet": {Group: "leaderworkerset.x-k8s.io", Version: "v1", Resource: "leaderworkersets"},
	"MPIJob":          {Group: "kubeflow.org", Version: "v1", Resource: "mpijobs"},
	"Pod":             {Version: "v1", Resource: "pods"},
	"PyTorchJob":      {Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"},
	"RayCluster":      rayClusters,
	"RayJob":          {Group: "ray.io", Version: "v1", Resource: "rayjobs"},
	"StatefulSet":     {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"TrainJob":        {Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"},
}

// chain follows the controllers of a pod, by UID, and returns their kinds and, last,
// the UID of the last.
func (r operatorRun) chain(ctx context.Context, p *corev1.Pod) ([]string, error) {
	var kinds []string
	uid := p.UID
	for owner := metav1.GetControllerOf(p); owner != nil; {
		kinds, uid = append(kinds, owner.Kind), owner.UID
		resource, ok := controllers[owner.Kind]
		if !ok {
			return nil, fmt.Errorf("pod %s: an owner of unknown kind %s", p.Name, owner.Kind)
		}
		object, err := r.lab.Dynamic().Resource(resource).Namespace(tenant).Get(ctx, owner.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if object.GetUID() != uid {
			return nil, fmt.Errorf("pod %s: its %s %s was replaced", p.Name, owner.Kind, owner.Name)
		}
		owner = metav1.GetControllerOf(object)
	}
	return append(kinds, string(uid)), nil
}
