package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// pod is a queued pod of one GPU.
func pod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "research", Name: name, UID: types.UID(name), Labels: map[string]string{v1alpha1.LabelQueue: "default"},
			Annotations: map[string]string{}, CreationTimestamp: metav1.Time{Time: now},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: units("1")}}},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func madeBy(apiVersion, kind, uid string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: uid, UID: types.UID(uid), Controller: ptr.To(true)}}
	}
}

func inGroup(name, size string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels[v1alpha1.LabelPodGroup] = name
		p.Annotations[v1alpha1.AnnotationPodGroupSize] = size
	}
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func in(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}
func older(by time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp.Time = now.Add(-by) }
}

func leaving(p *corev1.Pod) {
	p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: now}, []string{"example.com/keeps"}
}

// gated is a fake API server with pods, and who has made them.
func gated(t *testing.T, made *lineage.Lineage, pods ...*corev1.Pod) (*Set, client.WithWatch) {
	t.Helper()
	var objects []client.Object
	for _, p := range pods {
		objects = append(objects, p)
	}
	s, c := cluster(t, objects...)
	if made != nil {
		for _, p := range pods {
			made.Put(p)
		}
		s.Of(kindPod.GroupKind()).(*Gated).Chains = made
	}
	return s, c
}

// names are the jobs, and how many pods each has.
func names(t *testing.T, s *Set, r client.Reader) []string {
	t.Helper()
	list, err := s.List(t.Context(), r, anything)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range list {
		names = append(names, fmt.Sprintf("%s %d", list[i].Key.Name, list[i].Pods))
	}
	slices.Sort(names)
	return names
}

// TestWhichPodsAreJobs: a pod that no job has made is one.
func TestWhichPodsAreJobs(t *testing.T) {
	made := &lineage.Lineage{}
	made.PutOwner("research", "job", lineage.Owner{})
	made.PutOwner("research", "set", lineage.Owner{})
	s, c := gated(t, made,
		pod("bare"), pod("of-deployment", madeBy("apps/v1", "ReplicaSet", "rs")), pod("of-set", madeBy("apps/v1", "StatefulSet", "set")),
		pod("of-workflow", madeBy("argoproj.io/v1alpha1", "Workflow", "flow")),
		pod("of-job", madeBy("batch/v1", "Job", "job")), pod("of-torch", madeBy("kubeflow.org/v1", "PyTorchJob", "torch")),
		pod("of-unknown", madeBy("apps/v1", "StatefulSet", "unknown")), pod("of-cluster", madeBy("ray.io/v1", "RayCluster", "unknown")),
		pod("no-queue", func(p *corev1.Pod) { p.Labels = nil }),
		pod("a-0", inGroup("a", "2")), pod("a-1", inGroup("a", "2")),
	)
	want := []string{"a-0 2", "bare 1", "of-deployment 1", "of-set 1", "of-workflow 1"}
	if got := names(t, s, c); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := s.Find(t.Context(), c, Ref{Key: types.NamespacedName{Namespace: "research", Name: "of-job"}, GroupKind: kindPod.GroupKind()}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod of a Job: %v", err)
	}
}

// TestPodsOfAStore: with a store, nothing is asked of a reader.
func TestPodsOfAStore(t *testing.T) {
	s, c := gated(t, nil)
	s.Of(kindPod.GroupKind()).(*Gated).Store = store{
		pod("bare"), pod("a-0", inGroup("a", "2")), pod("a-1", inGroup("a", "2")), pod("no-queue", func(p *corev1.Pod) { p.Labels = nil }), "no pod",
	}
	if got, want := names(t, s, c), []string{"a-0 2", "bare 1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestPodCourse: a pod is admitted, and its end is what stops it.
func TestPodCourse(t *testing.T) {
	s, c := gated(t, nil, pod("bare", func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationCheckpointInterval] = "15m" }))
	job := only(t, s, c)
	one := Gang{1, gpu, 1}
	if !job.Suspended || job.Finished || job.Attempt != 0 || job.SuspendPath != "" || job.Kind != kindPod || job.CheckpointEvery != 15*time.Minute {
		t.Fatalf("got %+v", job)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil || len(names(t, s, c)) != 1 {
		t.Fatalf("one that waits was deleted: %v", err)
	}
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{1, gpu, 2}); !errors.Is(err, ErrChanged) {
		t.Errorf("another gang: %v", err)
	}
	replaced := job.Ref
	replaced.UID = "another"
	if err := s.Resume(t.Context(), replaced, 1, one); !errors.Is(err, ErrChanged) {
		t.Errorf("another pod: %v", err)
	}
	// An admission that came to nothing.
	for range 2 {
		if err := s.SkipAttempt(t.Context(), job.Ref, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := only(t, s, c); !got.Suspended || got.Attempt != 1 {
		t.Fatalf("skipped: %+v", got)
	}
	if err := s.Resume(t.Context(), job.Ref, 1, one); !errors.Is(err, ErrChanged) {
		t.Errorf("a skipped attempt: %v", err)
	}
	for range 2 {
		if err := s.Resume(t.Context(), job.Ref, 2, one); err != nil {
			t.Fatal(err)
		}
		if got := only(t, s, c); got.Suspended || got.Attempt != 2 {
			t.Fatalf("admitted: %+v", got)
		}
	}
	if err := s.Resume(t.Context(), job.Ref, 3, one); !errors.Is(err, ErrChanged) {
		t.Errorf("one that is admitted: %v", err)
	}
	if err := s.SkipAttempt(t.Context(), job.Ref, 2); err != nil || only(t, s, c).Suspended {
		t.Errorf("an attempt that it is at: %v", err)
	}
	if err := s.Suspend(t.Context(), replaced); err != nil || len(names(t, s, c)) != 1 {
		t.Errorf("another pod was meant: %v", err)
	}
	for range 2 {
		if err := s.Suspend(t.Context(), job.Ref); err != nil || len(names(t, s, c)) != 0 {
			t.Fatalf("still there: %v, %v", names(t, s, c), err)
		}
	}
	if err := s.Resume(t.Context(), job.Ref, 3, one); !errors.Is(err, ErrChanged) {
		t.Errorf("one that is gone: %v", err)
	}
}

// TestPodStates: what a pod's state says about its job.
func TestPodStates(t *testing.T) {
	admitted := func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationAttempt] = "1" }
	for name, test := range map[string]struct {
		edits               []func(*corev1.Pod)
		suspended, finished bool
	}{
		"waits":             {nil, true, false},
		"admitted":          {[]func(*corev1.Pod){admitted}, false, false},
		"runs":              {[]func(*corev1.Pod){admitted, on("n1"), in(corev1.PodRunning)}, false, false},
		"runs, astray":      {[]func(*corev1.Pod){on("n1")}, false, false},
		"succeeded":         {[]func(*corev1.Pod){admitted, on("n1"), in(corev1.PodSucceeded)}, false, true},
		"failed":            {[]func(*corev1.Pod){admitted, on("n1"), in(corev1.PodFailed)}, false, true},
		"on its way out":    {[]func(*corev1.Pod){admitted, on("n1"), leaving}, false, true},
		"counter of no use": {[]func(*corev1.Pod){func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationAttempt] = "many" }}, true, false},
	} {
		s, c := gated(t, nil, pod("bare", test.edits...))
		job := only(t, s, c)
		if job.Suspended != test.suspended || job.Finished != test.finished || job.Problem != "" {
			t.Errorf("%s: %+v", name, job)
		}
	}
}

// TestBoundBeforeResume: the scheduler may be quicker than the annotation, once there is
// a Loan.
func TestBoundBeforeResume(t *testing.T) {
	s, c := gated(t, nil, pod("bare", on("n1")))
	job := only(t, s, c)
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{1, gpu, 1}); err != nil || only(t, s, c).Attempt != 1 {
		t.Errorf("got %+v, %v", only(t, s, c), err)
	}
}

// TestPodGroup: all pods of a group are one job, as soon as they are all there; its
// oldest stands for it.
func TestPodGroup(t *testing.T) {
	a, b := pod("a", inGroup("g", "3"), func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationLastCheckpoint] = "2026-03-01T11:00:00Z" }),
		pod("b", inGroup("g", "3"), older(time.Minute))
	launcher := pod("launcher", inGroup("g", "3"), func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} })
	elsewhere := pod("other", inGroup("g", "1"), func(p *corev1.Pod) { p.Namespace = "serving" })
	// In no queue, a pod is of no group, whatever its label says.
	bare := pod("bare", inGroup("g", "3"), on("node-1"), older(time.Hour), func(p *corev1.Pod) { delete(p.Labels, v1alpha1.LabelQueue) })
	s, c := gated(t, nil, a, b, elsewhere, bare)
	find := func() Job {
		t.Helper()
		job, err := s.Find(t.Context(), c, Ref{Key: client.ObjectKeyFromObject(a), GroupKind: kindPod.GroupKind()})
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	first := find()
	if first.Problem != "2 of the 3 pods of the group exist" || first.UID != "b" {
		t.Errorf("got %+v", first)
	}
	if err := c.Create(t.Context(), launcher); err != nil {
		t.Fatal(err)
	}
	job := find()
	if job.Problem != "" || job.Pods != 2 || job.UID != "b" || job.Version == first.Version || !job.LastCheckpoint.Equal(now.Add(-time.Hour)) {
		t.Fatalf("got %+v", job)
	}
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{2, gpu, 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "launcher"} {
		var p corev1.Pod
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: "research", Name: name}, &p); err != nil || p.Annotations[v1alpha1.AnnotationAttempt] != "1" {
			t.Errorf("%s: %v, %v", name, p.Annotations, err)
		}
	}
	if got := names(t, s, c); !slices.Equal(got, []string{"b 2", "other 1"}) {
		t.Errorf("got %v", got)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s, c); !slices.Equal(got, []string{"other 1"}) {
		t.Errorf("still there: %v", got)
	}
}

// TestBrokenGroup: when the pod is gone that stood for a group, the rest of it ends as
// well; what waits under the group's name is another group.
func TestBrokenGroup(t *testing.T) {
	admitted := func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationAttempt] = "1" }
	for name, lead := range map[string]*corev1.Pod{
		"gone":       nil,
		"going":      pod("lead", inGroup("g", "3"), older(time.Hour), admitted, on("n1"), leaving),
		"made again": pod("lead", inGroup("g", "3"), func(p *corev1.Pod) { p.UID = "again" }),
	} {
		t.Run(name, func(t *testing.T) {
			pods := []*corev1.Pod{
				pod("a", inGroup("g", "3"), admitted), pod("b", inGroup("g", "3"), on("n1")), pod("new", inGroup("g", "3")),
				pod("other", inGroup("h", "1"), admitted), pod("single", admitted),
			}
			if lead != nil {
				pods = append(pods, lead)
			}
			s, c := gated(t, nil, pods...)
			loan := &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: "research"}}
			loan.Spec.Job = v1alpha1.JobRef{APIVersion: "v1", Kind: "Pod", Name: "lead", UID: "lead", PodGroup: "g"}
			if err := s.Suspend(t.Context(), RefOf(loan)); err != nil {
				t.Fatal(err)
			}
			var left corev1.PodList
			if err := c.List(t.Context(), &left); err != nil {
				t.Fatal(err)
			}
			var still []string
			for i := range left.Items {
				still = append(still, left.Items[i].Name)
			}
			want := []string{"new", "other", "single"}
			if lead != nil {
				want = append([]string{"lead"}, want...)
			}
			if !slices.Equal(still, want) {
				t.Errorf("left: %v, want %v", still, want)
			}
		})
	}
}

// TestHalfAdmittedGroup: a Resume that was cut off goes on.
func TestHalfAdmittedGroup(t *testing.T) {
	admitted := func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationAttempt] = "1" }
	s, c := gated(t, nil, pod("a", inGroup("g", "2"), older(time.Minute)), pod("b", inGroup("g", "2"), admitted))
	job := only(t, s, c)
	if !job.Suspended || job.Attempt != 0 {
		t.Fatalf("got %+v", job)
	}
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{2, gpu, 1}); err != nil || only(t, s, c).Suspended {
		t.Errorf("got %+v, %v", only(t, s, c), err)
	}
}

// TestGroupProblems: what is wrong with a group.
func TestGroupProblems(t *testing.T) {
	for name, test := range map[string]struct {
		pods []*corev1.Pod
		want string
		lead string
	}{
		"too many":      {[]*corev1.Pod{pod("a", inGroup("g", "1")), pod("b", inGroup("g", "1"))}, "says 1", "a"},
		"no number":     {[]*corev1.Pod{pod("a", inGroup("g", "two"))}, `"two"`, "a"},
		"none":          {[]*corev1.Pod{pod("a", inGroup("g", "0"))}, `"0"`, "a"},
		"disagree":      {[]*corev1.Pod{pod("a", inGroup("g", "2")), pod("b", inGroup("g", "3"))}, `pod a says "2", pod b "3"`, "a"},
		"unlike":        {[]*corev1.Pod{pod("a", inGroup("g", "2")), pod("b", inGroup("g", "2"), func(p *corev1.Pod) { p.Spec.Containers[0].Resources = units("8") })}, "pod b for 8 nvidia.com/gpu", "a"},
		"whole":         {[]*corev1.Pod{pod("a", inGroup("g", "1"))}, "", "a"},
		"made anew":     {[]*corev1.Pod{pod("a", inGroup("g", "1"), older(time.Hour), leaving), pod("b", inGroup("g", "1"))}, "", "b"},
		"one failed":    {[]*corev1.Pod{pod("a", inGroup("g", "2"), in(corev1.PodFailed), older(time.Hour)), pod("b", inGroup("g", "2"))}, "1 of the 2", "b"},
		"all succeeded": {[]*corev1.Pod{pod("a", inGroup("g", "2"), in(corev1.PodSucceeded)), pod("b", inGroup("g", "2"), in(corev1.PodSucceeded))}, "", "a"},
	} {
		s, c := gated(t, nil, test.pods...)
		job := only(t, s, c)
		if !strings.Contains(job.Problem, test.want) || (job.Problem == "") != (test.want == "") || job.Key.Name != test.lead {
			t.Errorf("%s: %s has problem %q", name, job.Key.Name, job.Problem)
		}
		if job.Finished != (name == "all succeeded") {
			t.Errorf("%s: finished %t", name, job.Finished)
		}
	}
}

// TestEndedPodsOfAGroup: one that has ended stands for those that were admitted with it,
// since their Loan names it, and not for those that wait under the same name.
func TestEndedPodsOfAGroup(t *testing.T) {
	admitted := func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationAttempt] = "1" }
	bare := func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }
	failed := pod("a", inGroup("g", "2"), older(time.Hour), admitted, on("n1"), in(corev1.PodFailed))
	for name, test := range map[string]struct {
		others []*corev1.Pod
		want   string
		waits  bool
	}{
		"the rest runs":         {[]*corev1.Pod{pod("b", inGroup("g", "2"), admitted, on("n1"))}, "a", false},
		"the rest will run":     {[]*corev1.Pod{pod("b", inGroup("g", "2"), admitted)}, "a", false},
		"one was made instead":  {[]*corev1.Pod{pod("b", inGroup("g", "2"), on("n1"))}, "a", false},
		"others wait":           {[]*corev1.Pod{pod("b", inGroup("g", "2")), pod("c", inGroup("g", "2"))}, "b", true},
		"with one that may run": {[]*corev1.Pod{pod("b", inGroup("g", "2"), bare, on("n1")), pod("c", inGroup("g", "2"))}, "b", true},
		"all have ended":        {[]*corev1.Pod{pod("b", inGroup("g", "2"), in(corev1.PodSucceeded))}, "a", false},
		"the rest goes":         {[]*corev1.Pod{pod("b", inGroup("g", "2"), admitted, on("n1"), leaving)}, "a", false},
	} {
		s, c := gated(t, nil, append(test.others, failed.DeepCopy())...)
		if job := only(t, s, c); job.Key.Name != test.want || job.Suspended != test.waits {
			t.Errorf("%s: %s stands for them, waits %t", name, job.Key.Name, job.Suspended)
		}
	}
}

// TestGroupMadeAnew: what is left of a group changes nothing for the next one of that name.
func TestGroupMadeAnew(t *testing.T) {
	earlier := pod("earlier", inGroup("g", "2"), older(time.Hour), on("n1"), in(corev1.PodFailed), func(p *corev1.Pod) {
		p.Annotations[v1alpha1.AnnotationAttempt] = "1"
	})
	a, b := pod("a", inGroup("g", "2"), older(time.Minute)), pod("b", inGroup("g", "2"))
	s, c := gated(t, nil, earlier, a, b)
	job := only(t, s, c)
	if job.Problem != "" || job.Pods != 2 || job.Attempt != 0 {
		t.Fatalf("got %+v", job)
	}
	last := Ref{Key: client.ObjectKeyFromObject(earlier), UID: earlier.UID, GroupKind: kindPod.GroupKind(), PodGroup: "g"}
	if found, err := s.Find(t.Context(), c, last); err != nil || found.UID == last.UID {
		t.Errorf("the group before still counts as there: %+v, %v", found, err)
	}
	if err := s.Suspend(t.Context(), last); err != nil || len(names(t, s, c)) != 1 || !only(t, s, c).Suspended {
		t.Errorf("stopping the group before hurt this one: %v", err)
	}
	for range 2 {
		if err := s.Resume(t.Context(), job.Ref, 1, Gang{2, gpu, 1}); err != nil {
			t.Fatal(err)
		}
		if got := only(t, s, c); got.UID != "a" || got.Suspended || got.Finished {
			t.Fatalf("admitted: %+v", got)
		}
	}
	// The first ends, and the other goes on: the Loan's pod still stands for both.
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
		t.Fatal(err)
	}
	a.Status.Phase = corev1.PodSucceeded
	if err := c.Status().Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := only(t, s, c); got.UID != "a" || got.Finished {
		t.Errorf("one has ended: %+v", got)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(b), b); !apierrors.IsNotFound(err) {
		t.Errorf("the other was not stopped: %v", err)
	}
}

// TestStoppedPodsAreExcused: whoever counts failures sees that these are none.
func TestStoppedPodsAreExcused(t *testing.T) {
	keeps := func(p *corev1.Pod) { p.Finalizers = []string{"example.com/keeps"} }
	already := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted}}
	}
	s, c := gated(t, nil, pod("a", inGroup("g", "3"), older(time.Hour), on("n1"), keeps), pod("b", inGroup("g", "3"), on("n1"), keeps, already),
		pod("c", inGroup("g", "3"), on("n1"), in(corev1.PodSucceeded)))
	s.Of(kindPod.GroupKind()).(*Gated).Clock = clocktesting.NewFakePassiveClock(now)
	if err := s.Suspend(t.Context(), only(t, s, c).Ref); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": ReasonReclaimed, "b": v1alpha1.ReasonPreempted, "c": ""} {
		var p corev1.Pod
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: "research", Name: name}, &p); err != nil || (p.DeletionTimestamp == nil) != (want == "") {
			t.Errorf("%s: deleted %s, %v", name, p.DeletionTimestamp, err)
		}
		switch said := p.Status.Conditions; {
		case want == "" && len(said) == 0:
		case len(said) != 1 || said[0].Type != corev1.DisruptionTarget || said[0].Status != corev1.ConditionTrue || said[0].Reason != want:
			t.Errorf("%s: conditions %v, want %s", name, said, want)
		case want == ReasonReclaimed && !said[0].LastTransitionTime.Time.Equal(now):
			t.Errorf("%s: marked at %s", name, said[0].LastTransitionTime)
		}
	}
}

// TestStoppedWithoutExcuse: a pod that cannot be marked ends all the same.
func TestStoppedWithoutExcuse(t *testing.T) {
	s, c := gated(t, nil, pod("bare", on("n1")))
	refuses := interceptor.NewClient(c, interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return errors.New("not allowed")
		},
	})
	s.Of(kindPod.GroupKind()).(*Gated).Status = refuses.Status()
	if err := s.Suspend(t.Context(), only(t, s, c).Ref); err != nil || len(names(t, s, c)) != 0 {
		t.Errorf("still there: %v, %v", names(t, s, c), err)
	}
}

// TestLeaderWorkerSet: each group is a job; its leader stands for it. Who is in a group
// is told by who made whom, not by labels.
func TestLeaderWorkerSet(t *testing.T) {
	ofSet := func(p *corev1.Pod) {
		p.Labels[labelLWSName] = "lws"
		p.Annotations[annotationLWSSize] = "3"
	}
	made := &lineage.Lineage{}
	made.PutOwner("research", "leaders", lineage.Owner{UID: "lws", Kind: kindLWS.GroupKind()})
	var pods []*corev1.Pod
	for _, leader := range []string{"lws-0", "lws-1"} {
		made.PutOwner("research", types.UID("workers-of-"+leader), lineage.Owner{UID: types.UID(leader), Kind: kindPod.GroupKind()})
		pods = append(pods, pod(leader, ofSet, madeBy("apps/v1", "StatefulSet", "leaders")))
		for _, n := range []string{"1", "2"} {
			pods = append(pods, pod(leader+"-"+n, ofSet, older(time.Hour), madeBy("apps/v1", "StatefulSet", "workers-of-"+leader)))
		}
	}
	pods = append(pods, pod("forged", ofSet, older(24*time.Hour)))
	s, c := gated(t, made, pods...)
	if got := names(t, s, c); !slices.Equal(got, []string{"forged 1", "lws-0 3", "lws-1 3"}) {
		t.Fatalf("got %v", got)
	}
	leader := Ref{Key: types.NamespacedName{Namespace: "research", Name: "lws-0"}, UID: "lws-0", GroupKind: kindPod.GroupKind()}
	if err := s.Resume(t.Context(), leader, 1, Gang{3, gpu, 1}); err != nil {
		t.Fatal(err)
	}
	job, err := s.Find(t.Context(), c, leader)
	if err != nil || job.Problem != "" || job.Suspended || job.UID != "lws-0" {
		t.Fatalf("got %+v, %v", job, err)
	}
	if err := s.Suspend(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s, c); !slices.Equal(got, []string{"forged 1", "lws-1 3"}) {
		t.Errorf("after the first was stopped: %v", got)
	}
	// Workers whose leader is gone are nobody's.
	if err := c.Delete(t.Context(), pods[3]); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s, c); !slices.Equal(got, []string{"forged 1"}) {
		t.Errorf("workers without a leader: %v", got)
	}
	worker := Ref{Key: client.ObjectKeyFromObject(pods[4]), GroupKind: kindPod.GroupKind()}
	if _, err := s.Find(t.Context(), c, worker); !apierrors.IsNotFound(err) {
		t.Errorf("find a worker without a leader: %v", err)
	}
	// Not all are there yet.
	s, c = gated(t, made, pod("lws-0", ofSet, madeBy("apps/v1", "StatefulSet", "leaders")))
	if got := only(t, s, c).Problem; !strings.Contains(got, "1 of the 3") || !strings.Contains(got, "LeaderReady") {
		t.Errorf("got %q", got)
	}
}

// TestLeaderWithoutUnits: it may run before its group is admitted, and is stopped with it.
func TestLeaderWithoutUnits(t *testing.T) {
	bare := func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }
	s, c := gated(t, nil, pod("leader", inGroup("g", "2"), older(time.Hour), bare, on("n1")), pod("worker", inGroup("g", "2")))
	job := only(t, s, c)
	if !job.Suspended || job.Problem != "" || job.Pods != 1 {
		t.Fatalf("got %+v", job)
	}
	if err := s.Resume(t.Context(), job.Ref, 1, Gang{1, gpu, 1}); err != nil || only(t, s, c).Suspended {
		t.Fatalf("got %+v, %v", only(t, s, c), err)
	}
	if err := s.Suspend(t.Context(), job.Ref); err != nil || len(names(t, s, c)) != 0 {
		t.Errorf("still there: %v, %v", names(t, s, c), err)
	}
	// A worker that runs without a Loan is not to be overlooked, and neither is a pod that
	// asks for nothing beside none that do.
	for _, pods := range [][]*corev1.Pod{
		{pod("leader", inGroup("g", "2"), older(time.Hour), bare), pod("worker", inGroup("g", "2"), on("n1"))},
		{pod("alone", bare, on("n1"))},
	} {
		s, c := gated(t, nil, pods...)
		if job := only(t, s, c); job.Suspended {
			t.Errorf("got %+v", job)
		}
	}
}

// TestTellPod: the pod's own conditions stay.
func TestTellPod(t *testing.T) {
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "SchedulingGated"}
	s, c := gated(t, nil, pod("bare", func(p *corev1.Pod) { p.Status.Conditions = []corev1.PodCondition{scheduled} }))
	job := only(t, s, c)
	said := Admission{Reason: "NoRoom", Message: "1 of 4"}
	if err := s.Tell(t.Context(), job.Ref, job.Told, said, now); err != nil {
		t.Fatal(err)
	}
	if job = only(t, s, c); job.Told != said || !job.Waits.Equal(now) {
		t.Errorf("got %+v since %s", job.Told, job.Waits)
	}
	if err := s.Tell(t.Context(), job.Ref, job.Told, Admission{Admitted: true, Reason: "Lent"}, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var p corev1.Pod
	if err := c.Get(t.Context(), job.Key, &p); err != nil || len(p.Status.Conditions) != 2 || !only(t, s, c).Told.Admitted {
		t.Errorf("got %v, %v", p.Status.Conditions, err)
	}
}
