package actuate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func controlledBy(apiVersion, kind, name string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, Controller: ptr.To(true)}}
}

// makes is a Job's controller and the scheduler: a Job that runs has a pod, which gets a
// node as long as there is a Loan that is open.
func (w *world) makes(job string) {
	w.t.Helper()
	var j batchv1.Job
	if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "research", Name: job}, &j); err != nil {
		w.t.Fatal(err)
	}
	pods := slices.DeleteFunc(w.pods(), func(p corev1.Pod) bool { return !metav1.IsControlledBy(&p, &j) })
	if ptr.Deref(j.Spec.Suspend, false) {
		for i := range pods {
			if err := w.api.Delete(w.t.Context(), &pods[i]); err != nil {
				w.t.Fatal(err)
			}
		}
		return
	}
	if len(pods) > 0 {
		return
	}
	w.uid++
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "research", Name: fmt.Sprint(job, "-", w.uid), OwnerReferences: controlledBy("batch/v1", "Job", job, j.UID),
	}, Spec: template(4).Spec}
	for _, l := range w.loans() {
		closed := meta.IsStatusConditionTrue(l.Status.Conditions, v1alpha1.LoanReclaiming) || meta.IsStatusConditionFalse(l.Status.Conditions, v1alpha1.LoanActive)
		if !closed {
			pod.Spec.NodeName = "gpu-1"
		}
	}
	if err := w.api.Create(w.t.Context(), pod); err != nil {
		w.t.Fatal(err)
	}
}

// rounds decides every ten seconds, with a controller that makes pods anew in between.
func (b *broker) rounds(n int, job string) {
	b.t.Helper()
	for i := range n {
		b.makes(job)
		at := time.Duration(i) * 10 * time.Second
		b.clock.SetTime(now.Add(at))
		b.at(at)
	}
}

// keptJobSet is a JobSet with a Loan and a Job that runs, which was deleted without that
// Job: it stays, and nobody looks after the Job.
func keptJobSet(t *testing.T, parent func(set types.UID) []metav1.OwnerReference) (*world, *broker) {
	t.Helper()
	w, set := withJobSet(t)
	b := alive(w).installed()
	if err := b.apply(lendTo(set)); err != nil {
		t.Fatal(err)
	}
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "child", OwnerReferences: parent(set.GetUID())}}
	if err := w.api.Create(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	b.actuator.Chains.Put(child)
	b.actuator.Chains.Put(set)
	b.makes("child")
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(set), set); err != nil {
		t.Fatal(err)
	}
	set.SetFinalizers([]string{"orphan"})
	if err := errors.Join(w.api.Update(t.Context(), set), w.api.Delete(t.Context(), set)); err != nil {
		t.Fatal(err)
	}
	return w, b
}

// TestDeletedWithoutItsPods: a job that is deleted without what it has made stays, and so
// does what it has made. Its loan ends all the same.
func TestDeletedWithoutItsPods(t *testing.T) {
	for name, parent := range map[string]func(types.UID) []metav1.OwnerReference{
		"its Job": func(set types.UID) []metav1.OwnerReference {
			return controlledBy("jobset.x-k8s.io/v1alpha2", "JobSet", "pretrain", set)
		},
		// It has another name, for which the JobSet is not found: it is not suspended.
		"a Job below": func(set types.UID) []metav1.OwnerReference {
			return controlledBy("ray.io/v1", "RayCluster", "between", "between")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := keptJobSet(t, parent)
			if name != "its Job" {
				set := w.loans()[0].Spec.Job
				b.actuator.Chains.Put(&metav1.ObjectMeta{
					Namespace: "research", Name: "between", UID: "between", OwnerReferences: controlledBy("jobset.x-k8s.io/v1alpha2", "JobSet", "pretrain", set.UID),
				})
			}
			b.rounds(14, "child")
			if n := len(w.loans()); n != 0 || w.lent() != 0 {
				t.Errorf("%d loans are open, %d units lent", n, w.lent())
			}
			wantCourse(t, w, "research/pretrain-1", "LEND_INTENT LEND_GRANTED RELEASED")
			for _, p := range w.pods() {
				if p.Spec.NodeName != "" {
					t.Errorf("pod %s holds units", p.Name)
				}
			}
		})
	}
}

// TestForeignJobBelow: a Job that the tenant has put below the loan's own goes on making
// pods after that was suspended. They have no node and get none, and the loan ends.
func TestForeignJobBelow(t *testing.T) {
	for name, start := range map[string]func(*world, *broker) error{
		"asked back": func(_ *world, b *broker) error {
			a := reclaiming("research/tune-1")
			return b.apply(a)
		},
		"preempted": func(w *world, _ *broker) error {
			p := w.pods()[0]
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted}}
			return w.api.Status().Update(w.t.Context(), &p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			foreign := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
				Namespace: "research", Name: "foreign", OwnerReferences: controlledBy("jobset.x-k8s.io/v1alpha2", "JobSet", "tune", "tune"),
			}}
			if err := errors.Join(b.apply(w.lending()), w.api.Create(t.Context(), foreign)); err != nil {
				t.Fatal(err)
			}
			b.actuator.Chains.Put(foreign)
			b.makes("foreign")
			if err := start(w, b); err != nil {
				t.Fatal(err)
			}
			b.rounds(14, "foreign")
			if got := w.kinds("research/tune-1"); !strings.HasSuffix(got, "RECLAIM_DONE") && !strings.HasSuffix(got, "PREEMPTED") {
				t.Errorf("ledger: %s", got)
			}
			if n := len(w.pods()); n != 1 || w.pods()[0].Spec.NodeName != "" {
				t.Errorf("%d pods, want the foreign Job's one, without a node", n)
			}
		})
	}
}

// TestUnsuspended: while a job cannot be suspended its pods get their own grace, and are
// killed when that has passed.
func TestUnsuspended(t *testing.T) {
	refuse := func(b *broker) { b.actuator.Jobs = unsuspendable{b.actuator.Jobs} }
	t.Run("asked back", func(t *testing.T) {
		w := newWorld(t)
		b := alive(w)
		if err := admit(b); err != nil {
			t.Fatal(err)
		}
		refuse(b)
		if err := b.apply(reclaiming("research/tune-1")); !errors.Is(err, errUnsuspendable) {
			t.Errorf("apply: %v", err)
		}
		if w.pod() != nil {
			t.Error("the pod was not asked to stop")
		}
	})
	t.Run("preempted", func(t *testing.T) {
		w := newWorld(t)
		b := alive(w)
		if err := admit(b); err != nil {
			t.Fatal(err)
		}
		p := w.pod()
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted}}
		if err := w.api.Status().Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		refuse(b)
		if err := b.apply(lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1", Reason: lend.ReasonGraceExpired}); !errors.Is(err, errUnsuspendable) {
			t.Errorf("apply: %v", err)
		}
		if w.pod() != nil {
			t.Error("the pod was not killed")
		}
	})
}

// TestMissingLoanBesideStrangers: of a loan without an object a pod does not keep the end
// up whose owners are not known, if it asks for no device, or is elsewhere.
func TestMissingLoanBesideStrangers(t *testing.T) {
	for name, test := range map[string]struct {
		node  string
		units int64
		want  string
	}{
		"no device": {"gpu-1", 0, "LEND_INTENT LEND_GRANTED LOST"},
		"elsewhere": {"gpu-0", 4, "LEND_INTENT LEND_GRANTED LOST"},
		"there":     {"gpu-1", 4, "LEND_INTENT LEND_GRANTED"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			if err := b.apply(w.lending()); err != nil {
				t.Fatal(err)
			}
			object := w.loans()[0]
			object.Finalizers = nil
			if err := errors.Join(w.api.Update(t.Context(), &object), w.api.Delete(t.Context(), &object)); err != nil {
				t.Fatal(err)
			}
			p := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "stranger", OwnerReferences: controlledBy("ray.io/v1", "RayCluster", "unknown", "unknown")},
				Spec:       template(test.units).Spec,
			}
			if test.units == 0 {
				p.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
			}
			p.Spec.NodeName = test.node
			if err := w.api.Create(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if err := b.actuator.Start(b.context()); err != nil {
				t.Fatal(err)
			}
			wantCourse(t, w, "research/tune-1", test.want)
		})
	}
}

// TestShedOfNoLongerElastic: what a job gave back is settled though the job cannot be told
// its size any more. As its controller makes the pod anew, which gets no node, all of the
// loan is asked back in the end.
func TestShedOfNoLongerElastic(t *testing.T) {
	w := newElasticWorld(t)
	b := w.broker(&fuse{left: -1})
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	job := w.job()
	delete(job.Annotations, v1alpha1.AnnotationMinPods)
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(shrinking(1)); err == nil {
		t.Error("the job was made smaller")
	}
	b.jobController()
	back := shrinking(1)
	back.Kind = lend.ActionReturn
	if err := b.apply(back); err == nil {
		t.Error("nobody hears that the job was not made smaller")
	}
	loan := w.loans()[0]
	if held := v1alpha1.Units(loan.Held()); held != 3 || len(loan.Status.Shedding) > 0 {
		t.Errorf("the loan holds %d units and sheds %v", held, loan.Status.Shedding)
	}
	if got := w.kinds("research/tune-1"); !strings.HasSuffix(got, "SHED") {
		t.Errorf("ledger: %s", got)
	}
	for i := range 100 {
		at := time.Duration(i) * 10 * time.Second
		w.clock.SetTime(now.Add(at))
		view, err := b.gatherer.Gather(t.Context(), now.Add(at), b.epoch)
		if err != nil {
			t.Fatal(err)
		}
		var plan lend.Plan
		plan, b.state = lend.Decide(view.Snapshot, b.state, lend.DefaultPolicy())
		_ = b.actuator.Apply(b.context(), view, &plan) // that the job is not elastic
		if len(w.loans()) == 0 {
			break
		}
		b.jobController()
	}
	if n := len(w.loans()); n != 0 || w.lent() != 0 {
		t.Errorf("%d loans, %d units lent", n, w.lent())
	}
}

var errUnsuspendable = errors.New("a webhook refuses it")

// unsuspendable refuses to suspend anything.
type unsuspendable struct{ actuate.Jobs }

func (unsuspendable) Suspend(context.Context, jobs.Ref) error { return errUnsuspendable }
