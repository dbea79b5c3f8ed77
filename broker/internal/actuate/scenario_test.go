package actuate_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

func alive(w *world) *broker { return w.broker(&fuse{left: -1}) }

func (w *world) kinds(loan string) string {
	w.t.Helper()
	entries, err := w.book.ByLoan(loan)
	if err != nil {
		w.t.Fatal(err)
	}
	var kinds []string
	for _, e := range entries {
		kinds = append(kinds, e.Kind.String())
	}
	return strings.Join(kinds, " ")
}

func wantKinds(t *testing.T, w *world, loan, want string) {
	t.Helper()
	if got := w.kinds(loan); got != want {
		t.Errorf("ledger of %s: got %q, want %q", loan, got, want)
	}
}

// TestStaleLeader: somebody wrote the policy after the snapshot, so the lends
// come to nothing, and the next decision can lend.
func TestStaleLeader(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	view := b.gather()
	var p v1alpha1.LendingPolicy
	if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &p); err != nil {
		t.Fatal(err)
	}
	p.Status.Lent = 8
	if err := w.api.Status().Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	err := b.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{b.lending()}})
	if err == nil || errors.Is(err, actuate.ErrStop) {
		t.Errorf("got error %v, want a conflict", err)
	}
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_ABORTED")
	if n := len(w.loans()); n != 0 || !*w.job().Spec.Suspend {
		t.Errorf("%d loans were made", n)
	}
	if err := b.apply(b.lending()); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	wantKinds(t, w, "research/tune-2", "LEND_INTENT LEND_GRANTED")
	agree(t, w)
}

// TestJobChanged: a job that was touched since the decision is not admitted.
func TestJobChanged(t *testing.T) {
	for name, edit := range map[string]func(*batchv1.Job){
		"ended":              func(j *batchv1.Job) { j.Status.Conditions = ended() },
		"bigger":             func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](2) },
		"bigger pods":        func(j *batchv1.Job) { j.Spec.Template.Spec = template(8).Spec },
		"admitted meanwhile": func(j *batchv1.Job) { j.Annotations = map[string]string{v1alpha1.AnnotationAttempt: "5"} },
		"resumed by hand":    func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			view, action := b.gather(), b.lending()
			job := w.job()
			edit(job)
			status := job.Status
			if err := w.api.Update(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			job.Status = status
			if err := w.api.Status().Update(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			if err := b.actuator.Apply(b.context(), view, &lend.Plan{Actions: []lend.Action{action}}); err == nil {
				t.Error("want an error")
			}
			if name != "resumed by hand" { // that one's Loan stays: its pods may hold units
				wantKinds(t, w, action.Loan, "LEND_INTENT LEND_ABORTED")
			}
		})
	}
}

// TestOvertaken: the ledger has a newer epoch, so this broker must stop, and
// does nothing to the API.
func TestOvertaken(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if _, err := w.book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch-99", Epoch: 99}); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(b.lending()); !errors.Is(err, actuate.ErrStop) {
		t.Errorf("got %v, want ErrStop", err)
	}
	if err := b.actuator.Start(b.context()); !errors.Is(err, actuate.ErrStop) {
		t.Errorf("got %v, want ErrStop", err)
	}
	if n := len(w.loans()); n != 0 || w.lent() != 0 {
		t.Errorf("%d loans, %d lent", n, w.lent())
	}
}

// TestLostLedger: a new ledger learns of what runs from the API.
func TestLostLedger(t *testing.T) {
	w := newWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.open()
	b := alive(w)
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, w, "research/tune-1", "RECOVERED")
	agree(t, w)
}

// TestLostLoan: a Loan that was deleted by force is closed, and its job stopped.
func TestLostLoan(t *testing.T) {
	w := newWorld(t)
	if err := admit(alive(w)); err != nil {
		t.Fatal(err)
	}
	object := w.loans()[0]
	object.Finalizers = nil
	if err := errors.Join(w.api.Update(t.Context(), &object), client.IgnoreNotFound(w.api.Delete(t.Context(), &object))); err != nil {
		t.Fatal(err)
	}
	b := alive(w)
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	if !*w.job().Spec.Suspend {
		t.Error("the job was not suspended")
	}
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED") // its pod still ends
	w.jobController()
	b.round()
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED LOST")
	agree(t, w)
}

// TestStray: a queued job that runs without a Loan is stopped, and nobody else.
func TestStray(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*testing.T, *world)
		edit    func(*batchv1.Job)
		want    bool // suspended
	}{
		"resumed by hand": {edit: func(*batchv1.Job) {}, want: true},
		"not queued":      {edit: func(j *batchv1.Job) { j.Labels = nil }},
		"ended":           {edit: func(j *batchv1.Job) { j.Status.Conditions = ended() }},
		"admitted": {edit: func(*batchv1.Job) {}, prepare: func(t *testing.T, w *world) {
			if err := admit(alive(w)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.prepare != nil {
				test.prepare(t, w)
			}
			job := w.job()
			job.Spec.Suspend = ptr.To(false)
			test.edit(job)
			status := job.Status
			if err := w.api.Update(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			job.Status = status
			if err := w.api.Status().Update(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			b := alive(w)
			recorder := events.NewFakeRecorder(10)
			b.actuator.Events.Recorder = recorder
			for range 2 {
				if err := b.apply(); err != nil {
					t.Fatal(err)
				}
			}
			if got := *w.job().Spec.Suspend; got != test.want {
				t.Errorf("the job is suspended: %t, want %t", got, test.want)
			}
			said := 0
			for len(recorder.Events) > 0 {
				if strings.HasPrefix(<-recorder.Events, "Warning SuspendedWithoutLoan ") {
					said++
				}
			}
			if test.want != (said == 1) {
				t.Errorf("its owner was told %d times", said)
			}
		})
	}
}

// TestStrayFromCache: the cache may say that a job runs without a Loan when the
// API server knows better.
func TestStrayFromCache(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	job := w.job()
	job.Spec.Suspend = ptr.To(false)
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	cached := b.gather().Strays
	if len(cached) != 1 {
		t.Fatalf("strays: %v", cached)
	}
	job.Spec.Suspend = ptr.To(true)
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	view := b.gather()
	view.Strays = cached
	if err := b.actuator.Apply(b.context(), view, &lend.Plan{}); err != nil {
		t.Fatal(err)
	}
	if *w.job().Spec.Suspend {
		t.Error("the admitted job was suspended")
	}
}

// TestIntentRuns: an intent without a Loan is closed, and its job does not run on.
func TestIntentRuns(t *testing.T) {
	w := newWorld(t)
	f := &fuse{left: 1, after: true} // dies when LEND_INTENT is written
	b := w.broker(f)
	if err := b.apply(b.lending()); err == nil || !f.burnt {
		t.Fatalf("the broker lives: %v", err)
	}
	job := w.job()
	job.Spec.Suspend = ptr.To(false)
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Close(); err != nil {
		t.Fatal(err)
	}
	w.open()
	b = alive(w)
	if err := b.actuator.Start(b.context()); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_ABORTED")
	if !*w.job().Spec.Suspend {
		t.Error("the job runs on")
	}
}

func ended() []batchv1.JobCondition {
	return []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
}

// TestExcused: a pod that the broker kills is marked first, and let go by the Job's
// controller, so that neither its backoffLimit nor its back-off counts it; and it is not
// marked as taken by the scheduler.
func TestExcused(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	p := w.pod()
	const holds = "example.com/holds-it"
	p.Finalizers = []string{batchv1.JobTrackingFinalizer, holds}
	if err := w.api.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := b.apply(lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1"}); err != nil {
		t.Fatal(err)
	}
	p = w.pod()
	if p.DeletionTimestamp == nil || len(p.Status.Conditions) != 1 || !slices.Equal(p.Finalizers, []string{holds}) {
		t.Fatalf("got %+v", p)
	}
	if c := p.Status.Conditions[0]; c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue || c.Reason != jobs.ReasonReclaimed {
		t.Errorf("condition: %+v", c)
	}
	for _, l := range b.gather().Snapshot.Loans {
		if l.Preempted {
			t.Error("the broker's own mark counts as a preemption")
		}
	}
}

// TestPreempted: the scheduler marks and deletes a pod. The job goes back to its
// queue, and the ledger says who took it.
func TestPreempted(t *testing.T) {
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
	b.round()
	if !*w.job().Spec.Suspend {
		t.Error("the job was not suspended")
	}
	for range 2 {
		b.round()
	}
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED STOPPED PREEMPTED")
	agree(t, w)
}

// TestOwnerSuspends: law 9. A tenant that suspends its admitted job holds nothing.
func TestOwnerSuspends(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	job := w.job()
	job.Spec.Suspend = ptr.To(true)
	if err := w.api.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	w.jobController()
	b.round()
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED RELEASED")
	agree(t, w)
}

// TestNotProven: a Return whose pods turn out to be alive changes nothing.
func TestNotProven(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	action := lend.Action{Kind: lend.ActionReturn, Loan: "research/tune-1", Reason: lend.ReasonReleased, Message: "free"}
	for range 2 { // first the job runs, then its pod still ends
		if err := b.apply(action); err != nil {
			t.Fatal(err)
		}
	}
	wantKinds(t, w, "research/tune-1", "LEND_INTENT LEND_GRANTED")
	if w.lent() != 4 {
		t.Errorf("status.lent fell to %d", w.lent())
	}
	w.jobController()
	if err := b.apply(action); err != nil {
		t.Fatal(err)
	}
	agree(t, w)
}

// TestGrace: a grace longer than the reclaim allows is shortened; what is left
// afterwards is killed.
func TestGrace(t *testing.T) {
	for name, test := range map[string]struct {
		action lend.Action
		own    int64
		gone   bool
	}{
		"own grace is short enough": {action: reclaiming("research/tune-1"), own: 5},
		"own grace is too long":     {action: reclaiming("research/tune-1"), own: 600, gone: true},
		"evicted":                   {action: lend.Action{Kind: lend.ActionEvict, Loan: "research/tune-1"}, own: 5, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := alive(w)
			if err := admit(b); err != nil {
				t.Fatal(err)
			}
			p := w.pod()
			p.Spec.TerminationGracePeriodSeconds = &test.own
			if err := w.api.Update(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if err := b.apply(test.action); err != nil {
				t.Fatal(err)
			}
			if gone := w.pod() == nil; gone != test.gone {
				t.Errorf("the broker deleted the pod: %t, want %t", gone, test.gone)
			}
			if !*w.job().Spec.Suspend {
				t.Error("the job was not suspended")
			}
		})
	}
}

// TestNotice: a reclaimed pod can read until when it has time.
func TestNotice(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	if err := admit(b); err != nil {
		t.Fatal(err)
	}
	p := w.pod()
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](5)
	if err := errors.Join(w.api.Update(t.Context(), p), b.apply(reclaiming("research/tune-1"))); err != nil {
		t.Fatal(err)
	}
	if got := w.pod().Annotations[v1alpha1.AnnotationReclaimBy]; got != "2026-03-01T12:00:10Z" {
		t.Errorf("notice: got %q", got)
	}
	object := w.loans()[0]
	if object.Status.ReclaimID != "r-1" || object.Status.LostWorkSeconds != 40 || !object.Status.ReclaimBy.Time.Equal(reclaiming("").ReclaimBy) {
		t.Errorf("status: %+v", object.Status)
	}
}

// TestUnplaceable: the owner is told once which pod waits in vain, and again if
// that comes back.
func TestUnplaceable(t *testing.T) {
	w := newWorld(t)
	b := alive(w)
	recorder := events.NewFakeRecorder(100)
	b.actuator.Events.Recorder = recorder
	for _, why := range []string{"pod serving/chat-1 may run on no node", "pod serving/chat-1 may run on no node", "", "pod serving/chat-2 may run on no node"} {
		view := b.gather()
		if why != "" {
			view.Unplaceable["serving/chat"] = why
		}
		if err := b.actuator.Apply(b.context(), view, &lend.Plan{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for len(recorder.Events) > 0 {
		got = append(got, <-recorder.Events)
	}
	want := []string{
		"Warning PodsUnplaceable waited in vain: pod serving/chat-1 may run on no node",
		"Warning PodsUnplaceable waited in vain: pod serving/chat-2 may run on no node",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// pod is the job's pod, nil if there is none.
func (w *world) pod() *corev1.Pod {
	var p corev1.Pod
	if w.api.Get(w.t.Context(), client.ObjectKey{Namespace: "research", Name: "tune-0"}, &p) != nil {
		return nil
	}
	return &p
}
