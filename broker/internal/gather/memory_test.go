package gather_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// TestRemembers: whatever changes between two decisions, the second sees the cluster
// as one does that has never looked before.
func TestRemembers(t *testing.T) {
	g, _ := newGatherer(append(cluster(), training("tune", 2, 4), training("bert", 1, 8))...)
	c := g.Live.(client.Client)
	update := func(edit func(client.Object), o client.Object, namespace, name string) func() {
		return func() {
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
				t.Fatal(err)
			}
			edit(o)
			if err := c.Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	create := func(o client.Object) func() {
		return func() {
			if err := c.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(o client.Object) func() {
		return func() {
			if err := c.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := training("tune", 1, 2)
	again.UID = "tune-again"
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a bigger job", update(func(o client.Object) { o.(*batchv1.Job).Spec.Parallelism = ptr.To[int32](5) }, &batchv1.Job{}, "research", "tune")},
		{"another job", create(training("vit", 1, 4))},
		{"a limit", update(func(o client.Object) {
			o.(*v1alpha1.TrainingQueue).Spec.Limits = &v1alpha1.QueueLimits{Jobs: ptr.To[int32](1)}
		}, &v1alpha1.TrainingQueue{}, "research", "default")},
		{"a resource quota", create(resourceQuota(list("pods", "4"), list("pods", "1"), nil))},
		{"what is used of it", update(func(o client.Object) { o.(*corev1.ResourceQuota).Status.Used = list("pods", "3") }, &corev1.ResourceQuota{}, "research", "compute")},
		{"a smaller resource quota", update(func(o client.Object) { o.(*corev1.ResourceQuota).Status.Hard = list("pods", "3") }, &corev1.ResourceQuota{}, "research", "compute")},
		{"an admission", create(loan("vit", "gpu-1", 4))},
		{"a return", remove(loan("vit", "gpu-1", 4))},
		{"a tenant's class", update(func(o client.Object) { o.(*v1alpha1.TenantQuota).Spec.MaxPriorityClass = "none" }, &v1alpha1.TenantQuota{}, "", "research")},
		{"a tenant's status", update(func(o client.Object) { o.(*v1alpha1.TenantQuota).Status.WeightedShare = 7 }, &v1alpha1.TenantQuota{}, "", "research")},
		{"a namespace of another", update(func(o client.Object) { o.SetLabels(map[string]string{"team": "serving"}) }, &corev1.Namespace{}, "", "research")},
		{"a job that ends", update(func(o client.Object) { o.(*batchv1.Job).Status.Conditions = done() }, &batchv1.Job{}, "research", "bert")},
		{"a job that runs by itself", update(func(o client.Object) { o.(*batchv1.Job).Spec.Suspend = ptr.To(false) }, &batchv1.Job{}, "research", "vit")},
		{"a job that is gone", remove(training("tune", 1, 4))},
		{"a job of the same name", create(again)},
	} {
		step.do()
		got, err := g.Gather(t.Context(), now, 1)
		if err != nil {
			t.Fatal(err)
		}
		first := &gather.Gatherer{Cache: c, Live: c, Scales: c, Jobs: g.Jobs, Signals: g.Signals, Disrupted: &gather.Disrupted{}}
		want, err := first.Gather(t.Context(), now, 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Snapshot, got.Snapshot); diff != "" {
			t.Errorf("%s (-anew +remembered):\n%s", step.name, diff)
		}
		if want.CountJobs() != got.CountJobs() || len(want.Strays) != len(got.Strays) {
			t.Errorf("%s: %d jobs and %d strays, want %d and %d", step.name, got.CountJobs(), len(got.Strays), want.CountJobs(), len(want.Strays))
		}
		for _, j := range got.Snapshot.Jobs {
			if found := got.Job(types.UID(j.UID)); found == nil || found.Key.String() != j.Name {
				t.Errorf("%s: job %s is not found by its UID", step.name, j.Name)
			}
		}
		if step.name == "nothing" && len(got.Changed) != 2 {
			t.Errorf("changed at first: %v", got.Changed)
		}
		if step.name == "a tenant's status" && len(got.Changed) != 0 {
			t.Errorf("changed: %v", got.Changed)
		}
	}
}

// TestTakenBack: the scheduler's mark on the job ends the loan of that attempt.
func TestTakenBack(t *testing.T) {
	for mark, want := range map[string]bool{"4": true, "3": false, "": false} {
		j := training("tune", 1, 4)
		j.Spec.Suspend = ptr.To(mark != "")
		j.Annotations[v1alpha1.AnnotationTakenBack] = mark
		view := gatherAll(t, append(cluster(), j, loan("tune", "gpu-1", 4))...)
		if l := view.Snapshot.Loans[0]; l.Preempted != want || l.Finished != (mark == "3") {
			t.Errorf("mark %q: %+v", mark, l)
		}
	}
	reclaimed := loan("tune", "gpu-1", 4)
	reclaimed.Status.ReclaimedFor = "bert"
	reclaimed.Status.Conditions = []metav1.Condition{{Type: v1alpha1.LoanReclaiming, Status: metav1.ConditionTrue}}
	j := training("tune", 1, 4)
	j.Annotations[v1alpha1.AnnotationTakenBack] = "4"
	view := gatherAll(t, append(cluster(), j, reclaimed)...)
	if l := view.Snapshot.Loans[0]; l.Preempted || l.ReclaimedFor != "bert" {
		t.Errorf("reclaimed before it was taken back: %+v", l)
	}
}

// TestQueued: a job waits since it was taken back, and at first since it exists.
func TestQueued(t *testing.T) {
	since := metav1.Time{Time: now.Add(-10 * 60e9)}
	for attempt, want := range map[string]bool{"0": false, "2": true} {
		j := training("tune", 1, 4)
		j.Annotations[v1alpha1.AnnotationAttempt] = attempt
		j.Status.Conditions = []batchv1.JobCondition{{Type: v1alpha1.ConditionAdmitted, Status: corev1.ConditionFalse, LastTransitionTime: since}}
		got := gatherAll(t, append(cluster(), j)...).Snapshot.Jobs[0].Queued
		if got.Equal(since.Time) != want || got.IsZero() == want {
			t.Errorf("attempt %s: queued %s", attempt, got)
		}
	}
}

// stored lists jobs as an informer's store does.
type stored []any

func (s stored) List() []any { return s }

// manyJobs is a cluster with n waiting jobs.
func manyJobs(b *testing.B, n int) *gather.Gatherer {
	b.Helper()
	g, _ := newGatherer(cluster()...)
	list := make(stored, n)
	for i := range list {
		j := training(fmt.Sprintf("job-%06d", i), 1, 4)
		j.UID, j.ResourceVersion = types.UID(fmt.Sprintf("%08x-5d5c-4b7f-9b1a-%012d", i*2654435761%(1<<32), i)), "1"
		list[i] = j
	}
	g.Jobs = batchOnly(g.Live.(client.Client), list)
	return g
}

// BenchmarkGather is a Gather of 100,000 waiting jobs: the first, one after which
// nothing has changed, and one after which ten jobs have.
func BenchmarkGather(b *testing.B) {
	const n = 100_000
	look := func(b *testing.B, g *gather.Gatherer) *lend.Snapshot {
		view, err := g.Gather(context.Background(), now, 1)
		if err != nil || len(view.Snapshot.Jobs) != n {
			b.Fatalf("%d jobs, %v", len(view.Snapshot.Jobs), err)
		}
		return &view.Snapshot
	}
	b.Run("first", func(b *testing.B) {
		g := manyJobs(b, n)
		for b.Loop() {
			fresh := &gather.Gatherer{Cache: g.Cache, Live: g.Live, Scales: g.Scales, Jobs: g.Jobs, Signals: g.Signals, Disrupted: &gather.Disrupted{}}
			look(b, fresh)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		g := manyJobs(b, n)
		look(b, g)
		for b.Loop() {
			look(b, g)
		}
	})
	b.Run("ten changed", func(b *testing.B) {
		g := manyJobs(b, n)
		look(b, g)
		list := g.Jobs.(*jobs.Set).Of(schema.GroupKind{}).(*jobs.Batch).Store.(stored)
		version := 1
		for b.Loop() {
			version++
			for i := range 10 {
				at := (i*9973 + version) % n
				j := list[at].(*batchv1.Job).DeepCopy()
				j.ResourceVersion = fmt.Sprint(version)
				list[at] = j
			}
			look(b, g)
		}
	})
}
