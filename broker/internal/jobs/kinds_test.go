package jobs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// example reads the objects of a manifest, each with its name as its UID.
func example(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o.SetUID(types.UID(o.GetName()))
		objects = append(objects, o)
	}
}

// cluster is a fake API server with all kinds.
func cluster(t *testing.T, objects ...client.Object) (*Set, client.WithWatch) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	with := fake.NewClientBuilder()
	for _, about := range suspendables() {
		scheme.AddKnownTypeWithName(about.kind, &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(about.kind.GroupVersion().WithKind(about.kind.Kind+"List"), &unstructured.UnstructuredList{})
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(about.kind)
		with.WithStatusSubresource(o)
	}
	c := with.WithScheme(scheme).WithObjects(objects...).Build()
	chains := &lineage.Lineage{}
	for _, o := range objects {
		chains.Put(o)
	}
	return NewSet(Clients{Live: c, Client: c, Status: c.Status()}, chains, &Batch{Live: c, Client: c, Status: c.Status()}), c
}

func anything(types.UID, string) bool { return false }

// only is the only job that there is.
func only(t *testing.T, s *Set, r client.Reader) Job {
	t.Helper()
	list, err := s.List(t.Context(), r, anything)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d jobs, %v", len(list), err)
	}
	return list[0]
}

// examples are the suspendable kinds: what is in the manifest, and what it comes to.
var examples = map[string]struct {
	parts     []string // more objects, which the first controls
	path      string
	gang      Gang
	min       int64
	condition bool // says whether it is admitted by a condition
	// status of one that has ended.
	ended map[string]any
	// controlled: the kinds that may have made it, of which it then is a part.
	madeBy []string
}{
	"job": {
		path: "/spec/suspend", gang: Gang{4, gpu, 1}, min: 2, condition: true, ended: conditions("Complete"),
		madeBy: []string{"jobset.x-k8s.io/v1alpha2 JobSet", "ray.io/v1 RayJob"},
	},
	"jobset": {
		path: "/spec/suspend", gang: Gang{4, gpu, 1}, condition: true, ended: conditions("Failed"),
		madeBy: []string{"trainer.kubeflow.org/v1alpha1 TrainJob"},
	},
	"trainjob":   {parts: []string{"trainjob-jobset"}, path: "/spec/suspend", gang: Gang{2, gpu, 8}, condition: true, ended: conditions("Complete")},
	"pytorchjob": {path: "/spec/runPolicy/suspend", gang: Gang{4, gpu, 1}, min: 2, ended: conditions("Succeeded")},
	"mpijob":     {path: "/spec/runPolicy/suspend", gang: Gang{2, gpu, 4}, ended: conditions("Failed")},
	"raycluster": {path: "/spec/suspend", gang: Gang{4, gpu, 1}, min: 2, condition: true, madeBy: []string{"ray.io/v1 RayJob"}},
	"rayjob": {
		path: "/spec/suspend", gang: Gang{4, gpu, 1}, min: 2,
		ended: map[string]any{"jobDeploymentStatus": "Complete"},
	},
}

func conditions(kinds ...string) map[string]any {
	var list []any
	for _, kind := range kinds {
		list = append(list, map[string]any{"type": kind, "status": "True", "reason": "R", "lastTransitionTime": "2026-03-01T00:00:00Z"})
	}
	return map[string]any{"conditions": list}
}

// objectsOf are an example's objects.
func objectsOf(t *testing.T, name string) []client.Object {
	t.Helper()
	first := example(t, name)[0]
	objects := []client.Object{first}
	for _, part := range examples[name].parts {
		o := example(t, part)[0]
		o.SetUID("part")
		o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(first, first.GroupVersionKind())})
		o.SetLabels(map[string]string{v1alpha1.LabelQueue: "default"}) // copied
		objects = append(objects, o)
	}
	return objects
}

// live reads an object back.
func live(t *testing.T, c client.Reader, like client.Object) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(like.GetObjectKind().GroupVersionKind())
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(like), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// set changes a field and writes the object.
func set(t *testing.T, c client.Client, o *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// TestCourse: every suspendable kind is seen, admitted, stopped and admitted again.
func TestCourse(t *testing.T) {
	for name, test := range examples {
		t.Run(name, func(t *testing.T) {
			objects := objectsOf(t, name)
			s, c := cluster(t, objects...)
			job := only(t, s, c)
			units := UnitsOf(&job.Template.Spec, gpu)
			if got := (Gang{job.Pods, gpu, units}); got != test.gang || job.MinPods != test.min || job.Problem != "" {
				t.Fatalf("gang %+v, at least %d, problem %q", got, job.MinPods, job.Problem)
			}
			if job.SuspendPath != test.path || !job.Suspended || job.Finished || job.Queue != "default" || job.CheckpointEvery != 15*time.Minute {
				t.Fatalf("got %+v", job)
			}
			if job.GroupKind != job.Kind.GroupKind() || job.Kind != objects[0].GetObjectKind().GroupVersionKind() {
				t.Errorf("kind %s, %s", job.Kind, job.GroupKind)
			}
			again, err := s.List(t.Context(), c, func(uid types.UID, version string) bool { return uid == job.UID && version == job.Version })
			if err != nil || len(again) != 0 {
				t.Errorf("a known version was listed: %v, %v", again, err)
			}
			is := func(suspended bool, attempt int32) {
				t.Helper()
				got, err := s.Find(t.Context(), c, job.Ref)
				if err != nil || got.Suspended != suspended || got.Attempt != attempt || got.Ref != job.Ref {
					t.Fatalf("suspended %t, attempt %d, %v; want %t, %d", got.Suspended, got.Attempt, err, suspended, attempt)
				}
				field, _, _ := unstructured.NestedBool(live(t, c, objects[0]).Object, strings.Split(test.path, "/")[1:]...)
				if field != suspended {
					t.Fatalf("%s is %t", test.path, field)
				}
			}
			for _, gang := range []Gang{{test.gang.Pods + 1, gpu, units}, {test.gang.Pods, gpu, units + 1}, {test.gang.Pods, "amd.com/gpu", units}} {
				if err := s.Resume(t.Context(), job.Ref, 1, gang); !errors.Is(err, ErrChanged) {
					t.Errorf("another gang, %+v: %v", gang, err)
				}
			}
			replaced := job.Ref
			replaced.UID = "another"
			if err := s.Resume(t.Context(), replaced, 1, test.gang); !errors.Is(err, ErrChanged) {
				t.Errorf("another object: %v", err)
			}
			is(true, 0)
			for range 2 { // the reply to the first may have been lost
				if err := s.Resume(t.Context(), job.Ref, 1, test.gang); err != nil {
					t.Fatal(err)
				}
				is(false, 1)
			}
			if err := s.Resume(t.Context(), job.Ref, 2, test.gang); !errors.Is(err, ErrChanged) {
				t.Errorf("one that runs: %v", err)
			}
			if err := s.Suspend(t.Context(), replaced); err != nil {
				t.Error(err)
			}
			is(false, 1)
			for range 2 {
				if err := s.Suspend(t.Context(), job.Ref); err != nil {
					t.Fatal(err)
				}
				is(true, 1)
			}
			for _, attempt := range []int32{1, 2, 2} {
				if err := s.SkipAttempt(t.Context(), job.Ref, attempt); err != nil {
					t.Fatal(err)
				}
				is(true, attempt)
			}
			if err := s.Resume(t.Context(), job.Ref, 2, test.gang); !errors.Is(err, ErrChanged) {
				t.Errorf("an attempt that was skipped: %v", err)
			}
			if err := s.Resume(t.Context(), job.Ref, 3, test.gang); err != nil {
				t.Fatal(err)
			}
			is(false, 3)
		})
	}
}

// TestTakenBackKinds: the scheduler's mark goes once the broker has stopped the job too.
func TestTakenBackKinds(t *testing.T) {
	for name := range examples {
		s, c := cluster(t, objectsOf(t, name)...)
		job := only(t, s, c)
		o := live(t, c, objectsOf(t, name)[0])
		set(t, c, o, map[string]any{v1alpha1.AnnotationTakenBack: "1", v1alpha1.AnnotationAttempt: "1"}, "metadata", "annotations")
		if got := only(t, s, c); got.TakenBack != 1 || !got.Suspended {
			t.Errorf("%s: before: %+v", name, got)
		}
		for range 2 {
			if err := s.Suspend(t.Context(), job.Ref); err != nil {
				t.Fatal(err)
			}
		}
		if got := only(t, s, c); got.TakenBack != 0 || !got.Suspended || got.Attempt != 1 {
			t.Errorf("%s: after: %+v", name, got)
		}
	}
}

// TestEndedAndGone: what has ended, or is not there, is neither started nor stopped.
func TestEndedAndGone(t *testing.T) {
	for name, test := range examples {
		objects := objectsOf(t, name)
		first := objects[0].(*unstructured.Unstructured)
		if test.ended == nil {
			first.SetFinalizers([]string{"example.com/keeps"})
		} else {
			first.Object["status"] = test.ended
		}
		s, c := cluster(t, objects...)
		if test.ended == nil { // a cluster ends when it is deleted
			if err := c.Delete(t.Context(), live(t, c, first)); err != nil {
				t.Fatal(err)
			}
		}
		job := only(t, s, c)
		if !job.Finished {
			t.Errorf("%s: not finished", name)
		}
		if err := s.Resume(t.Context(), job.Ref, 1, test.gang); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: resume: %v", name, err)
		}
		set(t, c, live(t, c, first), false, strings.Split(test.path, "/")[1:]...)
		if err := s.Suspend(t.Context(), job.Ref); err != nil {
			t.Error(err)
		}
		if only(t, s, c).Suspended {
			t.Errorf("%s: suspended although it has ended", name)
		}
		if err := s.Resize(t.Context(), job.Ref, 2); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: resize: %v", name, err)
		}
		gone := Ref{Key: types.NamespacedName{Namespace: "research", Name: "gone"}, UID: "gone", GroupKind: job.GroupKind}
		if _, err := s.Find(t.Context(), c, gone); !apierrors.IsNotFound(err) {
			t.Errorf("%s: find one that is gone: %v", name, err)
		}
		if err := errors.Join(s.Suspend(t.Context(), gone), s.SkipAttempt(t.Context(), gone, 1), s.Tell(t.Context(), gone, Admission{}, Admission{Reason: "R"}, now)); err != nil {
			t.Errorf("%s: one that is gone: %v", name, err)
		}
		if err := s.Resume(t.Context(), gone, 1, test.gang); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: resume one that is gone: %v", name, err)
		}
		if err := s.Resize(t.Context(), gone, 1); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: resize one that is gone: %v", name, err)
		}
	}
}

// TestParts: what another job has made is no job of its own, whatever labels it has; what
// something else has made is.
func TestParts(t *testing.T) {
	for name, test := range examples {
		for _, by := range append(test.madeBy, "batch/v1 CronJob") {
			objects := objectsOf(t, name)
			version, kind, _ := strings.Cut(by, " ")
			objects[0].SetOwnerReferences([]metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: "o", UID: "o", Controller: ptr.To(true)}})
			s, c := cluster(t, objects...)
			list, err := s.List(t.Context(), c, anything)
			if want := kind == "CronJob"; err != nil || (len(list) == 1) != want {
				t.Errorf("%s, made by a %s: %d jobs, %v", name, kind, len(list), err)
			}
		}
	}
}

// TestTellKinds: the owner reads in the job whether it is admitted; other conditions
// stay, and so does the time since when it says so.
func TestTellKinds(t *testing.T) {
	for name, test := range examples {
		t.Run(name, func(t *testing.T) {
			objects := objectsOf(t, name)
			objects[0].(*unstructured.Unstructured).Object["status"] = conditions("Suspended")
			s, c := cluster(t, objects...)
			job := only(t, s, c)
			tell := func(a Admission, at time.Time) Job {
				t.Helper()
				if err := s.Tell(t.Context(), job.Ref, job.Told, a, at); err != nil {
					t.Fatal(err)
				}
				job = only(t, s, c)
				if job.Told != a {
					t.Fatalf("told %+v, reads %+v", a, job.Told)
				}
				return job
			}
			if tell(Admission{Reason: "NoRoom", Message: "1 of 4"}, now); !job.Waits.Equal(now) {
				t.Errorf("waits since %s", job.Waits)
			}
			if tell(Admission{Reason: "Paused", Message: "the queue"}, now.Add(time.Minute)); !job.Waits.Equal(now) {
				t.Errorf("with another reason it waits since %s", job.Waits)
			}
			if tell(Admission{Admitted: true, Reason: "Lent"}, now.Add(2*time.Minute)); !job.Waits.IsZero() {
				t.Errorf("admitted, but waits since %s", job.Waits)
			}
			if tell(Admission{Reason: "NoRoom"}, now.Add(3*time.Minute)); !job.Waits.Equal(now.Add(3 * time.Minute)) {
				t.Errorf("again it waits since %s", job.Waits)
			}
			o := live(t, c, objects[0])
			if _, noted := o.GetAnnotations()[AnnotationAdmission]; noted == test.condition {
				t.Errorf("annotation: %t", noted)
			}
			if has := len(itemsIn(o.Object, "status", "conditions")); !hasCondition(o, "Suspended") || (has == 2) != test.condition {
				t.Errorf("conditions: %v", itemsIn(o.Object, "status", "conditions"))
			}
			replaced := job.Ref
			replaced.UID = "another"
			if name == "job" {
				return // its UID is a precondition that the fake server does not check
			}
			if err := s.Tell(t.Context(), replaced, Admission{}, Admission{Reason: "Other"}, now); err != nil || only(t, s, c).Told.Reason != "NoRoom" {
				t.Errorf("another object was told: %v", err)
			}
		})
	}
}

// TestKinds: the kinds by name.
func TestKinds(t *testing.T) {
	s, _ := cluster(t)
	if _, batch := s.Of(kindPod.GroupKind()).(*Gated); !batch {
		t.Error("pods are not gated")
	}
	if _, batch := s.Of(Ref{}.GroupKind).(*Batch); !batch {
		t.Error("a job without a kind is not a batch Job")
	}
	unknown := Ref{GroupKind: corev1.SchemeGroupVersion.WithKind("Service").GroupKind()}
	if err := s.Suspend(t.Context(), unknown); err == nil {
		t.Error("suspended a Service")
	}
	want := map[string]string{}
	for name, test := range examples {
		want[example(t, name)[0].GetKind()] = test.path
	}
	got := map[string]string{}
	for _, f := range Fields() {
		got[f.Kind.Kind] = f.Path
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
	// Nothing is asked about kinds that are not installed.
	s, c := cluster(t, objectsOf(t, "raycluster")...)
	s.Installed = func(kind schemaKind) bool { return kind != kindRayCluster }
	if list, err := s.List(t.Context(), c, anything); err != nil || len(list) != 0 {
		t.Errorf("%d jobs, %v", len(list), err)
	}
}
