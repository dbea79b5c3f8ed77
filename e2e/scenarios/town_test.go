package scenarios

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/audit"
	e2ebench "github.com/ebbtide/ebbtide/e2e/bench"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/witness"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	onlineNamespace   = "serving"
	trainingNamespace = "research"
	gpu               = "nvidia.com/gpu"
	slots             = 10 // requests that one replica serves at once

	// maxGrace is every lender's. slack is what an online pod may wait beyond it:
	// for a decision, a scheduling cycle, and a machine that runs two clusters.
	maxGrace = 3 * time.Second
	slack    = 5 * time.Second
	// settle is how long two programs may take to agree.
	settle = 10 * time.Second
	// interval between two decisions.
	interval = 500 * time.Millisecond
	// patience is how long a test waits for what it expects.
	patience = 3 * time.Minute
	// leaseDuration is for how long after a broker was killed no other leads. One that a busy
	// machine stops for a little less still leads.
	leaseDuration = 10 * time.Second
)

// town is a small cluster with one online service, one training tenant, and the
// whole of Ebbtide on it.
type town struct {
	*lab.Lab
	t    *testing.T
	api  client.Client
	dial *dial
	// auditor judges the laws from outside for as long as the town stands.
	auditor *audit.Auditor
	// testimony is a witness's who shares no code with what it watches; nil: none was called.
	testimony *witness.Witness
	// others judge further resources, in a town with slices.
	others []*audit.Auditor
	// claimed is what the node has that is allocated by claims, which no kubelet counts.
	claimed map[corev1.ResourceName]int64
	// cards is how many cards that are cut in seven the service's tenant owns.
	cards int64
	// card is that node's card.
	card *simgpu.Sim
	// queue that submit names.
	queue string
	// makers are the kinds that stand between jobs and pods, beside Jobs of their own.
	makers []schema.GroupVersionResource
	// late is how long after slack the auditor lets online pods wait, apart how much longer
	// than settle it lets two programs disagree.
	late, apart time.Duration
	// leader is the broker that leads, where there are two.
	leader string
}

// leading is the broker that answers.
func (w *town) leading() string { return cmp.Or(w.leader, lab.Broker) }

// newTown starts a cluster of nodes with 8 GPUs each, all of them promised to the
// online service's tenant.
func newTown(t *testing.T, nodes int) *town {
	t.Helper()
	w := newCluster(t, nodes)
	w.settle(int64(nodes) * 8)
	return w
}

// newCluster starts a cluster of nodes with 8 GPUs each, which belong to nobody.
func newCluster(t *testing.T, nodes int) *town {
	t.Helper()
	return newClusterWith(t, nodes, brokerProgram())
}

func newClusterWith(t *testing.T, nodes int, broker *lab.Program) *town {
	t.Helper()
	return raiseDialed(t, nodes, lab.Options{Broker: broker})
}

// newPatientTown is newTown for tests of the broker's own way to take back: see newPatientCluster.
func newPatientTown(t *testing.T, nodes int) *town {
	t.Helper()
	w := newPatientCluster(t, nodes, brokerProgram())
	w.settle(int64(nodes) * 8)
	return w
}

// newPatientCluster has a scheduler that waits longer for the broker than the shipped one,
// which takes back by itself what a broker on a busy machine has not asked for within a
// second. The auditor lets online pods wait for as much longer.
func newPatientCluster(t *testing.T, nodes int, broker *lab.Program) *town {
	t.Helper()
	w := raiseDialed(t, nodes, lab.Options{Broker: broker, Scheduler: patientScheduler(patient)})
	w.late = patient
	w.audit()
	return w
}

// patient is how long a scheduler waits for the broker that is not to take back by itself
// only because the machine is slow.
const patient = 5 * time.Second

// patientScheduler waits so long for the broker.
func patientScheduler(wait time.Duration) *lab.Program {
	shipped := deploy.SchedulerConfig()
	config := bytes.Replace(shipped, []byte("takeBackAfter: 1s"), fmt.Appendf(nil, "takeBackAfter: %s", wait), 1)
	if bytes.Equal(config, shipped) {
		return &lab.Program{Config: func(lab.Env) ([]byte, error) { return nil, errors.New("the shipped scheduler does not wait 1s") }}
	}
	return &lab.Program{Config: e2ebench.Unlimited(config)}
}

// raiseDialed raises a cluster whose load the test sets.
func raiseDialed(t *testing.T, nodes int, opts lab.Options) *town {
	t.Helper()
	d := newDial(t)
	opts.SDURL = d.server.URL + "/targets"
	w := raise(t, nodes, opts)
	w.dial = d
	d.follow(w.Client())
	return w
}

// raise starts a cluster of nodes with 8 GPUs each and Ebbtide; the rest is as opts
// say.
func raise(t *testing.T, nodes int, opts lab.Options) *town {
	t.Helper()
	var components []string
	if opts.Agent != nil {
		components = append(components, deploy.AgentAccess)
	}
	manifests, err := deploy.Manifests(components...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		opts.Nodes = append(opts.Nodes, lab.NodeSpec{Name: fmt.Sprintf("gpu-%d", i), GPUs: 8})
	}
	opts.Manifests = append([][]byte{manifests}, opts.Manifests...)
	opts.ScrapeInterval = time.Second
	if opts.Scheduler == nil {
		// It elects nobody: a leader that the API server has not heard for ten seconds ends.
		// Nor is its rate of requests limited: what a pod waits here is not the client's doing.
		opts.Scheduler = &lab.Program{Config: e2ebench.Unlimited(deploy.SchedulerConfig())}
	}
	l := labtest.New(t, opts)
	api, err := lab.TypedClient(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	w := &town{Lab: l, t: t, api: api, queue: "default"}
	w.audit()
	if os.Getenv("WITNESS") != "" {
		w.testimony = w.witness()
	}
	return w
}

// audit begins to judge the laws from outside, anew if it was begun before.
func (w *town) audit() {
	w.t.Helper()
	w.auditor = w.auditorOf(gpu, "")
}

// auditorOf judges the laws about a resource from outside, whose flavor is given where
// there are loans of others.
func (w *town) auditorOf(resource corev1.ResourceName, flavor string) *audit.Auditor {
	w.t.Helper()
	opts := audit.Options{
		Resource: string(resource), Flavor: flavor, Makers: w.makers,
		// A slice of four is taken back for pods on slices of one.
		Others:   resource == fourG,
		MaxGrace: maxGrace, Slack: slack + w.late, Settle: settle + w.apart, Hold: 3 * time.Second,
	}
	if n := w.claimed[resource]; n > 0 {
		opts.Claimed = map[string]int64{migNode: n}
	}
	auditor, stop, err := audit.Start(w.t.Context(), w.Client(), w.Dynamic(), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(stop)
	return auditor
}

// brokerProgram configures a broker for a test's patience: what is minutes by
// default is seconds here.
func brokerProgram() *lab.Program {
	return brokerWith("{youngReplica: 1s, stableWindow: 1s, panicWindow: 1s, forecast: false}",
		quick)
}

// quick is the policy of a broker for a test's patience.
const quick = "{staleAfter: 5s, unknownGrace: 10s, unknownStep: 2s, minimumLoan: 1s, evictionBudget: 100, flapBudget: 100}"

// brokerWith configures a broker with these sections of its configuration.
func brokerWith(signals, policy string) *lab.Program {
	return &lab.Program{Restart: true, Config: func(e lab.Env) ([]byte, error) {
		web, err := e.Listen("web")
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 500ms
prometheus: {url: %q, timeout: 2s}
signals: %s
ledger: {path: %q}
http: {bindAddress: %q}
metrics: {bindAddress: "0"}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: true, leaseDuration: %s, renewDeadline: %s, retryPeriod: 500ms}
client: {qps: 500, burst: 1000}
policy: %s
`, e.PrometheusURL, signals, e.Dir+"/ledger.db", web, e.Addr, leaseDuration, leaseDuration-2*time.Second, policy), nil
	}}
}

// settle makes the tenants, their namespaces and the queue.
func (w *town) settle(units int64) {
	w.t.Helper()
	w.team(onlineNamespace, "town", units)
	w.team(trainingNamespace, "town", 0)
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "default"}})
}

// team makes a tenant with one namespace of the same name, and a quota in whole GPUs.
func (w *town) team(name, cohort string, nominal int64) {
	w.t.Helper()
	w.tenant(name, cohort, v1alpha1.FlavorQuota{Name: "h100", Resource: gpu, Nominal: nominal})
}

func (w *town) tenant(name, cohort string, flavors ...v1alpha1.FlavorQuota) {
	w.t.Helper()
	if err := w.CreateNamespace(w.t.Context(), name, map[string]string{"team": name}); err != nil {
		w.t.Fatal(err)
	}
	w.create(&v1alpha1.TenantQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}, Cohort: cohort, Flavors: flavors,
		},
	})
}

func (w *town) create(o client.Object) {
	w.t.Helper()
	labtest.Create(w.t, w.api, o)
}

// serve starts the online service and lets it lend all of owned units.
func (w *town) serve(replicas int32, gpusPerReplica, owned int64) {
	w.t.Helper()
	w.create(service(replicas, gpusPerReplica))
	w.create(lends(owned))
}

// service is the online service.
func service(replicas int32, gpusPerReplica int64) *appsv1.Deployment {
	labels := map[string]string{"app": "chat"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: "chat"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       podSpec(v1alpha1.PriorityClassOnline, gpusPerReplica, 1),
			},
		},
	}
}

// lends is the service's policy: it lends in no time, all that it can.
func lends(owned int64) *v1alpha1.LendingPolicy {
	return &v1alpha1.LendingPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: "chat"},
		Spec: v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"},
			Owned:     ptr.To(owned),
			Signals:   []v1alpha1.Signal{{Profile: "vllm", Slots: slots}},
			LowWater:  "30%", HighWater: "70%",
			Dwell:    &metav1.Duration{Duration: time.Second},
			Cooldown: &metav1.Duration{Duration: time.Second},
			Behavior: &v1alpha1.Behavior{Lend: &autoscalingv2.HPAScalingRules{
				StabilizationWindowSeconds: ptr.To[int32](0),
				Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 1}},
			}},
			Headroom: v1alpha1.Headroom{Warm: ptr.To[int64](0)},
			Reclaim:  v1alpha1.Reclaim{MaxGrace: metav1.Duration{Duration: maxGrace}},
		},
	}
}

func podSpec(class string, gpus, grace int64) corev1.PodSpec {
	units := corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}
	return corev1.PodSpec{
		SchedulerName:                 v1alpha1.SchedulerName,
		PriorityClassName:             class,
		TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.invalid/none",
			Resources: corev1.ResourceRequirements{Limits: units, Requests: units},
		}},
	}
}

// scale sets the replicas of the online service, as an autoscaler would.
func (w *town) scale(replicas int32) {
	w.t.Helper()
	w.scaleService("chat", replicas)
}

func (w *town) scaleService(name string, replicas int32) {
	w.t.Helper()
	_, err := w.Client().AppsV1().Deployments(onlineNamespace).UpdateScale(w.t.Context(), name,
		&autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: onlineNamespace, Name: name},
			Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
		}, metav1.UpdateOptions{})
	if err != nil {
		w.t.Fatalf("scale %s to %d: %v", name, replicas, err)
	}
}

// submit queues a training job of equal pods, which run until they are stopped.
func (w *town) submit(name string, pods int32, gpusPerPod int64, annotations map[string]string) {
	w.t.Helper()
	w.submitIn(trainingNamespace, name, pods, gpusPerPod, annotations)
}

func (w *town) submitIn(namespace, name string, pods int32, gpusPerPod int64, annotations map[string]string) {
	w.t.Helper()
	spec := podSpec("", gpusPerPod, 2)
	spec.SchedulerName = "" // the admission policy sets it
	spec.RestartPolicy = corev1.RestartPolicyNever
	w.create(&batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelQueue: w.queue},
		},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
				Spec:       spec,
			},
		},
	})
}

// bound counts the pods of a namespace that hold a node and are not on their way out.
func (w *town) bound(ctx context.Context, namespace string) (int, error) {
	pods, err := w.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, pod := range pods.Items {
		done := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil && !done {
			n++
		}
	}
	return n, nil
}

// awaitBound waits until exactly n pods of the namespace hold a node, and returns
// how long that took.
func (w *town) awaitBound(namespace string, n int) time.Duration {
	w.t.Helper()
	start := time.Now()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		got, err := w.bound(ctx, namespace)
		return err == nil && got == n, fmt.Sprintf("%d pods bound in %s, want %d (%v)", got, namespace, n, err)
	})
	return time.Since(start)
}

// loans lists the open loans by the name of their job.
func (w *town) loans(ctx context.Context) (map[string]v1alpha1.Loan, error) {
	var list v1alpha1.LoanList
	if err := w.api.List(ctx, &list); err != nil {
		return nil, err
	}
	byJob := map[string]v1alpha1.Loan{}
	for _, loan := range list.Items {
		if other, twice := byJob[loan.Spec.Job.Name]; twice {
			return nil, fmt.Errorf("job %s has two loans: %s and %s", loan.Spec.Job.Name, other.Name, loan.Name)
		}
		byJob[loan.Spec.Job.Name] = loan
	}
	return byJob, nil
}

// awaitLoans waits until exactly these jobs have a loan.
func (w *town) awaitLoans(jobs ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, job := range jobs {
			if _, found := loans[job]; !found {
				verdict, err := w.read(ctx, "/verdicts?subject=Job/"+trainingNamespace+"/"+job)
				return false, fmt.Sprintf("%d loans, want %v; of %s the broker says %s (%v)", len(loans), jobs, job, verdict, err)
			}
		}
		return len(loans) == len(jobs), fmt.Sprintf("%d loans, want %v", len(loans), jobs)
	})
}

// ask reads one of the broker's answers.
func (w *town) ask(ctx context.Context, path string, into any) error {
	body, err := w.read(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func (w *town) read(ctx context.Context, path string) ([]byte, error) {
	return w.AskBroker(ctx, w.leading(), path)
}

// awaitVerdict waits until the broker gives this reason for a subject.
func (w *town) awaitVerdict(subject, reason string) string {
	w.t.Helper()
	message := ""
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		var answer struct {
			Verdicts []struct{ Subject, Reason, Message string }
		}
		if err := w.ask(ctx, "/verdicts?subject="+subject, &answer); err != nil {
			return false, err.Error()
		}
		if len(answer.Verdicts) != 1 {
			return false, fmt.Sprintf("%d verdicts about %s", len(answer.Verdicts), subject)
		}
		message = answer.Verdicts[0].Message
		return answer.Verdicts[0].Reason == reason, fmt.Sprintf("%s: %+v, want %s", subject, answer.Verdicts[0], reason)
	})
	return message
}
