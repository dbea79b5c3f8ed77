package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/crds"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// stale is a reader that has objects as they were with another UID.
type stale struct {
	client.Reader
	uid types.UID
}

func (s stale) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	err := s.Reader.Get(ctx, key, o, options...)
	o.SetUID(s.uid)
	return err
}

// TestOnARealServer goes through the course of every kind on a real API server with the
// kinds' own definitions: what is written is not pruned, and defaults change no gang.
func TestOnARealServer(t *testing.T) {
	manifests, err := crds.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{NoPrometheus: true})
	// Before they are installed, there are no jobs of these kinds.
	early, c := onLab(t, l)
	if list, err := early.List(t.Context(), c, anything); err != nil || len(list) != 0 {
		t.Fatalf("without the kinds: %v, %v", list, err)
	}
	if err := l.Apply(t.Context(), manifests...); err != nil {
		t.Fatal(err)
	}
	s, c := onLab(t, l)
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			if err := l.CreateNamespace(t.Context(), name, nil); err != nil {
				t.Fatal(err)
			}
			realCourse(t, s, c, name)
		})
	}
	t.Run("pods", func(t *testing.T) { realPods(t, l, s, c) })
}

func onLab(t *testing.T, l *lab.Lab) (*Set, client.Client) {
	t.Helper()
	c, err := client.New(l.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	c = client.WithFieldValidation(c, metav1.FieldValidationStrict)
	return NewSet(Clients{Live: c, Client: c, Status: c.Status()}, &lineage.Lineage{}, &Batch{Live: c, Client: c, Status: c.Status()}), c
}

// put creates an example's objects in their own namespace.
func put(t *testing.T, c client.Client, name string) *unstructured.Unstructured {
	t.Helper()
	first := example(t, name)[0]
	objects := []*unstructured.Unstructured{first}
	for _, part := range examples[name].parts {
		objects = append(objects, example(t, part)[0])
	}
	if name == "trainjob" {
		runtime := example(t, "trainjob-runtime")[0]
		runtime.SetUID("")
		if err := c.Create(t.Context(), runtime); err != nil {
			t.Fatal(err)
		}
	}
	for i, o := range objects {
		o.SetUID("")
		o.SetNamespace(name)
		if i > 0 {
			o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(first, first.GroupVersionKind())})
		}
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

// seen is the only job of its namespace.
func seen(t *testing.T, s *Set, c client.Client, namespace string) Job {
	t.Helper()
	list, err := s.List(t.Context(), c, anything)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []Job
	for _, job := range list {
		if job.Key.Namespace == namespace && job.GroupKind != kindPod.GroupKind() {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) != 1 {
		t.Fatalf("%d jobs: %+v", len(jobs), jobs)
	}
	return jobs[0]
}

func realCourse(t *testing.T, s *Set, c client.Client, name string) {
	test := examples[name]
	object := put(t, c, name)
	job := seen(t, s, c, name)
	got := Gang{job.Pods, gpu, UnitsOf(&job.Template.Spec, gpu)}
	if got != test.gang || job.MinPods != test.min || job.Problem != "" || !job.Suspended || job.UID != object.GetUID() {
		t.Fatalf("gang %+v, at least %d, problem %q, suspended %t", got, job.MinPods, job.Problem, job.Suspended)
	}
	field := func() bool {
		t.Helper()
		value, _, _ := unstructured.NestedBool(live(t, c, object).Object, strings.Split(test.path, "/")[1:]...)
		return value
	}
	said := Admission{Reason: "NoRoom", Message: "1 of 4"}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := s.Tell(t.Context(), job.Ref, job.Told, said, at); err != nil {
		t.Fatal(err)
	}
	if job = seen(t, s, c, name); job.Told != said || !job.Waits.Equal(at) {
		t.Errorf("told %+v since %s", job.Told, job.Waits)
	}
	// The writes themselves are bound to the object that was read.
	other := *s
	other.kinds = slices.Clone(s.kinds)
	behind := stale{c, "00000000-0000-0000-0000-000000000000"}
	for i, k := range other.kinds {
		switch kind := k.kind.(type) {
		case *Suspendable:
			late := *kind
			late.Live = behind
			other.kinds[i].kind = &late
		case *Batch:
			late := *kind
			late.Live = behind
			other.kinds[i].kind = &late
		}
	}
	replaced := job.Ref
	replaced.UID = behind.uid
	if len(test.parts) == 0 { // else what it is made of is not found
		if err := other.Resume(t.Context(), replaced, 1, test.gang); !errors.Is(err, ErrChanged) || !field() {
			t.Errorf("resumed another object: %v", err)
		}
	}
	if !test.condition || name == "job" { // elsewhere the version is the precondition
		if err := other.Tell(t.Context(), replaced, said, Admission{Reason: "Other"}, at); err != nil || seen(t, s, c, name).Told != said {
			t.Errorf("told another object: %v", err)
		}
	}
	if err := undisturbed(t, func() error { return s.Resume(t.Context(), job.Ref, 1, test.gang) }); err != nil || field() {
		t.Fatalf("resume: %v, suspended %t", err, field())
	}
	if err := other.Suspend(t.Context(), replaced); !errors.Is(err, ErrChanged) || field() {
		t.Errorf("suspended another object: %v", err)
	}
	if test.min > 0 && name != "rayjob" {
		if err := undisturbed(t, func() error { return s.Resize(t.Context(), job.Ref, test.min) }); err != nil || sizeOf(t, c, object) != test.min {
			t.Errorf("resize: %d pods, %v", sizeOf(t, c, object), err)
		}
	}
	if err := s.Tell(t.Context(), job.Ref, said, Admission{Admitted: true, Reason: "Lent"}, at.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := seen(t, s, c, name); !got.Told.Admitted || got.Suspended || got.Attempt != 1 {
		t.Errorf("admitted: %+v", got)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil || !field() {
		t.Fatalf("suspend: %v, suspended %t", err, field())
	}
	if got := seen(t, s, c, name); got.Pods != test.gang.Pods || got.MinPods != test.min || got.Problem != "" {
		t.Errorf("whole again: %d pods, at least %d, problem %q", got.Pods, got.MinPods, got.Problem)
	}
	if err := undisturbed(t, func() error { return s.Resume(t.Context(), job.Ref, 2, test.gang) }); err != nil {
		t.Error(err)
	}
}

// undisturbed does it again where it met a write by Kubernetes' own controllers, as the next
// decision would.
func undisturbed(t *testing.T, do func() error) (err error) {
	t.Helper()
	labtest.Eventually(t, 2*time.Minute, func(context.Context) (bool, string) {
		err = do()
		return !apierrors.IsConflict(err), fmt.Sprint(err)
	})
	return err
}

// realPods: a group of pods, and pods that real controllers make.
func realPods(t *testing.T, l *lab.Lab, s *Set, c client.Client) {
	const namespace = "research"
	if err := l.CreateNamespace(t.Context(), namespace, nil); err != nil {
		t.Fatal(err)
	}
	for _, o := range append(example(t, "podgroup"), example(t, "leaderworkerset")...) {
		o.SetUID("")
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	pair := jobNamed(t, s, c, "pair-")
	if pair.Pods != 2 || pair.Problem != "" || !pair.Suspended {
		t.Fatalf("got %+v", pair)
	}
	if err := s.Tell(t.Context(), pair.Ref, pair.Told, Admission{Reason: "NoRoom"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := undisturbed(t, func() error { return s.Resume(t.Context(), pair.Ref, 1, Gang{2, gpu, 4}) }); err != nil {
		t.Fatal(err)
	}
	if pair = jobNamed(t, s, c, "pair-"); pair.Suspended || pair.Attempt != 1 || pair.Told.Reason != "NoRoom" {
		t.Errorf("admitted: %+v", pair)
	}
	replaced := pair.Ref
	replaced.UID = "00000000-0000-0000-0000-000000000000"
	if err := s.Tell(t.Context(), replaced, Admission{}, Admission{Reason: "Other"}, time.Now()); err != nil || jobNamed(t, s, c, "pair-").Told.Reason != "NoRoom" {
		t.Errorf("told another pod: %v", err)
	}
	if err := s.Suspend(t.Context(), pair.Ref); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		var list corev1.PodList
		err := c.List(ctx, &list, client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelPodGroup})
		return err == nil && len(list.Items) == 0, fmt.Sprintf("%d pods of the group, %v", len(list.Items), err)
	})
	// A StatefulSet of a LeaderWorkerSet's, as its controller makes it.
	var lws unstructured.Unstructured
	lws.SetGroupVersionKind(kindLWS)
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "batch-inference"}, &lws); err != nil {
		t.Fatal(err)
	}
	leaders := leaderSet(t, &lws)
	if err := c.Create(t.Context(), leaders); err != nil {
		t.Fatal(err)
	}
	made := &lineage.Lineage{}
	s.Of(kindPod.GroupKind()).(*Gated).Chains = made
	find := func(not types.UID) (leader Job) {
		t.Helper()
		labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
			list, err := s.List(ctx, c, anything)
			at := slices.IndexFunc(list, func(j Job) bool { return j.Key.Name == leaders.Name+"-0" && j.UID != not && !j.Finished })
			if at >= 0 {
				leader = list[at]
			}
			return at >= 0, fmt.Sprintf("%+v, %v", list, err)
		})
		return leader
	}
	if list, err := s.List(t.Context(), c, anything); err != nil || slices.ContainsFunc(list, func(j Job) bool { return j.Key.Name == leaders.Name+"-0" }) {
		t.Errorf("a pod whose maker is not known is a job: %+v, %v", list, err)
	}
	made.Put(leaders)
	leader := find("")
	if err := undisturbed(t, func() error { return s.Resume(t.Context(), leader.Ref, 1, Gang{1, gpu, 1}) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Suspend(t.Context(), leader.Ref); err != nil {
		t.Fatal(err)
	}
	if next := find(leader.UID); !next.Suspended || next.Attempt != 0 {
		t.Errorf("the next one: %+v", next)
	}
}

func jobNamed(t *testing.T, s *Set, c client.Client, prefix string) Job {
	t.Helper()
	list, err := s.List(t.Context(), c, anything)
	at := slices.IndexFunc(list, func(j Job) bool { return strings.HasPrefix(j.Key.Name, prefix) })
	if err != nil || at < 0 {
		t.Fatalf("no job %s among %+v, %v", prefix, list, err)
	}
	return list[at]
}

func leaderSet(t *testing.T, lws *unstructured.Unstructured) *appsv1.StatefulSet {
	t.Helper()
	fields, _, _ := unstructured.NestedMap(lws.Object, "spec", "leaderWorkerTemplate")
	template, err := templateIn(fields, "leaderTemplate")
	if err != nil {
		t.Fatal(err)
	}
	template.Labels[labelLWSName] = lws.GetName()
	template.Annotations = map[string]string{annotationLWSSize: "1"}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: lws.GetNamespace(), Name: lws.GetName(),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(lws, kindLWS)},
		},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](1), PodManagementPolicy: appsv1.ParallelPodManagement, Template: template,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelLWSName: lws.GetName()}},
		},
	}
}
