package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	gpuNode = "gpu-0"
	tenant  = "research"
	// slack is what a busy machine may add to a time that is checked from above.
	slack = 30 * time.Second
)

// TestWorkloads shares one lab among the scenarios that do no harm to it.
func TestWorkloads(t *testing.T) {
	targets, sd := fakeTarget(t)
	l := labtest.New(t, lab.Options{
		Nodes: []lab.NodeSpec{{Name: gpuNode, GPUs: 8}}, KubeScheduler: true,
		SDURL: sd, ScrapeInterval: 200 * time.Millisecond,
	})
	if err := l.CreateNamespace(t.Context(), tenant, map[string]string{"team": tenant}); err != nil {
		t.Fatal(err)
	}
	t.Run("scenarios", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *lab.Lab){
			"model load":           modelLoad,
			"completion":           completion,
			"exit before grace":    exitBeforeGrace,
			"SIGTERM ignored":      ignoresSIGTERM,
			"shortened grace":      shortenedGrace,
			"suspended job":        suspendedJob,
			"ordinary user":        ordinaryUser,
			"service account":      serviceAccount,
			"apply":                applyDefinitions,
			"admission policies":   admissionPolicies,
			"second program":       unknownProgram,
			"lost node's pods":     lostNode,
			"prometheus's targets": func(t *testing.T, l *lab.Lab) { scrapes(t, l, targets) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, l)
			})
		}
	})
}

func pod(name string, annotations map[string]string) *corev1.Pod {
	one := resource.MustParse("1")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: tenant, Annotations: annotations},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "main", Image: "example.invalid/none",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{lab.DefaultResource: one}},
			}},
		},
	}
}

// record creates the pod and returns its states, as a watch sees them, up to the
// one that satisfies until, and how long after the creation that was.
func record(t *testing.T, l *lab.Lab, p *corev1.Pod, until func(watch.Event, *corev1.Pod) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pods := l.Client().CoreV1().Pods(p.Namespace)
	w, err := pods.Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: p.Name}))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var states []string
	for event := range w.ResultChan() {
		seen, ok := event.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("the watch ended with %v", event.Object)
		}
		state := describe(seen)
		if event.Type == watch.Deleted {
			state = "gone"
		}
		if len(states) == 0 || states[len(states)-1] != state {
			states = append(states, state)
		}
		if until(event, seen) {
			return states
		}
	}
	t.Fatalf("the pod did not get there; it went through %v", states)
	return nil
}

func describe(p *corev1.Pod) string {
	state := string(p.Status.Phase)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			state += " ready"
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Terminated != nil {
			state += fmt.Sprintf(" exit %d", c.State.Terminated.ExitCode)
		}
	}
	if p.DeletionTimestamp != nil {
		state += " terminating"
	}
	return state
}

func wantStates(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("the pod went through\n  %v, want\n  %v", got, want)
	}
}

// between checks that something took at least the first duration, and no more
// than slack beyond it.
func between(t *testing.T, what string, took, least time.Duration) {
	t.Helper()
	if took < least || took > least+slack {
		t.Errorf("%s took %s, want %s to %s", what, took, least, least+slack)
	}
}

func modelLoad(t *testing.T, l *lab.Lab) {
	var status corev1.PodStatus
	states := record(t, l, pod("model-load", map[string]string{kubelet.AnnotationModelLoad: "3s"}),
		func(_ watch.Event, p *corev1.Pod) bool {
			status = p.Status
			return strings.HasSuffix(describe(p), "ready")
		})
	wantStates(t, states, "Pending", "Running", "Running ready")
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	ready, running := status.Conditions[i].LastTransitionTime, status.ContainerStatuses[0].State.Running.StartedAt
	// The times are of whole seconds.
	between(t, "loading the model", ready.Sub(running.Time), 2*time.Second)
}

func completion(t *testing.T, l *lab.Lab) {
	states := record(t, l, pod("completion", map[string]string{kubelet.AnnotationCompleteAfter: "300ms"}),
		func(_ watch.Event, p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	wantStates(t, states, "Pending", "Running ready", "Succeeded exit 0")
}

// terminate runs the pod, deletes it once it is ready, then does more, and returns
// its states and the time from the deletion to its end.
func terminate(t *testing.T, l *lab.Lab, p *corev1.Pod, grace int64, more func()) ([]string, time.Duration) {
	t.Helper()
	var deleted time.Time
	states := record(t, l, p, func(event watch.Event, seen *corev1.Pod) bool {
		if deleted.IsZero() && strings.HasSuffix(describe(seen), "ready") {
			deleted = time.Now()
			remove(t, l, seen.Name, grace)
			more()
		}
		return event.Type == watch.Deleted
	})
	return states, time.Since(deleted)
}

func remove(t *testing.T, l *lab.Lab, name string, grace int64) {
	t.Helper()
	err := l.Client().CoreV1().Pods(tenant).Delete(t.Context(), name,
		metav1.DeleteOptions{GracePeriodSeconds: &grace})
	if err != nil {
		t.Error(err)
	}
}

func exitBeforeGrace(t *testing.T, l *lab.Lab) {
	states, took := terminate(t, l, pod("exit", map[string]string{
		kubelet.AnnotationExitAfter: "400ms", kubelet.AnnotationExitCode: "0",
	}), 60, func() {})
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Succeeded exit 0 terminating", "gone")
	between(t, "the exit", took, 400*time.Millisecond)
}

func ignoresSIGTERM(t *testing.T, l *lab.Lab) {
	states, took := terminate(t, l, pod("deaf", map[string]string{kubelet.AnnotationExitAfter: "1h"}), 2, func() {})
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Failed exit 137 terminating", "gone")
	between(t, "the kill", took, 2*time.Second)
}

func shortenedGrace(t *testing.T, l *lab.Lab) {
	// Patches in the meantime, if it is not over, must not start any delay anew.
	states, took := terminate(t, l, pod("shortened", map[string]string{kubelet.AnnotationExitAfter: "1h"}), 600, func() {
		remove(t, l, "shortened", 1)
		_, err := l.Client().CoreV1().Pods(tenant).Patch(t.Context(), "shortened", types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"ebbtide.dev/reclaim-by":"now"}}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Failed exit 137 terminating", "gone")
	between(t, "the kill", took, time.Second)
}

// suspendedJob goes the way of a loan: admitted, reclaimed, admitted again, done.
func suspendedJob(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	jobs := l.Client().BatchV1().Jobs(tenant)
	template := pod("", map[string]string{kubelet.AnnotationCompleteAfter: "1h", kubelet.AnnotationExitAfter: "200ms"})
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "train", Namespace: tenant},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](3), Completions: ptr.To[int32](3), BackoffLimit: ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: template.Annotations}, Spec: template.Spec,
			},
		},
	}
	if _, err := jobs.Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := func(text string) {
		t.Helper()
		if _, err := jobs.Patch(ctx, "train", types.MergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(what string, done func(batchv1.JobStatus, int) bool) {
		t.Helper()
		labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
			job, err := jobs.Get(ctx, "train", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			pods, err := l.Client().CoreV1().Pods(tenant).List(ctx, metav1.ListOptions{LabelSelector: "job-name=train"})
			if err != nil {
				return false, err.Error()
			}
			return done(job.Status, len(pods.Items)), fmt.Sprintf("%s: %d pods, %+v", what, len(pods.Items), job.Status)
		})
	}
	await("running", func(s batchv1.JobStatus, _ int) bool { return ptr.Deref(s.Ready, 0) == 3 })
	patch(`{"spec":{"suspend":true}}`)
	await("suspended", func(s batchv1.JobStatus, pods int) bool { return pods == 0 && s.Active == 0 })
	patch(`{"spec":{"template":{"metadata":{"annotations":{"lab.ebbtide.dev/complete-after":"200ms"}}},"suspend":false}}`)
	await("done", func(s batchv1.JobStatus, _ int) bool { return s.Succeeded == 3 && s.CompletionTime != nil })
	got, err := jobs.Get(ctx, "train", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status.Failed != 0 {
		t.Errorf("suspension counts as %d failures", got.Status.Failed)
	}
}

func ordinaryUser(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	path, err := l.UserKubeconfig("alice", "team-research")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	alice, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = alice.CoreV1().Pods(tenant).List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "alice"`) {
		t.Fatalf("alice lists pods: %v, want Forbidden", err)
	}
	err = l.Apply(ctx, []byte(`
kind: RoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: team, namespace: research}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team-research}]
`))
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		_, err := alice.CoreV1().Pods(tenant).List(ctx, metav1.ListOptions{})
		return err == nil, fmt.Sprint(err)
	})
	if _, err := alice.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("alice lists nodes: %v, want Forbidden", err)
	}
}

func serviceAccount(t *testing.T, l *lab.Lab) {
	path, err := l.KubeconfigFor(t.Context(), lab.SystemNamespace, "ebbtide-broker")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig has mode %s, want it private", info.Mode())
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = broker.CoreV1().Pods(tenant).List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:ebbtide-system:ebbtide-broker") {
		t.Errorf("the broker without manifests lists pods: %v, want Forbidden by name", err)
	}
	if _, err := l.KubeconfigFor(t.Context(), lab.SystemNamespace, "nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("a token for nobody: %v, want NotFound", err)
	}
}

// fakeTarget serves service discovery for a target whose metrics stand at a path
// of its own.
func fakeTarget(t *testing.T) (addr, sdURL string) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	addr = strings.TrimPrefix(server.URL, "http://")
	mux.HandleFunc("/pods/chat/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "vllm:num_requests_running 7")
	})
	mux.HandleFunc("/sd", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets":[%q],"labels":{"__metrics_path__":"/pods/chat/metrics","pod":"chat"}}]`, addr)
	})
	return addr, server.URL + "/sd"
}

func scrapes(t *testing.T, l *lab.Lab, target string) {
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		body, err := l.Query(ctx, `vllm:num_requests_running{job="lab",pod="chat"}`)
		return strings.Contains(body, `"7"`) && strings.Contains(body, target), fmt.Sprint(body, err)
	})
}
