package ebbtide

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// succeeds lets a pod succeed: one watch loses it, and the other tells of it.
func (w *world) succeeds(p *corev1.Pod) {
	w.t.Helper()
	must(w.t, w.pods.Delete(p))
	w.onPod(klog.Background()).OnDelete(p)
	w.toldOfSuccess(p)
}

// toldOfSuccess is the second half of it.
func (w *world) toldOfSuccess(p *corev1.Pod) {
	w.t.Helper()
	p.Status.Phase = corev1.PodSucceeded
	kept, err := whoseAlone(p.DeepCopy())
	must(w.t, err)
	must(w.t, w.succeeded.Add(kept))
	w.onSucceeded(klog.Background()).OnAdd(kept, false)
}

// childJob makes the JobSet's child known with what it is to do.
func (w *world) childJob(l *v1alpha1.Loan, parallelism, completions int32) *batchv1.Job {
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Spec.Job.Name + "-workers-0", UID: types.UID("child-" + l.Spec.Job.Name)}}
	child.Spec.Parallelism, child.Spec.Completions = ptr.To(parallelism), ptr.To(completions)
	controlledBy(child, kindJobSet, l.Spec.Job.Name, l.Spec.Job.UID)
	w.putJob(child)
	return child
}

// Of other kinds than Jobs, what is done is told by their pods, where nobody makes others
// in their place.
func TestWantedOfOtherKinds(t *testing.T) {
	cluster := schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}
	for name, tc := range map[string]struct {
		kind   schema.GroupVersionKind
		change func(w *world, p *corev1.Pod)
		want   int64
	}{
		"it runs":          {kindTorch, func(*world, *corev1.Pod) {}, 3},
		"it succeeded":     {kindTorch, func(w *world, p *corev1.Pod) { w.succeeds(p) }, 2},
		"its kind runs on": {cluster, func(w *world, p *corev1.Pod) { w.succeeds(p) }, 3},
		"in an earlier try": {kindTorch, func(w *world, p *corev1.Pod) {
			p.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Minute))
			w.succeeds(p)
		}, 3},
		"it makes room":    {kindTorch, func(w *world, p *corev1.Pod) { w.leave(p, epoch); w.succeeds(p) }, 3},
		"it was never its": {kindTorch, func(w *world, p *corev1.Pod) { p.OwnerReferences = nil; w.succeeds(p) }, 3},
		"it asks for naught": {kindTorch, func(w *world, p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = nil
			w.succeeds(p)
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.loanOf(tc.kind, "/spec/suspend", "a", 3, lent("n", 3))
			p := w.worker(l, "p", w.node("n", 8, 64))
			controlledBy(p, tc.kind, "a", l.Spec.Job.UID)
			w.put(p)
			tc.change(w, p)
			if got := w.wantedOf(l); got != tc.want {
				t.Errorf("%d pods are wanted, want %d", got, tc.want)
			}
		})
	}
}

// A JobSet's pods are those of Jobs, which make others until all is done.
func TestWantedOfAJobSet(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world, l *v1alpha1.Loan)
		want   int64
	}{
		"a place for each":  {func(w *world, l *v1alpha1.Loan) { w.childJob(l, 3, 3) }, 2},
		"one after another": {func(w *world, l *v1alpha1.Loan) { w.childJob(l, 3, 9) }, 3},
		"being deleted": {func(w *world, l *v1alpha1.Loan) {
			child := w.childJob(l, 3, 3)
			child.DeletionTimestamp = ptr.To(metav1.NewTime(epoch))
			w.putJob(child)
		}, 3},
		"gone": {func(*world, *v1alpha1.Loan) {}, 3},
		"another of its name": {func(w *world, l *v1alpha1.Loan) {
			child := w.childJob(l, 3, 3)
			child.UID = "again"
			w.putJob(child)
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.jobSet("a", 3, lent("n", 3))
			tc.change(w, l)
			w.succeeds(w.worker(l, "p", w.node("n", 8, 64)))
			if got := w.wantedOf(l); got != tc.want {
				t.Errorf("%d pods are wanted, want %d", got, tc.want)
			}
		})
	}
}

// What is left of an earlier group of pods of that name makes the present one no smaller.
func TestSuccessOfAnEarlierGroup(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "old", UID: "old"}}
	job.Spec.Parallelism, job.Spec.Completions = ptr.To[int32](1), ptr.To[int32](1)
	w.putJob(job)
	w.know(job)
	old := w.queuedPod("old", "g", n)
	controlledBy(old, kindJob, job.Name, job.UID)
	w.succeeds(old)
	lead := w.queuedPod("lead", "g", n)
	l := w.gatedLoan(lead, "g", 3, lent("n", 3))
	if got := w.wantedOf(l); got != 3 {
		t.Errorf("%d pods are wanted, want 3", got)
	}
}

// A pod that is made anew does not wait for a sibling that has succeeded, nor if that is
// heard of later.
func TestSuccessOfAPodCompletesAGang(t *testing.T) {
	for name, late := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.jobSet("a", 2, lent("n", 2))
			w.childJob(l, 2, 2)
			first := w.worker(l, "first", w.node("n", 8, 64))
			must(t, w.pods.Delete(first))
			if !late {
				w.succeeds(first)
			}
			p := w.worker(l, "p", nil)
			_, _, s := w.admitPod(p)
			if s.IsWait() != late {
				t.Fatalf("it waits: %t, want %t", s.IsWait(), late)
			}
			if !late {
				return
			}
			w.toldOfSuccess(first)
			if got := w.permits[p.UID].verdict; got != "allowed" {
				t.Errorf("the waiting pod: %q", got)
			}
		})
	}
}

// Who was turned away because the gang was not whole is tried again when it is.
func TestSuccessWakesWhoWasTurnedAway(t *testing.T) {
	w := newWorld(t)
	l := w.jobSet("a", 2, lent("n", 2))
	w.childJob(l, 2, 2)
	first := w.worker(l, "first", w.node("n", 8, 64))
	must(t, w.pods.Delete(first))
	w.worker(l, "p", nil)
	w.activated = nil
	w.toldOfSuccess(first)
	if diff := cmp.Diff([]string{"research/p"}, w.activated); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
}

// A pod counts once, also while one watch has it running and the other succeeded.
func TestSuccessHeardOfTwiceCountsOnce(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.jobSet("a", 3, lent("n", 3))
	w.childJob(l, 3, 3)
	w.toldOfSuccess(w.worker(l, "first", n))
	if _, _, s := w.admitPod(w.worker(l, "p", nil)); !s.IsWait() {
		t.Errorf("one of the two that are left goes alone: %v", s.Code())
	}
}

// A success of which it becomes known only later whose it is counts from then on.
func TestSuccessOfWhatBecomesKnown(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.loanOf(kindJobSet, "/spec/suspend", "a", 3, lent("n", 3))
	other := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "a-others-0", UID: "others"}}
	controlledBy(other, kindJobSet, "a", l.Spec.Job.UID)
	w.know(other)
	first := w.worker(l, "first", n)
	w.succeeds(first)
	second := w.worker(l, "second", n)
	controlledBy(second, kindJob, other.Name, other.UID)
	w.put(second)
	p := w.worker(l, "p", nil)
	controlledBy(p, kindJob, other.Name, other.UID)
	w.put(p)
	if _, _, s := w.admitPod(p); !s.IsWait() {
		t.Fatalf("two of three go: %v", s.Code())
	}
	w.onJob(klog.Background()).OnAdd(w.childJob(l, 1, 1), false)
	if got := w.permits[p.UID].verdict; got != "allowed" {
		t.Errorf("the waiting pod: %q", got)
	}
}

// What is kept of a pod tells as much of what it asked for as all of it.
func TestWhoseAlone(t *testing.T) {
	one := corev1.ResourceList{gpu: resource.MustParse("1")}
	w := newWorld(t)
	p := w.pod("p", "research", -100, 2, w.node("n", 8, 64))
	p.Labels = map[string]string{v1alpha1.LabelQueue: "default", v1alpha1.LabelPodGroup: "g"}
	p.Annotations = map[string]string{"long": "text"}
	controlledBy(p, kindJob, "a", "job")
	p.Spec.InitContainers = []corev1.Container{
		{Name: "sidecar", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Resources: corev1.ResourceRequirements{Requests: one}},
		{Name: "first", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{gpu: resource.MustParse("7")}}},
	}
	p.Spec.Overhead = one
	kept, err := whoseAlone(p.DeepCopy())
	must(t, err)
	got := kept.(*corev1.Pod)
	if diff := cmp.Diff(book.Requests(p, nil), book.Requests(got, nil)); diff != "" {
		t.Errorf("what it asks for (-whole +kept):\n%s", diff)
	}
	for name, index := range kinIndexers() {
		whole, err1 := index(p)
		left, err2 := index(got)
		if diff := cmp.Diff(whole, left); err1 != nil || err2 != nil || len(whole) == 0 || diff != "" {
			t.Errorf("%s: %v, %v (-whole +kept):\n%s", name, err1, err2, diff)
		}
	}
	if len(got.Annotations) > 0 {
		t.Errorf("annotations %v are kept", got.Annotations)
	}
	if same, err := whoseAlone("no pod"); err != nil || same != "no pod" {
		t.Errorf("what is no pod became %v, %v", same, err)
	}
}
