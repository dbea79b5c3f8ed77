package jobs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

type schemaKind = schema.GroupVersionKind

// admitted is a cluster with the example admitted.
func admitted(t *testing.T, name string, more ...client.Object) (*Set, client.WithWatch, Job) {
	t.Helper()
	s, c := cluster(t, append(objectsOf(t, name), more...)...)
	job := only(t, s, c)
	if err := s.Resume(t.Context(), job.Ref, 1, examples[name].gang); err != nil {
		t.Fatal(err)
	}
	return s, c, job
}

// sizeOf is what the object itself says.
func sizeOf(t *testing.T, c client.Reader, like client.Object) int64 {
	t.Helper()
	o := live(t, c, like)
	switch o.GetKind() {
	case "Job":
		if numberIn(o.Object, -1, "spec", "completions") != numberIn(o.Object, -2, "spec", "parallelism") {
			t.Fatalf("indexes and pods differ: %v", o.Object["spec"])
		}
		return numberIn(o.Object, -1, "spec", "parallelism")
	case "PyTorchJob":
		return numberIn(o.Object, -1, "spec", "pytorchReplicaSpecs", "Worker", "replicas")
	}
	return numberIn(itemsIn(o.Object, "spec", "workerGroupSpecs")[0], -1, "replicas")
}

// TestElastic: a job that runs is made smaller, down to its minimum, and is whole again
// as soon as it is stopped.
func TestElastic(t *testing.T) {
	for _, name := range []string{"job", "pytorchjob", "raycluster"} {
		t.Run(name, func(t *testing.T) {
			s, c, job := admitted(t, name)
			object := objectsOf(t, name)[0]
			replaced := job.Ref
			replaced.UID = "another"
			if err := s.Resize(t.Context(), replaced, 3); !errors.Is(err, ErrChanged) {
				t.Errorf("another object: %v", err)
			}
			if err := s.Resize(t.Context(), job.Ref, 1); err == nil || errors.Is(err, ErrChanged) {
				t.Errorf("below its minimum: %v", err)
			}
			for _, pods := range []int64{4, 3, 3, 2, 2, 3} { // never larger
				if err := s.Resize(t.Context(), job.Ref, pods); err != nil {
					t.Fatal(err)
				}
				want := pods
				if got := sizeOf(t, c, object); got != want && got != 2 {
					t.Fatalf("resized to %d: %d", pods, got)
				}
			}
			if got := sizeOf(t, c, object); got != 2 {
				t.Fatalf("in the end: %d", got)
			}
			if got := only(t, s, c); got.Pods != 2 || got.Suspended || got.Problem != "" {
				t.Errorf("as small as it can be: %+v", got)
			}
			if err := s.Suspend(t.Context(), job.Ref); err != nil {
				t.Fatal(err)
			}
			_, marked := live(t, c, object).GetAnnotations()[v1alpha1.AnnotationWhole]
			if got := only(t, s, c); got.Pods != 4 || got.MinPods != 2 || sizeOf(t, c, object) != 4 || marked {
				t.Errorf("stopped: %d pods, at least %d, says %d, marked %t", got.Pods, got.MinPods, sizeOf(t, c, object), marked)
			}
			if err := s.Resize(t.Context(), job.Ref, 3); !errors.Is(err, ErrChanged) {
				t.Errorf("a suspended one: %v", err)
			}
			if err := s.Resume(t.Context(), job.Ref, 2, examples[name].gang); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestElasticStoppedByOthers: whoever only sets the field that suspends a small job does
// not keep it small.
func TestElasticStoppedByOthers(t *testing.T) {
	for _, name := range []string{"job", "pytorchjob", "raycluster"} {
		t.Run(name, func(t *testing.T) {
			for _, brokerStops := range []bool{false, true} {
				s, c, job := admitted(t, name)
				object := objectsOf(t, name)[0]
				if err := s.Resize(t.Context(), job.Ref, 2); err != nil {
					t.Fatal(err)
				}
				set(t, c, live(t, c, object), true, strings.Split(examples[name].path, "/")[1:]...)
				if got := only(t, s, c); got.Pods != 4 || !got.Suspended {
					t.Errorf("waits with %d pods", got.Pods)
				}
				if brokerStops {
					if err := s.Suspend(t.Context(), job.Ref); err != nil || sizeOf(t, c, object) != 4 {
						t.Errorf("stopped with %d pods, %v", sizeOf(t, c, object), err)
					}
				}
				if err := s.Resume(t.Context(), job.Ref, 2, examples[name].gang); err != nil || sizeOf(t, c, object) != 4 {
					t.Errorf("admitted with %d pods, %v", sizeOf(t, c, object), err)
				}
			}
		})
	}
}

// TestElasticRayJob: its cluster is made smaller, and only its own.
func TestElasticRayJob(t *testing.T) {
	clusterOf := func(uid types.UID) *unstructured.Unstructured {
		o := example(t, "raycluster")[0]
		o.SetName("train-x7k2p")
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayJob", Name: "train", UID: uid, Controller: ptr.To(true)}})
		if err := unstructured.SetNestedField(o.Object, false, "spec", "suspend"); err != nil {
			t.Fatal(err)
		}
		return o
	}
	running := func(uid types.UID) (*Set, client.WithWatch, Job) {
		s, c, job := admitted(t, "rayjob", clusterOf(uid))
		o := live(t, c, objectsOf(t, "rayjob")[0])
		o.Object["status"] = map[string]any{"rayClusterName": "train-x7k2p"}
		if err := c.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return s, c, job
	}
	s, c, job := running("train")
	for range 2 {
		if err := s.Resize(t.Context(), job.Ref, 3); err != nil {
			t.Fatal(err)
		}
	}
	if got := sizeOf(t, c, clusterOf("train")); got != 3 {
		t.Errorf("the cluster has %d workers", got)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil || only(t, s, c).Pods != 4 {
		t.Errorf("stopped: %d pods, %v", only(t, s, c).Pods, err)
	}
	s, c, job = running("another")
	if err := s.Resize(t.Context(), job.Ref, 3); !errors.Is(err, ErrChanged) || sizeOf(t, c, clusterOf("another")) != 4 {
		t.Errorf("another's cluster: %v", err)
	}
}

// TestRestOfRayJob: the cluster of a RayJob that has ended runs on for as long as the job
// says, on units that others may want.
func TestRestOfRayJob(t *testing.T) {
	for owner, want := range map[types.UID]bool{"train": true, "another": false} {
		rest := example(t, "raycluster")[0]
		rest.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayJob", Name: "train", UID: owner, Controller: ptr.To(true)}})
		if err := unstructured.SetNestedField(rest.Object, false, "spec", "suspend"); err != nil {
			t.Fatal(err)
		}
		s, c, job := admitted(t, "rayjob", rest)
		o := live(t, c, objectsOf(t, "rayjob")[0])
		o.Object["status"] = map[string]any{"rayClusterName": rest.GetName(), "jobDeploymentStatus": "Complete"}
		if err := c.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Suspend(t.Context(), job.Ref); err != nil {
				t.Fatal(err)
			}
		}
		stopped, _, _ := unstructured.NestedBool(live(t, c, rest).Object, "spec", "suspend")
		if stopped != want || only(t, s, c).Suspended {
			t.Errorf("cluster of %s: suspended %t, want %t", owner, stopped, want)
		}
	}
}

// TestRayIsToldWhoGoes: KubeRay counts pods that are on their way out, and would stop
// others instead; and the group shrinks that they are of.
func TestRayIsToldWhoGoes(t *testing.T) {
	o := example(t, "raycluster")[0]
	groups := itemsIn(o.Object, "spec", "workerGroupSpecs")
	second := groups[0]
	second = (&unstructured.Unstructured{Object: second}).DeepCopy().Object
	second["groupName"] = "others"
	if err := unstructured.SetNestedSlice(o.Object, []any{groups[0], second}, "spec", "workerGroupSpecs"); err != nil {
		t.Fatal(err)
	}
	worker := func(name, group string, going bool, owner types.UID) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "research", Name: name, UID: types.UID(name), Labels: map[string]string{"ray.io/group": group},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "sweep", UID: owner, Controller: ptr.To(true)}},
		}}
		if going {
			pod.DeletionTimestamp, pod.Finalizers = &metav1.Time{Time: now}, []string{"example.com/keeps"}
		}
		return pod
	}
	s, c := cluster(t, o, worker("a", "workers", true, "sweep"), worker("b", "workers", false, "sweep"), worker("c", "workers", true, "another"),
		worker("d", "others", false, "sweep"), worker("e", "others", false, "sweep"), worker("f", "others", false, "another"))
	job := only(t, s, c)
	if !s.StopsNamed(job.Ref) || !s.StopsNamed(Ref{GroupKind: kindRayJob.GroupKind()}) || s.StopsNamed(Ref{GroupKind: kindPyTorchJob.GroupKind()}) {
		t.Error("KubeRay alone stops the pods that it is told")
	}
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{8, gpu, 1}); err != nil {
		t.Fatal(err)
	}
	// One is on its way out, and one leaves; others of that name are not its own.
	if err := s.Resize(t.Context(), job.Ref, 6, "d", "f"); err != nil {
		t.Fatal(err)
	}
	after := itemsIn(live(t, c, o).Object, "spec", "workerGroupSpecs")
	names, _, _ := unstructured.NestedStringSlice(after[0], "scaleStrategy", "workersToDelete")
	others, _, _ := unstructured.NestedStringSlice(after[1], "scaleStrategy", "workersToDelete")
	if numberIn(after[0], 0, "replicas") != 3 || numberIn(after[1], 0, "replicas") != 3 || !slices.Equal(names, []string{"a"}) || !slices.Equal(others, []string{"d"}) {
		t.Errorf("groups of %d and %d, without %v and %v", numberIn(after[0], 0, "replicas"), numberIn(after[1], 0, "replicas"), names, others)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil {
		t.Fatal(err)
	}
	after = itemsIn(live(t, c, o).Object, "spec", "workerGroupSpecs")
	names, _, _ = unstructured.NestedStringSlice(after[0], "scaleStrategy", "workersToDelete")
	if numberIn(after[0], 0, "replicas") != 4 || numberIn(after[1], 0, "replicas") != 4 || len(names) != 0 {
		t.Errorf("whole again: %v", after)
	}
}

// TestRigid: kinds of which no job is elastic.
func TestRigid(t *testing.T) {
	for _, name := range []string{"jobset", "trainjob", "mpijob"} {
		s, _, job := admitted(t, name)
		if err := s.Resize(t.Context(), job.Ref, 1); err == nil || errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pods := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "p", UID: "p"}}
	s, _ := cluster(t, pods)
	if err := s.Resize(t.Context(), Ref{Key: client.ObjectKeyFromObject(pods), UID: "p", GroupKind: kindPod.GroupKind()}, 1); err == nil {
		t.Error("resized a pod")
	}
}

// TestIndexLabel: which kinds choose for themselves who stops.
func TestIndexLabel(t *testing.T) {
	for name, want := range map[string]string{
		"job": "batch.kubernetes.io/job-completion-index", "pytorchjob": "training.kubeflow.org/replica-index",
		"raycluster": "", "rayjob": "",
	} {
		s, c := cluster(t, objectsOf(t, name)...)
		if got := only(t, s, c); got.IndexLabel != want || got.MinPods == 0 {
			t.Errorf("%s: at least %d, by %q", name, got.MinPods, got.IndexLabel)
		}
	}
	for name, edit := range map[string]func(*batchv1.JobSpec){
		"not indexed": func(*batchv1.JobSpec) {},
		"more indexes than pods": func(spec *batchv1.JobSpec) {
			spec.CompletionMode, spec.Completions = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](9)
		},
	} {
		b, _ := adapter(job(func(j *batchv1.Job) { edit(&j.Spec) }))
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || got.IndexLabel != "" {
			t.Errorf("%s: by %q, %v", name, got.IndexLabel, err)
		}
	}
}

// TestMinPods: the annotation of a Job.
func TestMinPods(t *testing.T) {
	for text, want := range map[string]struct {
		min     int64
		problem bool
	}{
		"1": {1, false}, "2": {0, false}, "0": {0, true}, "3": {0, true}, "-1": {0, true}, "half": {0, true}, "": {0, true},
	} {
		b, _ := adapter(job(func(j *batchv1.Job) { j.Annotations[v1alpha1.AnnotationMinPods] = text }))
		got, err := b.Get(t.Context(), b.Live, ref.Key)
		if err != nil || got.MinPods != want.min || (got.Problem != "") != want.problem {
			t.Errorf("%q: at least %d, problem %q, %v", text, got.MinPods, got.Problem, err)
		}
		if want.problem && !strings.Contains(got.Problem, v1alpha1.AnnotationMinPods) {
			t.Errorf("%q: the problem names no field: %s", text, got.Problem)
		}
		if want.problem && !errors.Is(b.Resume(t.Context(), ref, 3, decided), ErrChanged) {
			t.Errorf("%q: admitted", text)
		}
	}
}

// TestWholeAnnotation: what cannot be read is not followed, and goes.
func TestWholeAnnotation(t *testing.T) {
	for _, text := range []string{"many", `{"pods":"4"}`, `{"pods":-1}`, `{"pods":99999999999}`, `{"others":7}`, "null"} {
		b, _ := adapter(job(func(j *batchv1.Job) { j.Annotations[v1alpha1.AnnotationWhole] = text }))
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || got.Pods != 2 {
			t.Errorf("%s: %d pods, %v", text, got.Pods, err)
		}
		if err := b.Suspend(t.Context(), ref); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var after batchv1.Job
		if err := b.Live.Get(t.Context(), ref.Key, &after); err != nil || len(after.Annotations) != 1 || *after.Spec.Parallelism != 2 {
			t.Errorf("%s: %v, %d, %v", text, after.Annotations, *after.Spec.Parallelism, err)
		}
	}
}

// TestIndexedJob: where all indexes run at once, they are as many as the pods; else they
// stay.
func TestIndexedJob(t *testing.T) {
	for completions, want := range map[int32]int32{2: 1, 9: 9} {
		b, c := adapter(job(func(j *batchv1.Job) {
			j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), &completions
			j.Annotations[v1alpha1.AnnotationMinPods] = "1"
			j.Spec.Suspend = ptr.To(false)
		}))
		if err := b.Resize(t.Context(), ref, 1); err != nil {
			t.Fatal(err)
		}
		var after batchv1.Job
		if err := c.Get(t.Context(), ref.Key, &after); err != nil || *after.Spec.Parallelism != 1 || *after.Spec.Completions != want {
			t.Errorf("%d completions: %d pods, %d completions, %v", completions, *after.Spec.Parallelism, *after.Spec.Completions, err)
		}
		if err := b.Suspend(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), ref.Key, &after); err != nil || *after.Spec.Parallelism != 2 || *after.Spec.Completions != completions {
			t.Errorf("whole: %d pods, %d completions, %v", *after.Spec.Parallelism, *after.Spec.Completions, err)
		}
	}
}
