package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/controller"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	serving  = "serving"
	research = "research"
	gpu      = "nvidia.com/gpu"
)

// engines is a fleet of vLLM replicas: a metrics page for each pod, and the list
// of pages for Prometheus.
type engines struct {
	mu      sync.Mutex
	pods    []string
	running int
}

func (e *engines) set(running int, pods ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running, e.pods = running, pods
}

func (e *engines) serve(t *testing.T) string {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/sd", func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		targets := []map[string]any{}
		for _, pod := range e.pods {
			targets = append(targets, map[string]any{
				"targets": []string{server.Listener.Addr().String()},
				"labels":  map[string]string{"namespace": serving, "pod": pod},
			})
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(targets); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		fmt.Fprintf(w, "vllm:num_requests_running %d\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.1\n", e.running)
	})
	return server.URL + "/sd"
}

// TestCluster lends, takes back and survives a kill on a real control plane, with
// the scheduler's plugin beside it.
func TestCluster(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	fleet := &engines{}
	program := &lab.Program{Config: func(e lab.Env) ([]byte, error) {
		web, err := e.Listen("web")
		if err != nil {
			return nil, err
		}
		if err := lastMonth(e.Dir); err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 1s
prometheus: {url: %q}
signals: {youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}
ledger: {path: %s/ledger.db, signingKeyFile: %s/checkpoint.key}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: true, leaseDuration: 10s, renewDeadline: 8s, retryPeriod: 500ms}
policy: {staleAfter: 10s, minimumLoan: 1s}
record: {path: %s/decisions.jsonl, all: true}
`, e.PrometheusURL, e.Dir, e.Dir, web, e.Addr, e.Dir), nil
	}, Args: func(lab.Env) []string { return []string{"-v=2"} }}
	scheduler := &lab.Program{Config: func(lab.Env) ([]byte, error) {
		return os.ReadFile("../../../scheduler-plugin/config/second-scheduler.yaml")
	}}
	l := labtest.New(t, lab.Options{
		Nodes:     []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}, {Name: "gpu-1", GPUs: 8}},
		Manifests: [][]byte{manifests}, SDURL: fleet.serve(t), ScrapeInterval: 500 * time.Millisecond,
		Scheduler: scheduler, Broker: program,
	})
	c, err := client.New(l.Config(), client.Options{Scheme: controller.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{serving, research} {
		if err := l.CreateNamespace(t.Context(), ns, map[string]string{"team": ns}); err != nil {
			t.Fatal(err)
		}
	}
	create(t, c, tenant(serving, 14), tenant(research, 0), chat(2), policy(),
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: research}})

	t.Log("1. With two idle replicas on four GPUs the job gets eight others.")
	pods := waitReady(t, c, 2)
	fleet.set(1, pods...)
	create(t, c, train("tune", 2, 4))
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) { return running(ctx, c, "tune", 2) })
	checkLent(t, c, 8)

	admission(t, c, "tune", corev1.ConditionTrue, "Lent")
	lost := train("lost", 1, 4)
	lost.Labels[v1alpha1.LabelQueue], lost.Spec.Template.Labels[v1alpha1.LabelQueue] = "gone", "gone"
	create(t, c, lost, train("late", 4, 4))
	admission(t, c, "lost", corev1.ConditionFalse, "UnknownQueue")
	admission(t, c, "late", corev1.ConditionFalse, "NoLendableUnits")

	t.Log("2. A killed broker finds everything as it was.")
	if err := l.Part(lab.Broker).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := l.Part(lab.Broker).Start(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) { return leads(ctx, l) })
	if ok, message := running(t.Context(), c, "tune", 2); !ok {
		t.Error(message)
	}
	checkLent(t, c, 8)

	t.Log("3. The tide returns: five more replicas need what is lent.")
	scale(t, c, 7)
	waitReady(t, c, 7)
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		var loans v1alpha1.LoanList
		if err := c.List(ctx, &loans); err != nil {
			return false, err.Error()
		}
		return len(loans.Items) == 0, fmt.Sprintf("%d loans are left", len(loans.Items))
	})
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) { return lent(ctx, c, 0) })

	t.Log("4. The ledger has the whole story.")
	if err := l.Part(lab.Broker).Stop(); err != nil {
		t.Fatal(err)
	}
	env, err := l.Env(lab.Broker)
	if err != nil {
		t.Fatal(err)
	}
	checkLedger(t, env.Dir+"/ledger.db")
	checkFiles(t, env.Dir)
	checkReplay(t, env.Dir+"/decisions.jsonl")
}

// admission waits until a job says so of itself, beside what the Job controller
// has to say.
func admission(t *testing.T, c client.Client, name string, status corev1.ConditionStatus, reason string) {
	t.Helper()
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		var job batchv1.Job
		if err := c.Get(ctx, client.ObjectKey{Namespace: research, Name: name}, &job); err != nil {
			return false, err.Error()
		}
		said, others := false, 0
		for _, c := range job.Status.Conditions {
			if c.Type != v1alpha1.ConditionAdmitted {
				others++
				continue
			}
			said = c.Status == status && c.Reason == reason && c.Message != "" && !c.LastTransitionTime.IsZero()
		}
		return said && others > 0, fmt.Sprintf("conditions of %s: %+v", name, job.Status.Conditions)
	})
}

// leads tells whether the broker has made a decision.
func leads(ctx context.Context, l *lab.Lab) (bool, string) {
	if _, err := l.AskBroker(ctx, lab.Broker, "/lenders"); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// checkReplay decides again on every decision that was made.
func checkReplay(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	for i, line := range lines {
		record, err := lend.ReadRecord(line)
		if err != nil {
			t.Fatalf("decision %d: %v", i, err)
		}
		record.Plan = record.Replay()
		again, err := lend.MarshalRecord(record)
		if err != nil {
			t.Fatalf("decision %d: %v", i, err)
		}
		if !bytes.Equal(line, again) {
			t.Errorf("decision %d replays to another plan:\n%s\n%s", i, line, again)
		}
	}
	t.Logf("%d decisions replay to the same bytes", len(lines))
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func tenant(name string, nominal int64) *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}, Cohort: "lab",
			Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: gpu, Nominal: nominal}},
		},
	}
}

func policy() *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: serving},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
			Mode:      v1alpha1.ModeLend, Owned: ptr.To[int64](14),
			Signals:  []v1alpha1.Signal{{Profile: "vllm"}},
			LowWater: "30%", HighWater: "70%",
			Dwell: &metav1.Duration{Duration: 2 * time.Second}, Cooldown: &metav1.Duration{Duration: 5 * time.Second},
			Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
				Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 1}},
			}},
			Headroom: v1alpha1.Headroom{Warm: ptr.To[int64](2)}, Reclaim: v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: 5 * time.Second}},
		},
	}
}

func template(labels map[string]string, gpus int64) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			SchedulerName: v1alpha1.SchedulerName,
			Containers: []corev1.Container{{
				Name: "main", Image: "example.invalid/none",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}},
			}},
		},
	}
}

func chat(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "chat"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: serving},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, 2),
		},
	}
	d.Spec.Template.Spec.PriorityClassName = v1alpha1.PriorityClassOnline
	return d
}

func train(name string, pods int32, gpus int64) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: research, Labels: map[string]string{v1alpha1.LabelQueue: "default"}},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods, Suspend: ptr.To(true),
			Template: template(map[string]string{v1alpha1.LabelQueue: "default"}, gpus),
		},
	}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j.Spec.Template.Spec.PriorityClassName = v1alpha1.PriorityClassBorrower
	return j
}

func scale(t *testing.T, c client.Client, replicas int32) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: serving}}
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	if err := c.Patch(t.Context(), d, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// waitReady returns the names of the service's pods once so many are ready.
func waitReady(t *testing.T, c client.Client, want int) []string {
	t.Helper()
	var names []string
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(serving)); err != nil {
			return false, err.Error()
		}
		names = nil
		for _, pod := range pods.Items {
			for _, cond := range pod.Status.Conditions {
				if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
					names = append(names, pod.Name)
				}
			}
		}
		return len(names) == want, fmt.Sprintf("%d of %d pods are ready", len(names), want)
	})
	return names
}

func running(ctx context.Context, c client.Client, job string, want int) (bool, string) {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(research), client.MatchingLabels{batchv1.JobNameLabel: job}); err != nil {
		return false, err.Error()
	}
	n := 0
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n == want, fmt.Sprintf("%d of %d pods run", n, want)
}

func lent(ctx context.Context, c client.Client, want int64) (bool, string) {
	var p v1alpha1.LendingPolicy
	if err := c.Get(ctx, client.ObjectKey{Namespace: serving, Name: "chat"}, &p); err != nil {
		return false, err.Error()
	}
	return p.Status.Lent == want, fmt.Sprintf("status.lent is %d, want %d", p.Status.Lent, want)
}

func checkLent(t *testing.T, c client.Client, want int64) {
	t.Helper()
	if ok, message := lent(t.Context(), c, want); !ok {
		t.Error(message)
	}
}

func checkLedger(t *testing.T, path string) {
	t.Helper()
	book, err := segments.Open(path, segments.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	}()
	kinds := map[ledger.Kind]int{}
	for from := uint64(1); ; {
		entries, err := book.Read(from, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			kinds[e.Kind]++
			t.Logf("%d %s %s %s %s: %s", e.Seq, e.Time.Format(time.TimeOnly), e.Kind, e.Loan, e.Reason, e.Message)
		}
		from = entries[len(entries)-1].Seq + 1
	}
	for _, kind := range []ledger.Kind{ledger.LendIntent, ledger.LendGranted, ledger.ReclaimIntent} {
		if kinds[kind] < 1 {
			t.Errorf("the ledger has no %s", kind)
		}
	}
	if kinds[ledger.EpochStart] != 3 { // the first of the month before
		t.Errorf("the ledger has %d epochs, want 3", kinds[ledger.EpochStart])
	}
	if open := book.OpenLoans(); len(open) > 0 {
		t.Errorf("loans are open: %v", open)
	}
}
