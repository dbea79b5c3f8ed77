package gather_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// installed are the objects of kinds that are installed, in a cache that is full.
type installed struct {
	client.Reader
	objects []*unstructured.Unstructured
	unread  string // a kind that is installed and whose cache is empty yet
}

type informer struct {
	cache.Informer
	synced bool
}

func (i informer) HasSynced() bool { return i.synced }

func (s *installed) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	gvk := object.GetObjectKind().GroupVersionKind()
	if gvk.Kind == s.unread {
		return informer{}, nil
	}
	for _, o := range s.objects {
		if o.GroupVersionKind() == gvk {
			return informer{synced: true}, nil
		}
	}
	return nil, &meta.NoKindMatchError{GroupKind: gvk.GroupKind()}
}

func (s *installed) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	u := list.(*unstructured.UnstructuredList)
	for _, o := range s.objects {
		if o.GetKind()+"List" == u.GetKind() {
			u.Items = append(u.Items, *o)
		}
	}
	return nil
}

func kinds(t *testing.T, unread string, texts ...string) *autoscaler.Kinds {
	t.Helper()
	s := &installed{unread: unread}
	for _, text := range texts {
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		o.SetNamespace("serving")
		s.objects = append(s.objects, o)
	}
	k := &autoscaler.Kinds{Cache: s}
	k.Look(t.Context())
	return k
}

// chat gathers the one lender of cluster(), changed as edit says.
func chat(t *testing.T, k *autoscaler.Kinds, edit func(*v1alpha1.LendingPolicySpec), objects ...client.Object) (lend.Lender, *gather.View, *silent) {
	t.Helper()
	p := policy("chat", 12)
	if edit != nil {
		edit(&p.Spec)
	}
	g, signals := newGatherer(append(append(without(cluster(), "chat", "LendingPolicy"), p), objects...)...)
	idle := signal.Readings{"chat-1": {At: now}}
	signals.sample = heard(idle, idle, idle)
	g.Kinds = k
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	return view.Snapshot.Lenders[0], view, signals
}

func chatHPA(desired int32, conditions ...autoscalingv2.HorizontalPodAutoscalerCondition) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	h.Namespace, h.Name = "serving", "chat"
	h.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"}
	h.Spec.MaxReplicas, h.Status.DesiredReplicas, h.Status.Conditions = 5, desired, conditions
	return h
}

const scaledChat = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 0
  maxReplicaCount: 10
  triggers:
  - {type: redis, metadata: {address: "redis:6379", listName: inference_tasks, listLength: "5"}}
  - {type: prometheus, metadata: {query: sum(llm_pending_requests), threshold: "5"}}
  - {type: cron, metadata: {timezone: Asia/Shanghai, start: "0 8 * * 1-5", end: "0 18 * * 1-5", desiredReplicas: "5"}}
`

// TestDesired: the highest of the workload's replicas and of all autoscalers', and what is
// owned if the policy does not say it.
func TestDesired(t *testing.T) {
	variant := `
apiVersion: llmd.ai/v1alpha1
kind: VariantAutoscaling
metadata: {name: chat}
spec: {scaleTargetRef: {kind: Deployment, name: chat}}
status: {desiredOptimizedAlloc: {numReplicas: 6}}`
	unowned := func(s *v1alpha1.LendingPolicySpec) { s.Owned = nil }
	for name, test := range map[string]struct {
		kinds          *autoscaler.Kinds
		objects        []client.Object
		desired, owned int64
	}{
		"lower than the workload": {nil, []client.Object{chatHPA(1)}, 3, 10},
		"higher":                  {nil, []client.Object{chatHPA(4)}, 4, 10},
		"of several":              {kinds(t, "", variant), []client.Object{chatHPA(4)}, 6, 10},
		"ScaledObject":            {kinds(t, "", scaledChat), nil, 3, 20},
		"ScaledObject and HPA":    {kinds(t, "", scaledChat), []client.Object{chatHPA(5)}, 5, 20},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := chat(t, test.kinds, unowned, test.objects...)
			if l.Desired != test.desired || l.Owned != test.owned || l.Problem != nil {
				t.Errorf("desired %d, owned %d, problem %v; want %d and %d", l.Desired, l.Owned, l.Problem, test.desired, test.owned)
			}
		})
	}
}

// TestHold: reasons to lend nothing new while nothing is wrong. The load stays known.
func TestHold(t *testing.T) {
	rolled := func(edit func(*appsv1.Deployment)) []client.Object {
		d := deployment("chat", 3, 2)
		d.Generation, d.Status.ObservedGeneration = 4, 4
		edit(d)
		return []client.Object{d}
	}
	limited := autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionTrue, Reason: "TooManyReplicas"}
	paused := `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: chat, annotations: {autoscaling.keda.sh/paused: "true"}}, spec: {scaleTargetRef: {name: chat}}}`
	for name, test := range map[string]struct {
		kinds   *autoscaler.Kinds
		objects []client.Object
		want    string
	}{
		"nothing":         {kinds(t, ""), rolled(func(*appsv1.Deployment) {}), ""},
		"not seen yet":    {nil, rolled(func(d *appsv1.Deployment) { d.Generation = 5 }), gather.ReasonRollout},
		"some old":        {nil, rolled(func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 4, 3 }), gather.ReasonRollout},
		"some missing":    {nil, rolled(func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 2, 2 }), gather.ReasonRollout},
		"paused midway":   {nil, rolled(func(d *appsv1.Deployment) { d.Spec.Paused, d.Status.UpdatedReplicas = true, 1 }), gather.ReasonRollout},
		"paused, settled": {nil, rolled(func(d *appsv1.Deployment) { d.Spec.Paused = true }), ""},
		"scaled down":     {nil, rolled(func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 5, 5 }), ""},
		"at maximum":      {nil, []client.Object{chatHPA(5, limited)}, gather.ReasonAtMax},
		"paused":          {kinds(t, "", paused), nil, gather.ReasonAutoscalerPaused},
		"not read":        {kinds(t, "ScaledObject"), nil, gather.ReasonUnread},
	} {
		t.Run(name, func(t *testing.T) {
			objects := test.objects
			g, signals := newGatherer(append(without(cluster(), "chat", "Deployment"), withDeployment(objects)...)...)
			idle := signal.Readings{"chat-1": {At: now}}
			signals.sample = heard(idle, idle, idle)
			g.Kinds = test.kinds
			view, err := g.Gather(t.Context(), now, 1)
			if err != nil {
				t.Fatal(err)
			}
			l := view.Snapshot.Lenders[0]
			got := ""
			if l.Hold != nil {
				got = l.Hold.Reason
			}
			if got != test.want || !l.Load.Known || l.Problem != nil {
				t.Errorf("hold %+v, problem %v, load %+v; want %q", l.Hold, l.Problem, l.Load, test.want)
			}
		})
	}
}

func withDeployment(objects []client.Object) []client.Object {
	for _, o := range objects {
		if kindOf(o) == "Deployment" {
			return objects
		}
	}
	return append(objects, deployment("chat", 3, 2))
}

// TestStatefulSetRollout: what a partition and OnDelete leave as it is, is no rollout.
func TestStatefulSetRollout(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*appsv1.StatefulSet)
		want bool
	}{
		"settled":   {func(s *appsv1.StatefulSet) { s.Status.UpdateRevision, s.Status.UpdatedReplicas = "a", 0 }, false},
		"rolls":     {func(s *appsv1.StatefulSet) {}, true},
		"unseen":    {func(s *appsv1.StatefulSet) { s.Generation, s.Status.UpdateRevision = 1, "a" }, true},
		"on delete": {func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }, false},
		"partition": {func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
		}, false},
		"below the partition": {func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](1)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			set := &appsv1.StatefulSet{}
			set.Namespace, set.Name, set.UID = "serving", "chat", "s-chat"
			set.Spec.Replicas, set.Spec.Template = ptr.To[int32](3), template(2)
			set.Status = appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "b"}
			test.edit(set)
			l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) { s.TargetRef.Kind = "StatefulSet" }, set)
			if got := l.Hold != nil && l.Hold.Reason == gather.ReasonRollout; got != test.want {
				t.Errorf("hold: %+v, want a rollout: %t", l.Hold, test.want)
			}
		})
	}
}

// TestScaledObject is the one that scales by a list to zero, with a query and a cron: the
// service's whole set may be lent, the cron is a floor before its time has come, and the
// triggers stand in for the signal autoscaler.
func TestScaledObject(t *testing.T) {
	edit := func(s *v1alpha1.LendingPolicySpec) {
		s.Owned = nil
		s.Signals = []v1alpha1.Signal{{Autoscaler: ptr.To(true)}}
	}
	idle := deployment("chat", 0, 2)
	p := policy("chat", 0)
	edit(&p.Spec)
	objects := without(without(cluster(), "chat", "Deployment"), "chat", "LendingPolicy")
	objects = without(without(without(objects, "chat-1", ""), "chat-2", ""), "chat-3", "")
	g, signals := newGatherer(append(objects, idle, p)...)
	g.Kinds, g.Backends = kinds(t, "", scaledChat), oneBackend{}
	const path = "spec.signals[0] (ScaledObject chat, triggers[0])"
	signals.sample = signal.Sample{
		Profiles: map[string]map[signal.Measure]signal.Readings{},
		Values:   map[string]signal.Reading{path: {Value: 0, At: now}, "spec.signals[0] (ScaledObject chat, triggers[1])": {Value: 7, At: now}},
	}
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	l := view.Snapshot.Lenders[0]
	if l.Owned != 20 || l.Desired != 0 || l.Warm != 1 || l.Problem != nil || l.Hold != nil {
		t.Errorf("got %+v", l)
	}
	want := []lend.Signal{
		{Name: path, Low: 2.5, High: 5, PerReplica: 5},
		{Name: "spec.signals[0] (ScaledObject chat, triggers[1])", Value: 7, Low: 2.5, High: 5, PerReplica: 5},
	}
	if diff := cmp.Diff(want, l.Load.Signals); diff != "" || !l.Load.Known {
		t.Errorf("load %+v (-want +got):\n%s", l.Load, diff)
	}
	if len(l.Floors) != 1 || l.Floors[0].Name != "ScaledObject chat triggers[2]" || l.Floors[0].Units != 10 || !l.Floors[0].Until.After(now) ||
		l.Floors[0].Until.Sub(l.Floors[0].From) != 10*time.Hour || l.Floors[0].From.Hour() != 0 {
		t.Errorf("floors: %+v, want five replicas from 8:00 to 18:00 in Shanghai", l.Floors)
	}
	if got := signals.targets[0].Tenant; got != l.Tenant || got == "" {
		t.Errorf("asked for tenant %q, want the lender's, %q", got, l.Tenant)
	}
	if specs := signals.targets[0].Specs; len(specs) != 2 || specs[0].Kind != signal.KindRedis || specs[0].Redis.Backend != "tasks" {
		t.Errorf("asked: %+v", specs)
	}
}

// TestHugeCron: numbers whose product is no number any more keep everything, and not, as
// one that has wrapped around, nothing. What is owned ends at the largest number, too.
func TestHugeCron(t *testing.T) {
	huge := strings.ReplaceAll(strings.ReplaceAll(scaledChat, `desiredReplicas: "5"`, `desiredReplicas: "2147483647"`), "maxReplicaCount: 10", "maxReplicaCount: 2147483647")
	for _, gpus := range []int64{2, 1 << 32, 1 << 33, 1 << 40, math.MaxInt64} {
		p := policy("chat", 0)
		p.Spec.Owned = nil
		g, _ := newGatherer(append(without(without(cluster(), "chat", "Deployment"), "chat", "LendingPolicy"), deployment("chat", 0, gpus), p)...)
		g.Kinds = kinds(t, "", huge)
		view, err := g.Gather(t.Context(), now, 1)
		if err != nil {
			t.Fatal(err)
		}
		l := view.Snapshot.Lenders[0]
		want := int64(math.MaxInt64)
		if gpus <= want/math.MaxInt32 {
			want = math.MaxInt32 * gpus
		}
		if len(l.Floors) != 1 || l.Floors[0].Units != want || l.Owned != want {
			t.Errorf("%d units each: %d owned, floors %+v, want %d units", gpus, l.Owned, l.Floors, want)
		}
	}
}

type oneBackend struct{}

func (oneBackend) Named(kind signal.Kind, addresses string, _ int) string {
	if kind == signal.KindRedis && addresses == "redis:6379" {
		return "tasks"
	}
	return ""
}

// TestAutoscalerSignal: what it looks at that cannot be read is unknown, with the reason,
// and so is an autoscaler that there is not.
func TestAutoscalerSignal(t *testing.T) {
	edit := func(s *v1alpha1.LendingPolicySpec) { s.Signals = []v1alpha1.Signal{{Autoscaler: ptr.To(true)}} }
	l, _, _ := chat(t, kinds(t, "", scaledChat), edit)
	if want := "spec.signals[0] (ScaledObject chat, triggers[0]): no Redis backend of the broker's configuration has the address and the database 0 that it names"; l.Load.Known || l.Load.Unknown != want {
		t.Errorf("load %+v, want unknown: %s", l.Load, want)
	}
	if l, _, _ := chat(t, nil, edit); l.Load.Known {
		t.Errorf("load %+v is known without an autoscaler", l.Load)
	}
	cpu := chatHPA(3)
	cpu.Spec.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU}}}
	l, view, _ := chat(t, nil, edit, cpu)
	if l.Load.Known {
		t.Errorf("CPU made the load known: %+v", l.Load)
	}
	if len(view.Notes["serving/chat"]) != 1 {
		t.Errorf("notes: %v, want one about CPU", view.Notes)
	}
}

// knativeChat is a Knative Service with one Revision, which serves ten requests at once.
var knativeChat = []string{`
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: chat, uid: service}
spec:
  template:
    spec:
      containerConcurrency: 10
      schedulerName: ebbtide
      nodeSelector: {product: h100}
      containers: [{name: main, resources: {limits: {nvidia.com/gpu: "2"}}}]
status: {latestCreatedRevisionName: chat-1, latestReadyRevisionName: chat-1}`, `
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: chat, uid: config, ownerReferences: [{kind: Service, name: chat, uid: service, controller: true}]}`, `
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: chat-1, uid: revision, ownerReferences: [{kind: Configuration, name: chat, uid: config, controller: true}]}`, `
apiVersion: autoscaling.internal.knative.dev/v1alpha1
kind: PodAutoscaler
metadata:
  name: chat-1
  annotations: {autoscaling.knative.dev/max-scale: "4"}
  ownerReferences: [{kind: Revision, name: chat-1, uid: revision, controller: true}]
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat-1-deployment}, containerConcurrency: 10}
status: {desiredScale: 2, conditions: [{type: Active, status: "True"}]}`}

// TestKnativeService: its pods are told by five owners above them, its PodAutoscaler says
// what it wants, and its containerConcurrency how much a replica serves.
func TestKnativeService(t *testing.T) {
	d := deployment("chat-1-deployment", 2, 2)
	d.OwnerReferences = controlledBy("Revision", "revision")
	rs := replicaSet("chat-1-deployment")
	serves := newPod("serving", "chat-1-a", 2, controlledBy("ReplicaSet", rs.UID)).on("gpu-1").ready()
	edit := func(s *v1alpha1.LendingPolicySpec) {
		s.Owned = nil
		s.TargetRef = v1alpha1.TargetRef{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "chat"}
	}
	l, _, signals := chat(t, kinds(t, "", knativeChat...), edit, d, rs, serves)
	if l.Problem != nil || l.Running != 1 || l.Ready != 1 || l.Desired != 2 || l.Owned != 8 || l.UnitsPerPod != 2 || l.Hold != nil {
		t.Errorf("got %+v, problem %v", l, l.Problem)
	}
	if s := signals.targets[0].Specs; len(s) != 1 || s[0].SlotsMost != 10 || s[0].Slots != 0 {
		t.Errorf("asked %+v, want at most 10 slots", s)
	}
	const unread = "spec.targetRef: serving.knative.dev/v1 Service chat was not read yet: cannot read Revision"
	if l, _, _ := chat(t, kinds(t, "Revision", knativeChat...), edit, d, rs, serves); l.Problem == nil || l.Problem.Message != unread {
		t.Errorf("problem %v, want %s", l.Problem, unread)
	}
	owned := func(s *v1alpha1.LendingPolicySpec) {
		edit(s)
		s.Owned = ptr.To[int64](8)
	}
	const blind = "nothing says how many replicas Service chat should have: no PodAutoscaler of its Revisions was found"
	if l, _, _ := chat(t, kinds(t, "", knativeChat[:3]...), owned, d, rs, serves); l.Hold == nil || l.Hold.Message != blind || l.Problem != nil {
		t.Errorf("without a PodAutoscaler: hold %v, problem %v", l.Hold, l.Problem)
	}
}

// TestLeaderWorkerSet: groups of one pod lend, larger ones are refused.
func TestLeaderWorkerSet(t *testing.T) {
	groups := func(size, key string) string {
		return `
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: chat, uid: lws}
spec:
  replicas: 3
  leaderWorkerTemplate:
    ` + size + `
    ` + key + `: {spec: {nodeSelector: {product: h100}, containers: [{name: main, resources: {limits: {nvidia.com/gpu: "2"}}}]}}
`
	}
	set := &appsv1.StatefulSet{}
	set.Namespace, set.Name, set.UID, set.OwnerReferences = "serving", "chat", "sts-lws", controlledBy("LeaderWorkerSet", "lws")
	leader := newPod("serving", "chat-0", 2, controlledBy("StatefulSet", "sts-lws")).on("gpu-1").ready()
	const prefix = "spec.targetRef: leaderworkerset.x-k8s.io/v1 LeaderWorkerSet chat "
	for name, test := range map[string]struct{ text, problem string }{
		"one pod":  {groups("size: 1", "workerTemplate"), ""},
		"default":  {groups("", "leaderTemplate"), ""},
		"group":    {groups("size: 4", "workerTemplate"), prefix + "has groups of 4 pods (spec.leaderWorkerTemplate.size): only groups of one pod can lend"},
		"template": {groups("size: 1", "otherTemplate"), prefix + "has no pod template at spec.leaderWorkerTemplate.workerTemplate"},
		"absent":   {"{apiVersion: leaderworkerset.x-k8s.io/v1, kind: LeaderWorkerSet, metadata: {name: other}}", prefix + "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, _ := chat(t, kinds(t, "", test.text), func(s *v1alpha1.LendingPolicySpec) {
				s.TargetRef = v1alpha1.TargetRef{APIVersion: "leaderworkerset.x-k8s.io/v1", Kind: "LeaderWorkerSet", Name: "chat"}
			}, set, leader)
			if test.problem == "" && (l.Problem != nil || l.Desired != 3 || l.Running != 1 || l.UnitsPerPod != 2) {
				t.Errorf("got %+v, problem %v", l, l.Problem)
			}
			if test.problem != "" && (l.Problem == nil || l.Problem.Message != test.problem) {
				t.Errorf("problem %v, want %s", l.Problem, test.problem)
			}
		})
	}
}

// TestManage: the broker scales a target only if nobody else does.
func TestManage(t *testing.T) {
	manage := func(s *v1alpha1.LendingPolicySpec) {
		s.Owned = nil
		s.Scaling = v1alpha1.Scaling{Mode: v1alpha1.ScalingManage, Min: 1, Max: ptr.To[int32](5)}
	}
	l, view, _ := chat(t, nil, manage)
	if l.Scale == nil || *l.Scale != (lend.Scale{Min: 1, Max: 5, Replicas: 3}) || l.Owned != 10 || len(view.ScalingRefused) != 0 {
		t.Errorf("scale %+v, owned %d, refused %v", l.Scale, l.Owned, view.ScalingRefused)
	}
	for name, test := range map[string]struct {
		kinds   *autoscaler.Kinds
		objects []client.Object
		reason  string
		message string
	}{
		"HPA":          {nil, []client.Object{chatHPA(3)}, gather.ReasonHasAutoscaler, "spec.scaling.mode: HorizontalPodAutoscaler chat has the same target"},
		"ScaledObject": {kinds(t, "", scaledChat), nil, gather.ReasonHasAutoscaler, "spec.scaling.mode: ScaledObject chat has the same target"},
		"not read": {kinds(t, "ScaledObject"), nil, gather.ReasonUnread,
			"spec.scaling.mode: it is not known whether an autoscaler has the target: cannot read ScaledObject"},
	} {
		t.Run(name, func(t *testing.T) {
			l, view, _ := chat(t, test.kinds, func(s *v1alpha1.LendingPolicySpec) {
				manage(s)
				s.Owned = ptr.To[int64](10)
			}, test.objects...)
			r := view.ScalingRefused["serving/chat"]
			if l.Scale != nil || l.Problem != nil || r == nil || r.Reason != test.reason || r.Message != test.message {
				t.Errorf("scale %+v, problem %v, refused %+v", l.Scale, l.Problem, r)
			}
		})
	}
	l, view, _ = chat(t, kinds(t, "", knativeChat[:3]...), func(s *v1alpha1.LendingPolicySpec) {
		manage(s)
		s.Owned = ptr.To[int64](10)
		s.TargetRef = v1alpha1.TargetRef{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "chat"}
	})
	if r := view.ScalingRefused["serving/chat"]; l.Scale != nil || r == nil || r.Reason != gather.ReasonNoScale {
		t.Errorf("Knative Service: scale %+v, refused %+v", l.Scale, r)
	}
	if l, _, _ := chat(t, nil, func(s *v1alpha1.LendingPolicySpec) {
		s.Scaling = v1alpha1.Scaling{Mode: v1alpha1.ScalingManage, Min: 3, Max: ptr.To[int32](2)}
	}); l.Scale != nil || l.Problem == nil || l.Problem.Message != "spec.scaling: mode Manage needs max, and min from 1 to max" {
		t.Errorf("scale %+v, problem %v", l.Scale, l.Problem)
	}
}

// TestCanary: two versions of one service are two lenders, and neither lends its last
// replica, however idle it is.
func TestCanary(t *testing.T) {
	owner := types.UID("rs-canary")
	rs := replicaSet("canary")
	serves := newPod("serving", "canary-1", 2, controlledBy("ReplicaSet", owner)).on("gpu-1").ready()
	stable, canary := policy("chat", 6), policy("canary", 2)
	for _, p := range []*v1alpha1.LendingPolicy{stable, canary} {
		p.Spec.Headroom.Warm = ptr.To[int64](0)
	}
	objects := without(without(without(cluster(), "chat", "LendingPolicy"), "chat-2", ""), "chat-3", "")
	objects = append(without(objects, "chat", "Deployment"), deployment("chat", 1, 2), deployment("canary", 1, 2), rs, serves, stable, canary)
	g, signals := newGatherer(objects...)
	idle := signal.Readings{"chat-1": {At: now}, "canary-1": {At: now}}
	signals.sample = heard(idle, idle, idle)
	view, err := g.Gather(t.Context(), now, 1)
	if err != nil {
		t.Fatal(err)
	}
	plan, _ := lend.Decide(view.Snapshot, lend.State{}, lend.DefaultPolicy())
	for i, want := range []int64{2, 2} {
		if v := plan.Lenders[i]; v.Need != want || v.Lendable+v.Lent > v.Owned-want {
			t.Errorf("%s: %+v, want a need of %d units", v.Name, v, want)
		}
	}
	if v := plan.Lenders[0]; v.Name != "serving/canary" || v.Lendable != 0 {
		t.Errorf("the canary's last replica could be lent: %+v", v)
	}
}
