package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// lentKind is a job of two workers with a GPU each, most of them beside a pod without.
type lentKind struct {
	name, manifest string
	// suspendPath of the Loan, and how many pods the job has that ask for no GPU.
	suspendPath string
	others      int
	// counters of its status that a take-back leaves at nothing.
	counters []string
}

// Labels and the scheduler's name stand in the templates as the admission policies
// would write them; %s is the template of a pod with a GPU, or the pod.
const (
	workerTemplate = `{metadata: {labels: {ebbtide.dev/queue: default}}, spec: {schedulerName: ebbtide, priorityClassName: ebbtide-borrower, restartPolicy: Never,
  terminationGracePeriodSeconds: 2, containers: [{name: %s, image: registry.invalid/none, resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 1}}}]}}`
	otherTemplate = `{metadata: {labels: {ebbtide.dev/queue: default}}, spec: {schedulerName: ebbtide, priorityClassName: ebbtide-borrower, restartPolicy: Never,
  terminationGracePeriodSeconds: 2, containers: [{name: %s, image: registry.invalid/none}]}}`
	heading = `
metadata: {name: %s, namespace: research, labels: {ebbtide.dev/queue: default}}
`
)

var lentKinds = []lentKind{
	{
		name: "jobset", suspendPath: "/spec/suspend", others: 1, counters: []string{"restarts", "restartsCountTowardsMax"},
		manifest: `apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet` + heading + `spec:
  suspend: true
  failurePolicy: {maxRestarts: 1}
  replicatedJobs:
  - {name: launcher, replicas: 1, template: {spec: {parallelism: 1, completions: 1, backoffLimit: 0, template: OTHER}}}
  - {name: workers, replicas: 1, template: {spec: {parallelism: 2, completions: 2, backoffLimit: 0, template: WORKER}}}
`,
	},
	{
		name: "pytorchjob", suspendPath: "/spec/runPolicy/suspend", others: 1,
		manifest: `apiVersion: kubeflow.org/v1
kind: PyTorchJob` + heading + `spec:
  runPolicy: {suspend: true, backoffLimit: 0, cleanPodPolicy: None}
  pytorchReplicaSpecs:
    Master: {replicas: 1, restartPolicy: OnFailure, template: OTHER}
    Worker: {replicas: 2, restartPolicy: OnFailure, template: WORKER}
`,
	},
	{
		name: "raycluster", suspendPath: "/spec/suspend", others: 1,
		manifest: `apiVersion: ray.io/v1
kind: RayCluster` + heading + `spec:
  suspend: true
  rayVersion: 2.46.0
  headGroupSpec: {rayStartParams: {}, template: OTHER}
  workerGroupSpecs:
  - {groupName: gpu, replicas: 2, minReplicas: 2, maxReplicas: 2, rayStartParams: {}, template: WORKER}
`,
	},
}

// The scheduler alone takes back loans of jobs of any kind, whose kinds were installed
// after it had started: it stops the job at the top, its pods go, and nothing counts as
// a failure. After a restart a loan that was taken back stays closed.
func TestSchedulerTakesBackJobsOfOtherKinds(t *testing.T) {
	l := newSchedulerLab(t, "second-scheduler.yaml", lab.Options{})
	w := lonely{l, t, asBroker(t, l)}
	w.borrower()
	if err := l.StartOperators(t.Context(), crds.JobSet, crds.TrainingOperator, crds.KubeRay); err != nil {
		t.Fatal(err)
	}
	for _, kind := range lentKinds {
		t.Run(kind.name, func(t *testing.T) { lonely{l, t, w.api}.takeBack(kind) })
	}
	t.Run("pod group", func(t *testing.T) { lonely{l, t, w.api}.takeBackGroup() })
}

// lonely is a cluster with Ebbtide's scheduler and no broker, whose part the test plays.
type lonely struct {
	*lab.Lab
	t   *testing.T
	api client.Client
}

// borrower makes the tenant that trains.
func (w lonely) borrower() {
	w.t.Helper()
	if err := w.CreateNamespace(w.t.Context(), trainingNamespace, map[string]string{"team": trainingNamespace}); err != nil {
		w.t.Fatal(err)
	}
	create(w.t, w.Lab, &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: trainingNamespace},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": trainingNamespace}},
			Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu}},
		},
	})
}

// asBroker writes with the broker's name.
func asBroker(t *testing.T, l *lab.Lab) client.Client {
	t.Helper()
	config := rest.CopyConfig(l.Config())
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:masters"}}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func (w lonely) takeBack(kind lentKind) {
	job := w.read(kind)
	labtest.Create(w.t, w.api, job)
	w.lend(job.GroupVersionKind(), job.GetName(), job.GetUID(), kind.suspendPath, "")
	w.admit(job, kind.suspendPath)
	w.awaitRunning(2 + kind.others)

	hungry := w.arrive()
	w.awaitSuspended(job, kind.suspendPath)
	w.awaitGone()
	awaitNode(w.t, w.Lab, onlineNamespace, hungry.Name)
	now := w.get(job)
	for _, counter := range kind.counters {
		if n, _, _ := unstructured.NestedInt64(now.Object, "status", counter); n != 0 {
			w.t.Errorf("status.%s is %d: the take-back counts against the job", counter, n)
		}
	}

	// The scheduler restarts, and its queue forgets what it knew. Somebody lets the job
	// go on without a new loan.
	if err := w.Part(lab.Scheduler).Restart(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.leave(hungry)
	w.setField(now, kind.suspendPath, false)
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		pods, err := w.pods(ctx)
		return err == nil && len(pods) == 2+kind.others, fmt.Sprintf("%d pods (%v)", len(pods), err)
	})
	w.awaitTurn()
	pods, err := w.pods(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range pods {
		if pods[i].Spec.NodeName != "" && units(&pods[i]) {
			w.t.Errorf("pod %s runs on a loan that was taken back", pods[i].Name)
		}
	}
	if err := w.api.Delete(w.t.Context(), now, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		w.t.Fatal(err)
	}
	w.forget(job.GetName())
	w.awaitRunning(0)
}

// takeBackGroup is takeBack for pods that nothing has made. They end for good.
func (w lonely) takeBackGroup() {
	var lead *corev1.Pod
	for i := range 2 {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: trainingNamespace, Name: fmt.Sprintf("group-%d", i),
				Labels:      map[string]string{v1alpha1.LabelQueue: "default", v1alpha1.LabelPodGroup: "group"},
				Annotations: map[string]string{v1alpha1.AnnotationPodGroupSize: "2"},
			},
			Spec: podSpec(v1alpha1.PriorityClassBorrower, 1, 2),
		}
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		create(w.t, w.Lab, pod)
		if lead == nil {
			lead = pod
		}
	}
	w.awaitTurn()
	w.awaitRunning(0)
	w.lend(corev1.SchemeGroupVersion.WithKind("Pod"), lead.Name, lead.UID, "", "group")
	w.awaitRunning(2)
	hungry := w.arrive()
	w.awaitGone()
	awaitNode(w.t, w.Lab, onlineNamespace, hungry.Name)
	w.leave(hungry)
	w.forget(lead.Name)
}

func (w lonely) read(kind lentKind) *unstructured.Unstructured {
	w.t.Helper()
	names := map[string]string{"jobset": "main", "pytorchjob": "pytorch", "raycluster": "ray"}
	text := fmt.Sprintf(kind.manifest, kind.name)
	text = strings.ReplaceAll(text, "WORKER", fmt.Sprintf(workerTemplate, names[kind.name]))
	text = strings.ReplaceAll(text, "OTHER", fmt.Sprintf(otherTemplate, names[kind.name]))
	job := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &job.Object); err != nil {
		w.t.Fatal(err)
	}
	return job
}

// lend makes the job's Loan, as a broker would.
func (w lonely) lend(kind schema.GroupVersionKind, name string, uid types.UID, path, group string) {
	w.t.Helper()
	loan := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: name + "-1"},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{
				APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: name, UID: uid, SuspendPath: path, PodGroup: group,
			},
			Attempt: 1, Borrower: trainingNamespace, Queue: "default", Resource: gpu, Pods: 2, UnitsPerPod: 1,
			Grants:   []v1alpha1.Grant{{Lender: onlineNamespace + "/chat", Node: "gpu-0", Flavor: "h100", Count: 2}},
			MaxGrace: metav1.Duration{Duration: maxGrace}, OpID: "op-" + name, Epoch: 1,
		},
	}
	if err := w.api.Create(w.t.Context(), loan); err != nil {
		w.t.Fatal(err)
	}
}

// forget deletes the Loan.
func (w lonely) forget(job string) {
	w.t.Helper()
	loan := &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: job + "-1"}}
	if err := w.api.Delete(w.t.Context(), loan); err != nil {
		w.t.Fatal(err)
	}
}

// admit lets the job go, as a broker would.
func (w lonely) admit(job *unstructured.Unstructured, path string) {
	w.t.Helper()
	now := w.get(job)
	before := now.DeepCopy()
	annotations := now.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationAttempt] = "1"
	now.SetAnnotations(annotations)
	if err := w.api.Patch(w.t.Context(), now, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
	w.setField(now, path, false)
}

func (w lonely) setField(job *unstructured.Unstructured, path string, to bool) {
	w.t.Helper()
	patch := fmt.Appendf(nil, `[{"op":"add","path":%q,"value":%t}]`, path, to)
	if err := w.api.Patch(w.t.Context(), job.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)); err != nil {
		w.t.Fatal(err)
	}
}

func (w lonely) get(job *unstructured.Unstructured) *unstructured.Unstructured {
	w.t.Helper()
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(job.GroupVersionKind())
	if err := w.api.Get(w.t.Context(), client.ObjectKeyFromObject(job), now); err != nil {
		w.t.Fatal(err)
	}
	return now
}

// arrive makes an online pod that does not fit beside the job's.
func (w lonely) arrive() *corev1.Pod {
	w.t.Helper()
	pod := bare("hungry", onlineNamespace, v1alpha1.SchedulerName, 7)
	create(w.t, w.Lab, pod)
	return pod
}

// awaitTurn returns when the scheduler has had its say on all pods that there are: one
// that came after them, of no higher priority, is placed.
func (w lonely) awaitTurn() {
	w.t.Helper()
	last := bare("last", onlineNamespace, v1alpha1.SchedulerName, 1)
	last.Spec.PriorityClassName = v1alpha1.PriorityClassBorrower
	create(w.t, w.Lab, last)
	awaitNode(w.t, w.Lab, onlineNamespace, last.Name)
	w.leave(last)
}

func (w lonely) leave(pod *corev1.Pod) {
	w.t.Helper()
	err := w.Client().CoreV1().Pods(pod.Namespace).Delete(w.t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// pods are those of the jobs that are not on their way out.
func (w lonely) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := w.Client().CoreV1().Pods(trainingNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods = append(pods, list.Items[i])
		}
	}
	return pods, nil
}

func units(pod *corev1.Pod) bool {
	quantity := pod.Spec.Containers[0].Resources.Requests[gpu]
	return quantity.Value() > 0
}

func (w lonely) awaitRunning(n int) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		pods, err := w.pods(ctx)
		running, says := 0, ""
		for i := range pods {
			if pods[i].Spec.NodeName != "" {
				running++
			} else {
				says += fmt.Sprintf("; %s: %s", pods[i].Name, whyUnscheduled(&pods[i]))
			}
		}
		return err == nil && running == n, fmt.Sprintf("%d of %d pods run, want %d (%v)%s", running, len(pods), n, err, says)
	})
}

// awaitGone waits until no pod of the job holds a GPU.
func (w lonely) awaitGone() {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		list, err := w.Client().CoreV1().Pods(trainingNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Spec.NodeName != "" && units(pod) {
				return false, fmt.Sprintf("pod %s holds a GPU", pod.Name)
			}
		}
		return true, ""
	})
}

func (w lonely) awaitSuspended(job *unstructured.Unstructured, path string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(context.Context) (bool, string) {
		now := w.get(job)
		on, _, _ := unstructured.NestedBool(now.Object, strings.Split(strings.TrimPrefix(path, "/"), "/")...)
		back := now.GetAnnotations()[v1alpha1.AnnotationTakenBack]
		return on && back == "1", fmt.Sprintf("%s is %t and taken back at attempt %q", path, on, back)
	})
}
