package actuate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// course is how a loan's units were taken back, by the ledger.
func (w *world) course(loan string) []course.Reclaim {
	w.t.Helper()
	entries, err := w.book.ByLoan(loan)
	if err != nil {
		w.t.Fatal(err)
	}
	return course.Of(entries)
}

// steps sums up a course: when each step was taken, and of how many pods.
func steps(r course.Reclaim) string {
	var b strings.Builder
	for _, s := range []struct {
		name string
		step *course.Step
	}{{"told", r.Told}, {"stopped", r.Stopped}, {"killed", r.Killed}, {r.End, r.Ended}} {
		if s.step != nil {
			fmt.Fprintf(&b, " %s:%gs,%d", s.name, s.step.Seconds, s.step.Pods)
		}
	}
	return fmt.Sprintf("%d units in %gs:%s", r.Units, r.BoundSeconds, b.String())
}

func (w *world) after(d time.Duration) { w.clock.SetTime(now.Add(d)) }

// stubborn makes the job's pods stay until they are killed, whoever deletes them.
func (w *world) stubborn() {
	w.t.Helper()
	for _, p := range w.pods() {
		p.Finalizers = []string{"example.com/stays"}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](5)
		if err := w.api.Update(w.t.Context(), &p); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) letGo() {
	w.t.Helper()
	for _, p := range w.pods() {
		p.Finalizers = nil
		if err := w.api.Update(w.t.Context(), &p); client.IgnoreNotFound(err) != nil {
			w.t.Fatal(err)
		}
	}
}

// TestSteps: the ledger has when a loan was asked for, when its pods knew and had to stop,
// what was killed and when the units were back; each once, however often it is done again.
// Whoever learns from it hears the same.
func TestSteps(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	var heard []string
	b.actuator.Reclaimed = func(loan *v1alpha1.Loan, how course.Reclaim) {
		heard = append(heard, loan.Name+" "+steps(how))
	}
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	w.stubborn()
	if err := b.apply(reclaiming("research/tune-1")); err != nil {
		t.Fatal(err)
	}
	w.after(3 * time.Second)
	b.at(3 * time.Second) // nothing new
	w.after(11 * time.Second)
	b.at(11 * time.Second)
	w.after(12 * time.Second)
	b.at(12 * time.Second)
	w.letGo()
	w.jobController()
	w.after(13 * time.Second)
	b.at(13 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED RECLAIM_INTENT STOPPED KILLED RECLAIM_DONE")
	want := "4 units in 10s: told:0s,1 stopped:0s,0 killed:11s,1 RECLAIM_DONE:13s,0"
	if got := w.course("research/tune-1"); len(got) != 1 || steps(got[0]) != want || !got[0].Late() {
		t.Errorf("course: %+v", got)
	}
	if diff := cmp.Diff([]string{"tune-1 " + want}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

// TestShedSteps is TestSteps for a part of a loan.
func TestShedSteps(t *testing.T) {
	w := newElasticWorld(t)
	b := alive(w)
	var heard []string
	b.actuator.Reclaimed = func(_ *v1alpha1.Loan, how course.Reclaim) {
		heard = append(heard, fmt.Sprintf("%t %v %s", how.Part, how.Lenders, steps(how)))
	}
	if err := errors.Join(admit(b), b.apply(shrinking(2))); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	w.after(4 * time.Second)
	b.at(4 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED SHED_INTENT STOPPED SHED")
	if diff := cmp.Diff([]string{"true [serving/chat] 2 units in 10s: told:0s,2 stopped:0s,0 SHED:4s,0"}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

// TestTakenSteps: what the scheduler takes by itself has a course as well, from its marks on.
func TestTakenSteps(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	w.after(time.Minute)
	p := w.pod()
	p.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: "2026-03-01T12:01:30Z"}
	if err := w.api.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: v1alpha1.ReasonPreempted,
		LastTransitionTime: metav1.Time{Time: now.Add(50 * time.Second)},
	}}
	if err := w.api.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	b.at(time.Minute)
	w.jobController()
	w.after(70 * time.Second)
	b.at(70 * time.Second)
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED STOPPED PREEMPTED")
	got := w.course("research/tune-1")
	if len(got) != 1 || steps(got[0]) != "4 units in 0s: told:0s,1 stopped:0s,0 PREEMPTED:20s,0" || got[0].Reason != lend.ReasonPreempted {
		t.Errorf("course: %+v", got)
	}
}

// TestNewDeadline: a pod that was told of one deadline hears of another, and one that is to
// stay after all that it is.
func TestNewDeadline(t *testing.T) {
	w := newElasticWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	notice := func(pod string, want string) {
		t.Helper()
		var p corev1.Pod
		if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "research", Name: pod}, &p); err != nil {
			t.Fatal(err)
		}
		if got := p.Annotations[v1alpha1.AnnotationReclaimBy]; got != want {
			t.Errorf("%s was told %q, want %q", pod, got, want)
		}
	}
	// Two were told once, and the round that told them got no further.
	for _, name := range []string{"tune-0", "tune-1"} {
		var p corev1.Pod
		if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "research", Name: name}, &p); err != nil {
			t.Fatal(err)
		}
		p.Annotations = map[string]string{v1alpha1.AnnotationReclaimBy: "2026-03-01T11:00:00Z"}
		p.Finalizers = []string{"example.com/stays"}
		if err := w.api.Update(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.apply(shrinking(1)); err != nil {
		t.Fatal(err)
	}
	notice("tune-1", "2026-03-01T12:00:10Z") // goes
	notice("tune-0", "")
	notice("tune-2", "")
}

// TestCyclingIsSaidOncePerStop: that a job goes round is said when it is stopped again,
// and not by each decision from then on.
func TestCyclingIsSaidOncePerStop(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	recorder := events.NewFakeRecorder(100)
	b.actuator.Events.Recorder = recorder
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	w.stubborn()
	cycling := []lend.Cycle{{UID: "tune", Evictions: 5}}
	for _, actions := range [][]lend.Action{nil, {reclaiming("research/tune-1")}, nil, nil} {
		if err := b.actuator.Apply(b.context(), b.gather(), &lend.Plan{Actions: actions, Cycling: cycling}); err != nil {
			t.Fatal(err)
		}
	}
	said := 0
	for len(recorder.Events) > 0 {
		if strings.Contains(<-recorder.Events, " "+lend.ReasonCycling+" ") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("said %d times, want once", said)
	}
}
