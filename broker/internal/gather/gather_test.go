package gather_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// silent knows no load but the one that a test gives it.
type silent struct {
	targets []signal.Target
	sample  signal.Sample
}

// heard is what vLLM says of its pods, as the policy's first signal.
func heard(running, waiting, kv signal.Readings) signal.Sample {
	return signal.Sample{Profiles: map[string]map[signal.Measure]signal.Readings{
		"spec.signals[0]": {signal.Running: running, signal.Waiting: waiting, signal.KV: kv},
	}}
}

func (s *silent) Set(targets []signal.Target) { s.targets = targets }
func (s *silent) Latest(string) (sample signal.Sample, _ bool) {
	return s.sample, s.sample.Profiles != nil
}

func gatherAll(t *testing.T, objects ...client.Object) *gather.View {
	t.Helper()
	g, _ := newGatherer(objects...)
	view, err := g.Gather(t.Context(), now, 7)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func newGatherer(objects ...client.Object) (*gather.Gatherer, *silent) {
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, o := range objects {
		if p, ok := o.(pod); ok {
			o = p.Pod
		}
		builder = builder.WithObjects(o.DeepCopyObject().(client.Object))
	}
	c := builder.Build()
	signals := &silent{}
	return &gather.Gatherer{
		Cache: c, Live: c, Scales: c, Jobs: batchOnly(c, nil), Signals: signals, Disrupted: &gather.Disrupted{},
	}, signals
}

// cluster is a service with two replicas, one of which leaves, one pod that
// waits, and nodes of two products.
func cluster() []client.Object {
	return []client.Object{
		node("gpu-0", "h100", 8), node("gpu-1", "h100", 8), node("gpu-9", "a100", 4), node("cpu-0", "", 0),
		namespace("serving"), namespace("research"),
		tenant("serving", flavor("h100", "h100", 12)), tenant("research", flavor("h100", "h100", 0), flavor("a100", "a100", 4)),
		deployment("chat", 3, 2), replicaSet("chat"),
		online("chat-1").on("gpu-0").ready(), online("chat-2").on("gpu-0").leaving(), online("chat-3"),
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}},
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "ebbtide-borrower"}, Value: -100},
		policy("chat", 12),
	}
}

func TestLender(t *testing.T) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"}, MaxReplicas: 5,
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: 4},
	}
	gated := online("chat-4")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "later"}}
	foreign := online("chat-5")
	foreign.Spec.SchedulerName = "default-scheduler"
	unowned := policy("chat", 0)
	unowned.Spec.Owned = nil
	view := gatherAll(t, append(without(cluster(), "chat", "LendingPolicy"), unowned, hpa, gated, foreign)...)

	want := lend.Lender{
		Name: "serving/chat", Tenant: "serving", Flavor: "h100",
		Owned: 10, UnitsPerPod: 2, Desired: 4, Running: 1, Ready: 1,
		Pending:  []lend.PendingPod{{Name: "serving/chat-3", Since: now.Add(-time.Minute)}},
		LowWater: 0.3, HighWater: 0.7, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute, Warm: 1,
		Steps: lend.Steps{LendUnits: 1, LendEvery: 2 * time.Minute, Push: 0.5},
		Load:  lend.Load{Unknown: "profile vllm: not asked yet"},
	}
	if diff := cmp.Diff([]lend.Lender{want}, view.Snapshot.Lenders); diff != "" {
		t.Errorf("lenders (-want +got):\n%s", diff)
	}
	wantNodes := []lend.Node{
		{Name: "gpu-0", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8, Online: 4, Leaving: 2}}},
		{Name: "gpu-1", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: 8}}},
		{Name: "gpu-9", Schedulable: true, Units: []lend.Units{{Flavor: "a100", Capacity: 4}}},
	}
	if diff := cmp.Diff(wantNodes, view.Snapshot.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if view.Used["serving"]["h100"] != 4 {
		t.Errorf("used: %v", view.Used)
	}
}

// TestRefill: what a policy does not say is as careful as its default.
func TestRefill(t *testing.T) {
	for refill, want := range map[v1alpha1.HeadroomRefill]lend.Refill{
		"": "", v1alpha1.RefillAlways: "", v1alpha1.RefillWhenUsed: lend.RefillWhenUsed,
	} {
		p := policy("chat", 12)
		p.Spec.Headroom.Refill = refill
		view := gatherAll(t, append(without(cluster(), "chat", "LendingPolicy"), p)...)
		if got := view.Snapshot.Lenders[0].Refill; got != want {
			t.Errorf("%q in the policy is %q, want %q", refill, got, want)
		}
	}
}

// TestBlindAutoscaler: while the autoscaler does not know what is needed, nothing new
// is lent, whatever the replicas say; but what they say still counts.
func TestBlindAutoscaler(t *testing.T) {
	for name, test := range map[string]struct {
		condition autoscalingv2.HorizontalPodAutoscalerCondition
		blind     string
	}{
		"sees":           {autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, Reason: "ValidMetricFound"}, ""},
		"limited":        {autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionFalse, Reason: "DesiredWithinRange"}, ""},
		"scaled to zero": {autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "ScalingDisabled"}, ""},
		"blind": {autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetPodsMetric"},
			"HorizontalPodAutoscaler chat cannot tell how many replicas are needed: FailedGetPodsMetric"},
	} {
		t.Run(name, func(t *testing.T) {
			hpa := &autoscalingv2.HorizontalPodAutoscaler{
				ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"},
				Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
					ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"}, MaxReplicas: 5,
				},
				Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{test.condition}},
			}
			g, signals := newGatherer(append(without(cluster(), "chat-3", ""), hpa)...)
			idle := signal.Readings{"chat-1": {At: now}}
			signals.sample = heard(idle, idle, idle)
			view, err := g.Gather(t.Context(), now, 1)
			if err != nil {
				t.Fatal(err)
			}
			l := view.Snapshot.Lenders[0]
			if !l.Load.Known {
				t.Errorf("got %+v, want a known load", l.Load)
			}
			held := ""
			if l.Hold != nil {
				held = l.Hold.Message
			}
			if held != test.blind {
				t.Errorf("held because of %q, want %q", held, test.blind)
			}
		})
	}
}

// TestBroken: a device that broke under its pod is still held, and held once.
func TestBroken(t *testing.T) {
	for allocatable, want := range map[int64]lend.Units{
		8: {Flavor: "h100", Capacity: 8, Online: 4, Leaving: 2},
		3: {Flavor: "h100", Capacity: 3, Broken: 5, Online: 4, Leaving: 2},
		0: {Flavor: "h100", Capacity: 0, Broken: 8, Online: 4, Leaving: 2},
	} {
		damaged := node("gpu-0", "h100", allocatable)
		damaged.Status.Capacity = corev1.ResourceList{gpu: resource.MustParse("8")}
		view := gatherAll(t, append(without(cluster(), "gpu-0", ""), damaged)...)
		if got := view.Snapshot.Nodes[0].Units[0]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if broken := lend.CheckLaws(view.Snapshot); len(broken) > 0 {
			t.Errorf("with %d units left: %v", allocatable, broken)
		}
	}
}

// TestPending: a pod waits for units only if a node of its flavor would take it
// were the node empty.
func TestPending(t *testing.T) {
	cordoned, tainted := node("gpu-2", "h100", 8), node("gpu-3", "h100", 8)
	cordoned.Spec.Unschedulable, cordoned.Labels["disk"] = true, "old"
	tainted.Labels["disk"] = "new"
	tainted.Spec.Taints = []corev1.Taint{{Key: "team", Value: "x", Effect: corev1.TaintEffectNoSchedule}, {Key: "y", Effect: corev1.TaintEffectPreferNoSchedule}}
	wants := func(key string, values ...string) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values},
			}}},
		}}}
	}
	for name, test := range map[string]struct {
		edit  func(*corev1.PodSpec)
		waits bool
		stuck bool
	}{
		"plain":           {func(*corev1.PodSpec) {}, true, false},
		"own selector":    {func(s *corev1.PodSpec) { s.NodeSelector["disk"] = "gone" }, false, true},
		"other product":   {func(s *corev1.PodSpec) { s.NodeSelector["product"] = "a100" }, false, true},
		"affinity":        {func(s *corev1.PodSpec) { s.Affinity = wants("product", "h100") }, true, false},
		"no such node":    {func(s *corev1.PodSpec) { s.Affinity = wants("zone", "z") }, false, true},
		"only a cordoned": {func(s *corev1.PodSpec) { s.NodeSelector["disk"] = "old" }, false, true},
		"not tolerated":   {func(s *corev1.PodSpec) { s.NodeSelector["disk"] = "new" }, false, true},
		"tolerated": {func(s *corev1.PodSpec) {
			s.NodeSelector["disk"], s.Tolerations = "new", []corev1.Toleration{{Key: "team", Operator: corev1.TolerationOpExists}}
		}, true, false},
		"gated":             {func(s *corev1.PodSpec) { s.SchedulingGates = []corev1.PodSchedulingGate{{Name: "later"}} }, false, false},
		"another scheduler": {func(s *corev1.PodSpec) { s.SchedulerName = "default-scheduler" }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := online("chat-7")
			test.edit(&p.Spec)
			view := gatherAll(t, append(without(cluster(), "chat-3", ""), p, cordoned, tainted)...)
			if waits := len(view.Snapshot.Lenders[0].Pending) > 0; waits != test.waits {
				t.Errorf("the pod waits: %t, want %t", waits, test.waits)
			}
			if why := view.Unplaceable["serving/chat"]; (why != "") != test.stuck {
				t.Errorf("unplaceable: %q, want a message: %t", why, test.stuck)
			}
		})
	}
}

// TestYoungReplica: what a replica says of itself when it has just become ready
// is believed only if it is not 0.
func TestYoungReplica(t *testing.T) {
	for name, test := range map[string]struct {
		since    time.Duration
		running  float64
		requests float64
	}{
		"young and blank": {29 * time.Second, 0, 256},
		"young and busy":  {29 * time.Second, 2, 2},
		"grown up":        {30 * time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			replica := online("chat-9").on("gpu-1").ready()
			replica.Status.Conditions[0].LastTransitionTime = metav1.Time{Time: now.Add(-test.since)}
			g, signals := newGatherer(append(without(cluster(), "chat-1", ""), replica)...)
			g.YoungReplica = 30 * time.Second
			says := func(value float64) signal.Readings {
				return signal.Readings{"chat-9": {Value: value, At: now}}
			}
			signals.sample = heard(says(test.running), says(0), says(0))
			view, err := g.Gather(t.Context(), now, 1)
			if err != nil {
				t.Fatal(err)
			}
			if load := view.Snapshot.Lenders[0].Load; !load.Known || load.Requests != test.requests || load.Coverage != 1 {
				t.Errorf("got %+v, want %v requests", load, test.requests)
			}
		})
	}
}

func TestLenderProblems(t *testing.T) {
	edited := func(edit func(*v1alpha1.LendingPolicy)) *v1alpha1.LendingPolicy {
		p := policy("chat", 12)
		edit(p)
		return p
	}
	second := policy("zz", 12)
	second.Spec.TargetRef.Name = "chat"
	for name, test := range map[string]struct {
		policy  *v1alpha1.LendingPolicy
		more    []client.Object
		drop    string
		want    string
		message string
	}{
		"unknown target": {
			policy: edited(func(p *v1alpha1.LendingPolicy) { p.Spec.TargetRef.Name = "gone" }),
			want:   "UnknownTarget", message: "spec.targetRef: apps/v1 Deployment gone does not exist",
		},
		"unknown flavor": {
			policy: edited(func(p *v1alpha1.LendingPolicy) { p.Spec.Flavor = "b200" }),
			want:   "UnknownFlavor", message: "spec.flavor: the quota of tenant serving has no flavor b200",
		},
		"owned unknown": {
			policy: edited(func(p *v1alpha1.LendingPolicy) { p.Spec.Owned = nil }),
			want:   "OwnedUnknown", message: "spec.owned is not set, and no autoscaler of Deployment chat says how many replicas it may have",
		},
		"unknown tenant": {
			policy: policy("chat", 12), drop: "serving",
			want: "UnknownTenant", message: "namespace serving belongs to no single TenantQuota",
		},
		"duplicate target": {
			policy: second, more: []client.Object{policy("chat", 12)},
			want: "DuplicateTarget", message: "spec.targetRef: LendingPolicy serving/chat has the same target",
		},
		"bad share": {
			policy: edited(func(p *v1alpha1.LendingPolicy) { p.Spec.LowWater = "x%" }),
			want:   "InvalidPolicy", message: `spec.lowWater: "x%" is not a share from 0% to 100%`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := append(without(cluster(), "chat", "LendingPolicy"), test.more...)
			if test.drop != "" {
				objects = without(objects, test.drop, "TenantQuota")
			}
			view := gatherAll(t, append(objects, test.policy)...)
			lenders := view.Snapshot.Lenders
			got := lenders[len(lenders)-1].Problem
			if got == nil || got.Reason != test.want || got.Message != test.message {
				t.Errorf("problem: got %+v, want %s: %s", got, test.want, test.message)
			}
		})
	}
}

func TestTenants(t *testing.T) {
	other := tenant("zz", flavor("h100", "a100", 4), flavor("a100", "a100", 1))
	other.Spec.Namespaces.MatchLabels = map[string]string{"team": "research"}
	view := gatherAll(t, append(cluster(), other)...)
	want := map[string]string{
		"research": "spec.namespaces: namespace research is selected by 2 TenantQuotas and belongs to none of them",
		"zz":       "spec.flavors[0]: flavor h100 has another resource or nodeSelector in TenantQuota research",
	}
	got := map[string]string{}
	for name, p := range view.QuotaProblems {
		got[name] = p.Message
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if q := view.Snapshot.Tenants[2].Quotas; len(q) != 1 || q[0].Flavor != "a100" {
		t.Errorf("the conflicting flavor still counts: %v", q)
	}
	if tenant := view.Snapshot.Queues[0].Tenant; tenant != "" {
		t.Errorf("the contested namespace's queue belongs to %q", tenant)
	}
}

func TestJobs(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*batchv1.Job)
		want *lend.Job
	}{
		"waits": {want: &lend.Job{
			Name: "research/tune", UID: "tune", Tenant: "research", Queue: "research/default", Priority: -100,
			Created: now.Add(-time.Minute), Flavor: "h100", Pods: 2, UnitsPerPod: 4, Attempt: 3, Grace: 30 * time.Second,
		}},
		"running":     {edit: func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) }},
		"finished":    {edit: func(j *batchv1.Job) { j.Status.Conditions = done() }},
		"not queued":  {edit: func(j *batchv1.Job) { j.Labels = nil }},
		"other queue": {edit: func(j *batchv1.Job) { j.Labels[v1alpha1.LabelQueue] = "gone" }, want: problem("UnknownQueue", "label ebbtide.dev/queue: namespace research has no TrainingQueue gone")},
		"no units":    {edit: func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }, want: problem("NoUnits", "the job's pods ask for no resource of any flavor")},
		"ambiguous": {edit: func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = nil },
			want: problem("UnknownFlavor", "the job's pods could be of flavor a100 or h100: name its nodeSelector in the pod template")},
		"another part of a GPU": {edit: func(j *batchv1.Job) {
			j.Spec.Template.Spec.Containers[0].Resources.Limits["nvidia.com/mig-3g.40gb"] = resource.MustParse("1")
		}, want: problem("UnknownFlavor", "the job's pods ask for nvidia.com/mig-3g.40gb beside nvidia.com/gpu: a pod has units of one flavor")},
		"other product": {edit: func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"product": "b200"} },
			want: problem("UnknownFlavor", "the job's pods ask for no flavor of their tenant's quota")},
	} {
		t.Run(name, func(t *testing.T) {
			job := training("tune", 2, 4)
			if test.edit != nil {
				test.edit(job)
			}
			got := gatherAll(t, append(cluster(), job)...).Snapshot.Jobs
			switch {
			case test.want == nil:
				if len(got) != 0 {
					t.Errorf("the job waits: %+v", got)
				}
			case test.want.Problem != nil:
				if len(got) != 1 || !cmp.Equal(got[0].Problem, test.want.Problem) {
					t.Errorf("got %+v, want %+v", got, test.want.Problem)
				}
			default:
				if diff := cmp.Diff([]lend.Job{*test.want}, got); diff != "" {
					t.Errorf("jobs (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestPriorityClass: no job is admitted whose pods the scheduler would refuse.
func TestPriorityClass(t *testing.T) {
	class := func(name string, value int32) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
	}
	for name, test := range map[string]struct{ class, highest, want string }{
		"below":          {"ebbtide-borrower", "mine", ""},
		"the highest":    {"mine", "mine", ""},
		"above":          {"theirs", "mine", `priority class "theirs" (9) is above mine (5), the highest that tenant research may use`},
		"by default":     {"theirs", "", ""},
		"above default":  {"huge", "", `priority class "huge" (2000000) is above ebbtide-online (1000000), the highest that tenant research may use`},
		"unknown limit":  {"ebbtide-borrower", "gone", "the highest priority class of tenant research, gone, does not exist"},
		"no class given": {"", "ebbtide-borrower", `priority class "" (0) is above ebbtide-borrower (-100), the highest that tenant research may use`},
	} {
		t.Run(name, func(t *testing.T) {
			limited := tenant("research", flavor("h100", "h100", 0), flavor("a100", "a100", 4))
			limited.Spec.MaxPriorityClass = test.highest
			job := training("tune", 1, 4)
			job.Spec.Template.Spec.PriorityClassName = test.class
			got := gatherAll(t, append(without(cluster(), "research", "TenantQuota"), limited, job,
				class("mine", 5), class("theirs", 9), class("huge", 2000000))...).Snapshot.Jobs[0].Problem
			switch {
			case test.want == "" && got != nil:
				t.Errorf("got %+v", got)
			case test.want != "" && (got == nil || got.Reason != gather.ReasonPriorityClassTooHigh || got.Message != test.want):
				t.Errorf("got %+v, want %s", got, test.want)
			}
		})
	}
}

func problem(reason, message string) *lend.Job {
	return &lend.Job{Problem: &lend.Problem{Reason: reason, Message: message}}
}

// TestLoans: a loan's own pods are covered by its grant; what they hold beyond it
// is Other, and nobody else's pods count for it.
func TestLoans(t *testing.T) {
	job := training("tune", 2, 4)
	job.Spec.Suspend = ptr.To(false)
	job.Annotations[v1alpha1.AnnotationCheckpointInterval] = "15m"
	view := gatherAll(t, append(cluster(), job, loan("tune", "gpu-1", 4),
		trainer("tune-0", "tune").on("gpu-1"), trainer("tune-1", "tune").on("gpu-0"), trainer("other", "else").on("gpu-1"))...)
	want := []lend.Loan{{
		Name: "research/tune-1", Job: "research/tune", JobUID: "tune", Borrower: "research", Queue: "research/default",
		Priority: -100, Attempt: 4, Pods: 1, UnitsPerPod: 4, Grants: []lend.Grant{{Lender: "serving/chat", Node: "gpu-1", Flavor: "h100", Count: 4}},
		Since: now.Add(-40 * time.Minute), Checkpoint: now.Add(-10 * time.Minute), Grace: 30 * time.Second, Live: 2, Bound: 1,
	}}
	if diff := cmp.Diff(want, view.Snapshot.Loans); diff != "" {
		t.Errorf("loans (-want +got):\n%s", diff)
	}
	for i, want := range []lend.Units{{Flavor: "h100", Capacity: 8, Online: 4, Leaving: 2, Other: 4}, {Flavor: "h100", Capacity: 8, Other: 4}} {
		if got := view.Snapshot.Nodes[i].Units[0]; got != want {
			t.Errorf("%s: got %+v, want %+v", view.Snapshot.Nodes[i].Name, got, want)
		}
	}
}

// TestRestartingNode: a node whose kubelet or device plugin starts anew reports no
// units. It exists, and so nothing is taken back and nothing is lent there.
func TestRestartingNode(t *testing.T) {
	job := training("tune", 1, 4)
	job.Spec.Suspend = ptr.To(false)
	zero := node("gpu-1", "h100", 0)
	zero.Status.Allocatable = corev1.ResourceList{gpu: resource.MustParse("0")}
	for name, restarting := range map[string]*corev1.Node{
		"no units": zero, "no resource": node("gpu-1", "h100", 0), "no label": node("gpu-1", "", 0),
	} {
		view := gatherAll(t, append(without(cluster(), "gpu-1", ""), restarting, job, loan("tune", "gpu-1", 4),
			trainer("tune-0", "tune").on("gpu-1"), training("next", 1, 4))...)
		want := lend.Node{Name: "gpu-1", Units: []lend.Units{{Flavor: "h100", Broken: 4}}}
		if diff := cmp.Diff(want, view.Snapshot.Nodes[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if broken := lend.CheckLaws(view.Snapshot); len(broken) > 0 {
			t.Errorf("%s: %v", name, broken)
		}
		plan, _ := lend.Decide(view.Snapshot, lend.State{}, lend.DefaultPolicy())
		for _, a := range plan.Actions {
			if a.Kind != lend.ActionLend || a.Grants[0].Node == "gpu-1" {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	view := gatherAll(t, append(without(cluster(), "gpu-1", ""), job, loan("tune", "gpu-1", 4))...)
	plan, _ := lend.Decide(view.Snapshot, lend.State{}, lend.DefaultPolicy())
	if len(plan.Actions) != 1 || plan.Actions[0].Reason != lend.ReasonNodeUnhealthy {
		t.Errorf("without the node: %+v", plan.Actions)
	}
}

// TestHeld: what a tenant's pods hold beside its services and its loans is used.
func TestHeld(t *testing.T) {
	job := training("tune", 2, 4)
	job.Spec.Suspend = ptr.To(false)
	ended := trainer("old", "else").on("gpu-1")
	ended.Status.Phase = corev1.PodSucceeded
	view := gatherAll(t, append(cluster(), job, loan("tune", "gpu-1", 4),
		trainer("tune-0", "tune").on("gpu-1"), trainer("tune-1", "tune").on("gpu-0"),
		newPod("research", "notebook", 3, nil).on("gpu-0"), newPod("research", "later", 3, nil), ended,
		newPod("serving", "debug", 1, nil).on("gpu-1"))...)
	got := map[string]int64{}
	for _, tenant := range view.Snapshot.Tenants {
		for _, q := range tenant.Quotas {
			got[tenant.Name+"/"+q.Flavor] = q.Held
		}
	}
	if diff := cmp.Diff(map[string]int64{"research/a100": 0, "research/h100": 4 + 3, "serving/h100": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBound: pods that wait for a node are not bound, and neither is a gang without
// pods; one that has ended needs no node.
func TestBound(t *testing.T) {
	job := training("tune", 3, 4)
	job.Spec.Suspend = ptr.To(false)
	three := loan("tune", "gpu-1", 12)
	three.Spec.Pods = 3
	on := func(name string) pod { return trainer(name, "tune").on("gpu-1") }
	over := on("tune-0")
	over.Status.Phase = corev1.PodSucceeded
	old := on("tune-0")
	old.Status.Phase, old.CreationTimestamp = corev1.PodFailed, metav1.Time{Time: now.Add(-time.Hour)}
	for name, test := range map[string]struct {
		pods []client.Object
		want int64
	}{
		"none":            {nil, 0},
		"all":             {[]client.Object{on("tune-0"), on("tune-1"), on("tune-2")}, 3},
		"two wait":        {[]client.Object{on("tune-0"), trainer("tune-1", "tune"), trainer("tune-2", "tune")}, 1},
		"one has ended":   {[]client.Object{over, on("tune-1"), on("tune-2")}, 3},
		"one is replaced": {[]client.Object{over, trainer("tune-1", "tune"), on("tune-2")}, 2},
		"one is leaving":  {[]client.Object{trainer("tune-0", "tune").leaving(), on("tune-1"), on("tune-2")}, 3},
		"all ended":       {[]client.Object{over}, 3},
		"ended before":    {[]client.Object{old}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			view := gatherAll(t, append(append(cluster(), job, three), test.pods...)...)
			if got := view.Snapshot.Loans[0].Bound; got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestLoanStates(t *testing.T) {
	running := training("tune", 1, 4)
	running.Spec.Suspend = ptr.To(false)
	finished := running.DeepCopy()
	finished.Status.Conditions = done()
	replaced := running.DeepCopy()
	replaced.UID = "another"
	reclaiming := loan("tune", "gpu-1", 4)
	reclaiming.Status = v1alpha1.LoanStatus{
		Conditions: []metav1.Condition{{Type: v1alpha1.LoanReclaiming, Status: metav1.ConditionTrue}},
		ReclaimBy:  &metav1.Time{Time: now}, ReclaimID: "r-1",
	}
	preempted := loan("tune", "gpu-1", 4)
	preempted.Status.Conditions = []metav1.Condition{{Type: gather.ConditionPreempted, Status: metav1.ConditionTrue}}
	marked := trainer("tune-0", "tune").on("gpu-1")
	marked.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
	drained := trainer("tune-0", "tune").on("gpu-1")
	drained.Status.Conditions = disrupted(corev1.PodReasonTerminationByKubelet)
	earlier := trainer("tune-0", "tune").on("gpu-1")
	earlier.CreationTimestamp = metav1.Time{Time: now.Add(-time.Hour)}
	earlier.Status.Phase, earlier.Status.Conditions = corev1.PodFailed, disrupted(v1alpha1.ReasonPreempted)
	killed := trainer("tune-0", "tune").on("gpu-1").leaving()
	killed.DeletionGracePeriodSeconds = ptr.To[int64](1)
	ended := trainer("tune-0", "tune").on("gpu-1")
	ended.Status.Phase = corev1.PodSucceeded
	plain := loan("tune", "gpu-1", 4)
	for name, test := range map[string]struct {
		objects []client.Object
		want    lend.Loan
	}{
		"active":             {[]client.Object{plain, running, trainer("tune-0", "tune").on("gpu-1")}, lend.Loan{Live: 1}},
		"not started":        {[]client.Object{plain, running}, lend.Loan{}},
		"finished":           {[]client.Object{plain, finished, ended}, lend.Loan{Finished: true}},
		"gone":               {[]client.Object{plain}, lend.Loan{Finished: true}},
		"replaced":           {[]client.Object{plain, replaced}, lend.Loan{Finished: true}},
		"suspended by owner": {[]client.Object{plain, training("tune", 1, 4)}, lend.Loan{Finished: true}},
		"reclaiming":         {[]client.Object{reclaiming, training("tune", 1, 4), trainer("tune-0", "tune").on("gpu-1")}, lend.Loan{Live: 1, Reclaiming: true, ReclaimBy: now, ReclaimID: "r-1"}},
		"killed":             {[]client.Object{reclaiming, training("tune", 1, 4), killed}, lend.Loan{Live: 1, Killed: true, Reclaiming: true, ReclaimBy: now, ReclaimID: "r-1"}},
		"preempted":          {[]client.Object{plain, running, marked}, lend.Loan{Live: 1, Preempted: true}},
		"drained":            {[]client.Object{plain, running, drained}, lend.Loan{Live: 1}},
		"preempted earlier":  {[]client.Object{plain, running, earlier}, lend.Loan{}},
		"preempted before":   {[]client.Object{preempted, training("tune", 1, 4)}, lend.Loan{Preempted: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := gatherAll(t, append(cluster(), test.objects...)...).Snapshot.Loans[0]
			short := lend.Loan{
				Live: got.Live, Finished: got.Finished, Reclaiming: got.Reclaiming, ReclaimBy: got.ReclaimBy,
				ReclaimID: got.ReclaimID, Preempted: got.Preempted, Killed: got.Killed,
			}
			if diff := cmp.Diff(test.want, short); diff != "" {
				t.Errorf("loan (-want +got):\n%s", diff)
			}
		})
	}
}

func disrupted(reason string) []corev1.PodCondition {
	return []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason}}
}

// TestDisruptedOutlivesPod: the mark counts even if the pod is gone by now, but
// not one of an earlier admission, or of somebody who drains a node.
func TestDisruptedOutlivesPod(t *testing.T) {
	running := training("tune", 1, 4)
	running.Spec.Suspend = ptr.To(false)
	g, _ := newGatherer(append(cluster(), running, loan("tune", "gpu-1", 4))...)
	drained := trainer("tune-0", "tune").on("gpu-1")
	drained.Status.Conditions = disrupted("EvictionByEvictionAPI")
	if g.Disrupted.Note(drained.Pod) {
		t.Error("an eviction counts as taken by the scheduler")
	}
	earlier := trainer("tune-0", "tune").on("gpu-1")
	earlier.CreationTimestamp = metav1.Time{Time: now.Add(-time.Hour)}
	earlier.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
	g.Disrupted.Note(earlier.Pod)
	if view, err := g.Gather(t.Context(), now, 1); err != nil || view.Snapshot.Loans[0].Preempted {
		t.Errorf("a pod of an earlier admission counts (error %v)", err)
	}
	marked := trainer("tune-0", "tune").on("gpu-1")
	marked.Status.Conditions = disrupted(v1alpha1.ReasonPreempted)
	if !g.Disrupted.Note(marked.Pod) {
		t.Fatal("the mark was not seen")
	}
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !view.Snapshot.Loans[0].Preempted {
		t.Error("the loan is not preempted")
	}
}

// TestDeterministic: the order of the lists does not matter.
func TestDeterministic(t *testing.T) {
	objects := append(cluster(), training("b", 1, 4), training("a", 2, 4), loan("c", "gpu-1", 4), loan("d", "gpu-1", 2))
	var first []byte
	for range 5 {
		data, err := json.Marshal(gatherAll(t, objects...).Snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		}
		if string(first) != string(data) {
			t.Errorf("another snapshot:\n%s\n%s", first, data)
		}
	}
}

// TestUnreadable: half a cluster is an error, not a snapshot.
func TestUnreadable(t *testing.T) {
	g, _ := newGatherer(cluster()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Live = failing{}
	if _, err := g.Gather(ctx, now, 1); err == nil {
		t.Error("want an error")
	}
}

type failing struct{ client.Reader }

func (failing) List(ctx context.Context, _ client.ObjectList, _ ...client.ListOption) error {
	return ctx.Err()
}

func without(objects []client.Object, name, kind string) []client.Object {
	var kept []client.Object
	for _, o := range objects {
		if o.GetName() != name || kindOf(o) != kind {
			kept = append(kept, o)
		}
	}
	return kept
}

func kindOf(o client.Object) string {
	switch o.(type) {
	case *v1alpha1.LendingPolicy:
		return "LendingPolicy"
	case *v1alpha1.TenantQuota:
		return "TenantQuota"
	case *v1alpha1.TrainingQueue:
		return "TrainingQueue"
	case *appsv1.Deployment:
		return "Deployment"
	default:
		return ""
	}
}
