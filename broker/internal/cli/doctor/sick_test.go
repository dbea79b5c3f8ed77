package doctor

import (
	"context"
	"errors"
	"fmt"
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
