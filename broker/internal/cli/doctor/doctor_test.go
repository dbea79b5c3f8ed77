package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sick is a cluster in which all is well but for what a test changes.
type sick struct {
	client.Client // only what is asked of it
	objects       []client.Object
	minor         string
	decided       time.Time
	broker        error
	// ahead is how far the server's clock is ahead of the caller's; mute: it does not say.
	ahead time.Duration
	mute  bool
	// forbidden are kinds that may not be listed or made.
	forbidden map[string]bool
	// refused are rights that accounts have not: verb, space, resource.
	refused map[string]bool
}

func (s *sick) Lenders(context.Context) ([]access.Lender, time.Time, error) {
	return nil, s.decided, s.broker
}

// refuse a kind, if it is forbidden.
func (s *sick) refuse(kind string) error {
	if s.forbidden[kind] {
		return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, "", errors.New("the user may not"))
	}
	return nil
}

// kindOf a typed object.
func kindOf(o any) string {
	name := fmt.Sprintf("%T", o)
	return name[strings.LastIndexByte(name, '.')+1:]
}

func (s *sick) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	kind := strings.TrimSuffix(kindOf(list), "List")
	if err := s.refuse(kind); err != nil {
		return err
	}
	var asked client.ListOptions
	asked.ApplyOptions(options)
	var found []runtime.Object
	for _, o := range s.objects {
		if kindOf(o) == kind && (asked.Namespace == "" || asked.Namespace == o.GetNamespace()) {
			found = append(found, o)
		}
	}
	return meta.SetList(list, found)
}

func (s *sick) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if err := s.refuse(kindOf(into)); err != nil {
		return err
	}
	for _, o := range s.objects {
		if kindOf(o) == kindOf(into) && client.ObjectKeyFromObject(o) == key {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(o).Elem())
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: kindOf(into)}, key.Name)
}

func (s *sick) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	review := o.(*authorizationv1.SubjectAccessReview)
	a := review.Spec.ResourceAttributes
	review.Status.Allowed = !s.refused[a.Verb+" "+a.Resource]
	return s.refuse("SubjectAccessReview")
}

// with changes the object of a kind and name.
func with[T client.Object](s *sick, name string, change func(T)) {
	for _, o := range s.objects {
		if t, is := o.(T); is && o.GetName() == name {
			change(t)
			return
		}
	}
	panic(fmt.Sprintf("there is no %T %s", *new(T), name))
}

// without takes objects of a kind and name away; an empty name is all.
func without[T client.Object](s *sick, name string) {
	var left []client.Object
	for _, o := range s.objects {
		if _, is := o.(T); is && (name == "" || o.GetName() == name) {
			continue
		}
		left = append(left, o)
	}
	if len(left) == len(s.objects) {
		panic(fmt.Sprintf("there is no %T %s", *new(T), name))
	}
	s.objects = left
}

func gpus(n int64) corev1.ResourceList {
	return corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(n, resource.DecimalSI)}
}

func condition(kind string, status metav1.ConditionStatus, message string) []metav1.Condition {
	return []metav1.Condition{{Type: kind, Status: status, Reason: "R", Message: message}}
}

func lease(ns, name, holder string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To(holder + "_1f"), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(now.Add(-5 * time.Second))),
	}}
}

func pod(ns, name, scheduler string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.PodSpec{
		SchedulerName: scheduler, Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Limits: gpus(8)}}},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

func running(name, image string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name + "-0", Labels: map[string]string{program: name}},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
}

var once []client.Object

// installed are the definitions, classes and policies of an install, read once.
func installed(t *testing.T) []client.Object {
	if once != nil {
		return once
	}
	shipped, definitions := manifests(t)
	for _, crd := range definitions {
		crd.Status.Conditions = []extensionsv1.CustomResourceDefinitionCondition{{Type: extensionsv1.Established, Status: extensionsv1.ConditionTrue}}
		once = append(once, crd)
	}
	for name, value := range shipped.Classes {
		once = append(once, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value})
	}
	once = append(once, admission(t)...)
	return once
}

// healthy has what the manifests install, two tenants, a lender, a queue and a node.
func healthy(t *testing.T) *sick {
	t.Helper()
	s := &sick{minor: "36", decided: now.Add(-3 * time.Second), forbidden: map[string]bool{}, refused: map[string]bool{}}
	for _, o := range installed(t) {
		s.objects = append(s.objects, o.DeepCopyObject().(client.Object))
	}
	s.objects = append(s.objects,
		lease(system, "ebbtide-scheduler", "ebbtide-scheduler-6c5-x1"), lease(system, "ebbtide-broker", "ebbtide-broker-0"),
		running("ebbtide-scheduler", "ghcr.io/ebbtide/ebbtide-scheduler:v1"), running("ebbtide-broker", "ghcr.io/ebbtide/ebbtide-broker:v1"),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "research", Labels: map[string]string{"team": "research"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "serving", Labels: map[string]string{"team": "serving"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stray"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", Labels: map[string]string{labelProduct: "H100"}}, Status: corev1.NodeStatus{Capacity: gpus(8), Allocatable: gpus(8)}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "cpu-0"}},
		pod("serving", "chat-0", v1alpha1.SchedulerName), pod("research", "bert-0", v1alpha1.SchedulerName),
		&v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"}, Status: v1alpha1.LendingPolicyStatus{
			Conditions: append(condition(v1alpha1.ConditionAccepted, "True", ""), condition(v1alpha1.ConditionSignalsKnown, "True", "")...)}},
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}},
	)
	for _, name := range []string{"research", "serving"} {
		s.objects = append(s.objects, &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TenantQuotaSpec{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}},
			Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: "nvidia.com/gpu", NodeSelector: map[string]string{labelProduct: "H100"}, Nominal: 4}},
		}, Status: v1alpha1.TenantQuotaStatus{Conditions: condition(v1alpha1.ConditionAccepted, "True", "")}})
	}
	return s
}

// admission are the shipped policies and bindings.
func admission(t *testing.T) (out []client.Object) {
	t.Helper()
	all, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range all {
		var kind struct {
			Kind string `json:"kind"`
		}
		decode(t, document, &kind)
		var o client.Object
		switch kind.Kind {
		case "ValidatingAdmissionPolicy":
			o = &admissionv1.ValidatingAdmissionPolicy{}
		case "ValidatingAdmissionPolicyBinding":
			o = &admissionv1.ValidatingAdmissionPolicyBinding{}
		case "MutatingAdmissionPolicy":
			o = &admissionv1.MutatingAdmissionPolicy{}
		case "MutatingAdmissionPolicyBinding":
			o = &admissionv1.MutatingAdmissionPolicyBinding{}
		default:
			continue
		}
		decode(t, document, o)
		out = append(out, o)
	}
	return out
}

// examine makes all checks of the cluster.
func (s *sick) examine(t *testing.T) map[string]Finding {
	t.Helper()
	c := &Cluster{API: s, Broker: s, Clock: clocktesting.NewFakePassiveClock(now.Add(-s.ahead)), Ahead: func() (time.Duration, bool) { return s.ahead, !s.mute }, Version: func() (*version.Info, error) {
		return &version.Info{Major: "1", Minor: s.minor, GitVersion: "v1." + s.minor + ".1"}, nil
	}}
	found := map[string]Finding{}
	for _, f := range c.Examine(t.Context()) {
		if f.Found == "" || (f.Mend == "") != (f.Status == OK) && f.Status != Unknown {
			t.Errorf("%s is %s and says %q, to mend %q", f.Name, f.Status, f.Found, f.Mend)
		}
		found[f.Name] = f
	}
	return found
}

func TestHealthy(t *testing.T) {
	found := healthy(t).examine(t)
	for name, f := range found {
		if f.Status != OK {
			t.Errorf("%s is %s: %s", name, f.Status, f.Found)
		}
	}
	if len(found) != 21 {
		t.Errorf("%d checks", len(found))
	}
}

func TestFindings(t *testing.T) {
	type policy = v1alpha1.LendingPolicy
	tests := map[string]struct {
		change func(*sick)
		check  string
		status Status
		found  string
	}{
		"old server":                   {func(s *sick) { s.minor = "34+" }, "kubernetes", Fail, "Kubernetes v1.34"},
		"new server":                   {func(s *sick) { s.minor = "37" }, "kubernetes", Warn, "not tested"},
		"a clock behind":               {func(s *sick) { s.ahead = 3 * time.Minute }, "clock", Warn, "yours is 3m0s behind"},
		"a clock ahead":                {func(s *sick) { s.ahead = -3 * time.Minute }, "clock", Warn, "yours is 3m0s ahead"},
		"a clock that is nearly right": {func(s *sick) { s.ahead = 4 * time.Second }, "clock", OK, "less than 5s apart"},
		"no clock":                     {func(s *sick) { s.mute = true }, "clock", Unknown, "does not say"},
		// Ages are told by the server's clock, whatever the caller's.
		"a broker that leads, by a clock ahead": {func(s *sick) { s.ahead = -3 * time.Minute }, "broker", OK, "leads"},
		"a young decision, by a clock ahead":    {func(s *sick) { s.ahead = -3 * time.Minute }, "decisions", OK, "3s old"},
		"an agent heard, by a clock ahead": {func(s *sick) {
			s.ahead = -3 * time.Minute
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now)}})
		}, "agents", OK, "heard on 1 node"},
		"an agent silent, by a clock behind": {func(s *sick) {
			s.ahead = 3 * time.Minute
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now.Add(-150 * time.Second))}})
		}, "agents", Fail, "gpu-0"},
		"no definition": {func(s *sick) { without[*extensionsv1.CustomResourceDefinition](s, "loans.ebbtide.dev") }, "definitions", Fail, "missing: loans.ebbtide.dev"},
		"old schema": {func(s *sick) {
			with(s, "loans.ebbtide.dev", func(c *extensionsv1.CustomResourceDefinition) { c.Spec.Versions[0].Schema = nil })
		}, "definitions", Warn, "loans.ebbtide.dev"},
		"not established": {func(s *sick) {
			with(s, "loans.ebbtide.dev", func(c *extensionsv1.CustomResourceDefinition) { c.Status.Conditions = nil })
		}, "definitions", Fail, "not served"},
		"definitions hidden": {func(s *sick) { s.forbidden["CustomResourceDefinition"] = true }, "definitions", Unknown, "may not list"},
		"no policy":          {func(s *sick) { without[*admissionv1.ValidatingAdmissionPolicy](s, "ebbtide-pods") }, "admission-policies", Fail, "ebbtide-pods is gone"},
		"changed policy": {func(s *sick) {
			with(s, "ebbtide-pods", func(p *admissionv1.ValidatingAdmissionPolicy) { p.Spec.Validations = nil })
		}, "admission-policies", Warn, "ebbtide-pods is changed (sha256:"},
		"policies hidden":        {func(s *sick) { s.forbidden["ValidatingAdmissionPolicy"] = true }, "admission-policies", Unknown, "may not list"},
		"no class":               {func(s *sick) { without[*schedulingv1.PriorityClass](s, "ebbtide-online") }, "priority-classes", Fail, "ebbtide-online is missing"},
		"another value":          {func(s *sick) { with(s, "ebbtide-borrower", func(c *schedulingv1.PriorityClass) { c.Value = 5 }) }, "priority-classes", Fail, "has the value 5, not -100"},
		"broker has no right":    {func(s *sick) { s.refused["list lendingpolicies"] = true }, "broker-account", Fail, "may not list lendingpolicies of ebbtide.dev"},
		"scheduler has no right": {func(s *sick) { s.refused["patch jobs"] = true }, "scheduler-account", Fail, "may not patch jobs of batch"},
		"rights hidden":          {func(s *sick) { s.forbidden["SubjectAccessReview"] = true }, "broker-account", Unknown, "you may not ask"},
		"two versions": {func(s *sick) {
			with(s, "ebbtide-broker-0", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "ebbtide-broker:v2" })
		}, "versions", Warn, "v1 (ebbtide-scheduler), v2 (ebbtide-broker)"},
		"no programs": {func(s *sick) {
			without[*corev1.Pod](s, "ebbtide-broker-0")
			without[*corev1.Pod](s, "ebbtide-scheduler-0")
		}, "versions", Warn, "no pod"},
		"no scheduler": {func(s *sick) { without[*coordinationv1.Lease](s, "ebbtide-scheduler") }, "scheduler", Fail, "has ever led"},
		"instead of the default": {func(s *sick) {
			without[*coordinationv1.Lease](s, "ebbtide-scheduler")
			s.objects = append(s.objects, lease("kube-system", "kube-scheduler", "ebbtide-scheduler-7"))
		}, "scheduler", OK, "ebbtide-scheduler-7 leads"},
		"beside the default": {func(s *sick) {
			without[*coordinationv1.Lease](s, "ebbtide-scheduler")
			s.objects = append(s.objects, lease("kube-system", "kube-scheduler", "master-0"))
		}, "scheduler", Fail, "has ever led"},
		"scheduler stopped": {func(s *sick) {
			with(s, "ebbtide-scheduler", func(l *coordinationv1.Lease) { l.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-time.Minute))) })
		}, "scheduler", Fail, "nobody leads"},
		"broker crashes": {func(s *sick) {
			with(s, "ebbtide-broker-0", func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}}
			})
		}, "broker", Warn, "ebbtide-broker-0 is in CrashLoopBackOff"},
		"broker gone":        {func(s *sick) { without[*coordinationv1.Lease](s, "ebbtide-broker") }, "broker", Fail, "no broker has ever led"},
		"leases hidden":      {func(s *sick) { s.forbidden["Lease"] = true }, "broker", Unknown, "may not list leases"},
		"broker unreachable": {func(s *sick) { s.broker = fmt.Errorf("%w: nobody listens", access.ErrUnreachable) }, "decisions", Fail, "nobody listens"},
		"broker refuses":     {func(s *sick) { s.broker = fmt.Errorf("%w: who are you", access.ErrRefused) }, "decisions", Unknown, "who are you"},
		"old decision":       {func(s *sick) { s.decided = now.Add(-2 * time.Minute) }, "decisions", Fail, "2m0s old"},
		"no GPUs":            {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable = nil }) }, "gpu-nodes", Fail, "no node has GPUs"},
		"no labels":          {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Labels = nil }) }, "gpu-nodes", Warn, "gpu-0"},
		"nodes hidden":       {func(s *sick) { s.forbidden["Node"] = true }, "capacity", Unknown, "may not list nodes"},
		"no device plugin": {func(s *sick) {
			with(s, "cpu-0", func(n *corev1.Node) { n.Labels = map[string]string{labelPresent: "true"} })
		}, "device-plugin", Fail, "cpu-0"},
		"a GPU is ill": {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable = gpus(7) }) }, "device-plugin", Warn, "gpu-0 (7 of 8)"},
		"cut without agent": {func(s *sick) {
			with(s, "gpu-0", func(n *corev1.Node) { n.Status.Allocatable["nvidia.com/mig-1g.5gb"] = resource.MustParse("7") })
		}, "agents", Warn, "gpu-0"},
		"agent silent": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}})
		}, "agents", Fail, "2m0s ago on gpu-0"},
		"agent refuses": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-0"}, Status: v1alpha1.GPUNodeStatus{Heartbeat: metav1.NewMicroTime(now), Conditions: condition("Lendable", "False", "an old toolkit")}})
		}, "agents", Warn, "an old toolkit"},
		"no tenants": {func(s *sick) { without[*v1alpha1.TenantQuota](s, "") }, "quotas", Fail, "no tenant"},
		"quota refused": {func(s *sick) {
			with(s, "research", func(q *v1alpha1.TenantQuota) { q.Status.Conditions = condition("Accepted", "False", "h100 differs") })
		}, "quotas", Fail, "research: h100 differs"},
		"quota new":         {func(s *sick) { with(s, "research", func(q *v1alpha1.TenantQuota) { q.Status.Conditions = nil }) }, "quotas", Warn, "research"},
		"promised too much": {func(s *sick) { with(s, "research", func(q *v1alpha1.TenantQuota) { q.Spec.Flavors[0].Nominal = 5 }) }, "capacity", Warn, "h100: 9 promised, 8 there"},
		"no such node":      {func(s *sick) { with(s, "gpu-0", func(n *corev1.Node) { n.Labels[labelProduct] = "A100" }) }, "capacity", Fail, "h100 (nvidia.com/gpu on nodes with nvidia.com/gpu.product=H100)"},
		"of no tenant":      {func(s *sick) { s.objects = append(s.objects, pod("stray", "x", v1alpha1.SchedulerName)) }, "namespaces", Warn, "stray"},
		"of two tenants": {func(s *sick) {
			with(s, "serving", func(q *v1alpha1.TenantQuota) { q.Spec.Namespaces = &metav1.LabelSelector{} })
		}, "namespaces", Fail, "research (research and serving)"},
		"namespaces hidden": {func(s *sick) { s.forbidden["Namespace"] = true }, "namespaces", Unknown, "may not list namespaces"},
		"queue without quota": {func(s *sick) {
			s.objects = append(s.objects, &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "stray", Name: "q"}})
		}, "queues", Fail, "stray/q"},
		"queue paused": {func(s *sick) { with(s, "default", func(q *v1alpha1.TrainingQueue) { q.Spec.Paused = true }) }, "queues", Warn, "research/default"},
		"no queue":     {func(s *sick) { without[*v1alpha1.TrainingQueue](s, "") }, "queues", Warn, "no queue"},
		"lender refused": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Status.Conditions[0].Status, p.Status.Conditions[0].Message = "False", "no target" })
		}, "lenders", Fail, "serving/chat: no target"},
		"lender new":    {func(s *sick) { with(s, "chat", func(p *policy) { p.Status.Conditions = nil }) }, "lenders", Warn, "serving/chat"},
		"lender paused": {func(s *sick) { with(s, "chat", func(p *policy) { p.Spec.Paused = true }) }, "lenders", Warn, "serving/chat"},
		"recall over": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Spec.Recall = &v1alpha1.Recall{Until: metav1.NewTime(now)} })
		}, "lenders", OK, "1 lender"},
		"no lender": {func(s *sick) { without[*policy](s, "") }, "lenders", Warn, "no service lends"},
		"load unknown": {func(s *sick) {
			with(s, "chat", func(p *policy) { p.Status.Conditions[1].Status, p.Status.Conditions[1].Message = "False", "no sample" })
		}, "load", Fail, "serving/chat: no sample"},
		"another scheduler's pod": {func(s *sick) { with(s, "chat-0", func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }) }, "other-schedulers", Warn, "serving/chat-0 (default-scheduler)"},
		"which has ended": {func(s *sick) {
			with(s, "chat-0", func(p *corev1.Pod) { p.Spec.SchedulerName, p.Status.Phase = "default-scheduler", corev1.PodSucceeded })
		}, "other-schedulers", OK, "1 pod"},
		"pods hidden": {func(s *sick) { s.forbidden["Pod"] = true }, "other-schedulers", Unknown, "may not list pods"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := healthy(t)
			tt.change(s)
			got := s.examine(t)[tt.check]
			if got.Status != tt.status || !strings.Contains(got.Found, tt.found) {
				t.Errorf("%s is %s: %s; want %s with %q", tt.check, got.Status, got.Found, tt.status, tt.found)
			}
		})
	}
}

// advisory is healthy as the overlay advise-only leaves it, with the broker's configuration.
func advisory(t *testing.T, config string) *sick {
	s := healthy(t)
	without[*admissionv1.ValidatingAdmissionPolicy](s, "")
	without[*admissionv1.ValidatingAdmissionPolicyBinding](s, "")
	without[*admissionv1.MutatingAdmissionPolicy](s, "")
	without[*admissionv1.MutatingAdmissionPolicyBinding](s, "")
	without[*coordinationv1.Lease](s, "ebbtide-scheduler")
	without[*corev1.Pod](s, "ebbtide-scheduler-0")
	s.refused["list podgroups"] = true // which the scheduler's account may
	with(s, "ebbtide-broker-0", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "ledger"}, {Name: "config", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "ebbtide-broker-config-7h2f"}}}}}
	})
	s.objects = append(s.objects, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "ebbtide-broker-config-7h2f"},
		Data: map[string]string{"broker-config.yaml": config}})
	return s
}

// To advise takes neither scheduler nor policies: what is not there is no failure, and what is
// there must work.
func TestAdviseOnly(t *testing.T) {
	shipped, err := os.ReadFile("../../../../deploy/kustomize/overlays/advise-only/broker-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	advise := string(shipped)
	of := func(f map[string]Finding) (out [3]Status) {
		return [3]Status{f["admission-policies"].Status, f["scheduler"].Status, f["scheduler-account"].Status}
	}
	for name, tt := range map[string]struct {
		config string
		change func(*sick)
		want   [3]Status
	}{
		"as documented":    {advise, func(*sick) {}, [3]Status{Warn, Warn, Warn}},
		"it lends":         {strings.Replace(advise, "advise: true", "advise: false", 1), func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not said":         {strings.Replace(advise, "advise: true", "", 1), func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not a config":     {"advise: true", func(*sick) {}, [3]Status{Fail, Fail, Fail}},
		"not to be read":   {advise, func(s *sick) { s.forbidden["ConfigMap"] = true }, [3]Status{Fail, Fail, Fail}},
		"with a scheduler": {advise, func(s *sick) { s.objects = append(s.objects, running("ebbtide-scheduler", "ebbtide-scheduler:v1")) }, [3]Status{Warn, Fail, Fail}},
		"one that stopped": {advise, func(s *sick) {
			old := lease(system, "ebbtide-scheduler", "ebbtide-scheduler-6c5-x1")
			old.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-time.Hour)))
			s.objects = append(s.objects, old)
		}, [3]Status{Warn, Fail, Warn}},
	} {
		t.Run(name, func(t *testing.T) {
			s := advisory(t, tt.config)
			tt.change(s)
			found := s.examine(t)
			if got := of(found); got != tt.want {
				t.Errorf("admission-policies, scheduler and its account are %v, want %v: %+v", got, tt.want, found)
			}
		})
	}
	found := advisory(t, advise).examine(t)
	if f := found["lenders"]; f.Status != OK || !strings.Contains(f.Found, "1 of them only advise") {
		t.Errorf("lenders are %s: %s", f.Status, f.Found)
	}
	for name, f := range found {
		if f.Status == Fail {
			t.Errorf("%s fails: %s", name, f.Found)
		}
	}
}

// The API server's time is taken from its answers.
func TestTold(t *testing.T) {
	for name, tt := range map[string]struct {
		date  string
		ahead time.Duration
		known bool
	}{
		"the same":         {now.Format(http.TimeFormat), 0, true},
		"a second's sight": {now.Add(time.Second).Format(http.TimeFormat), 0, true},
		"ahead":            {now.Add(time.Minute).Format(http.TimeFormat), time.Minute, true},
		"behind":           {now.Add(-time.Minute).Format(http.TimeFormat), -time.Minute, true},
		"no date":          {"", 0, false},
		"no time":          {"soon", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = []string{tt.date} }))
			defer server.Close()
			listening := &told{clock: clocktesting.NewFakePassiveClock(now.Add(900 * time.Millisecond))}
			answer, err := (&http.Client{Transport: listening.by(http.DefaultTransport)}).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if ahead, known := listening.ahead(); ahead != tt.ahead || known != tt.known {
				t.Errorf("%s ahead, known: %t", ahead, known)
			}
		})
	}
}

func TestFailed(t *testing.T) {
	if Failed([]Finding{{Status: Warn}, {Status: Unknown}, {Status: OK}}) || !Failed([]Finding{{Status: OK}, {Status: Fail}}) {
		t.Error("only a check that fails is a failure")
	}
}
