package actuate_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// at is a whole decision at a time after the start, without the Job controller.
func (b *broker) at(after time.Duration) {
	b.t.Helper()
	view, err := b.gatherer.Gather(b.t.Context(), now.Add(after), b.epoch)
	if err != nil {
		b.t.Fatal(err)
	}
	plan, next := lend.Decide(view.Snapshot, b.state, lend.DefaultPolicy())
	b.state = next
	if err := b.actuator.Apply(b.context(), view, &plan); err != nil {
		b.t.Fatal(err)
	}
}

// TestOrphans: a job deleted without its pods does not keep the units: its pods are
// killed when their lender's grace has passed.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	p := w.pod()
	p.OwnerReferences = nil
	if err := w.api.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Delete(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	b.at(0)
	b.at(59 * time.Second)
	if w.pod() == nil {
		t.Fatal("the pod was killed within the grace")
	}
	b.at(time.Minute)
	if w.pod() != nil {
		t.Fatal("the pod outlives its job")
	}
	b.at(65 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED KILLED RELEASED")
}

// TestPreemptedLingers: a preempted loan whose pods do not go is killed, and
// remembered as preempted.
func TestPreemptedLingers(t *testing.T) {
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
	if err := b.apply(lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1", Reason: lend.ReasonGraceExpired}); err != nil {
		t.Fatal(err)
	}
	if w.pod() != nil || !*w.job().Spec.Suspend {
		t.Errorf("pod %v, job suspended: %t", w.pod(), *w.job().Spec.Suspend)
	}
	var object v1alpha1.Loan
	if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "research", Name: "tune-1"}, &object); err != nil {
		t.Fatal(err)
	}
	if !meta.IsStatusConditionTrue(object.Status.Conditions, gather.ConditionPreempted) {
		t.Errorf("conditions: %+v", object.Status.Conditions)
	}
	b.at(time.Minute)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED STOPPED KILLED PREEMPTED")
}
