package ebbtide

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// admit takes the loan's pod through PreFilter, Reserve and Permit.
func (w *world) admit(l *v1alpha1.Loan, name string) (*corev1.Pod, *state, *fwk.Status) {
	w.t.Helper()
	return w.admitPod(w.borrowed(l, name, nil))
}

func (w *world) admitPod(p *corev1.Pod) (*corev1.Pod, *state, *fwk.Status) {
	w.t.Helper()
	s := newState()
	if _, status := w.PreFilter(w.t.Context(), s, p, nil); !status.IsSuccess() {
		w.t.Fatal(status.Message())
	}
	w.Reserve(w.t.Context(), s, p, "n")
	status, timeout := w.Permit(w.t.Context(), s, p, "n")
	if status.IsWait() {
		w.permits[p.UID] = &permit{pod: p}
		if timeout <= w.args.GangTimeout {
			w.t.Errorf("the framework would end the wait after %s, before the gang's %s", timeout, w.args.GangTimeout)
		}
	}
	return p, s, status
}

func (w *world) verdicts() map[string]string {
	out := map[string]string{}
	for _, p := range w.permits {
		out[p.pod.Name] = p.verdict
	}
	return out
}

func TestGangWaitsForItsLastPod(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 4, 1, lent("n", 4))
	for i := range 3 {
		if _, _, s := w.admit(l, fmt.Sprint("p", i)); !s.IsWait() || s.Message() != fmt.Sprintf("%d of the 4 pods of the gang have a place", i+1) {
			t.Fatalf("pod %d: %v %q", i, s.Code(), s.Message())
		}
	}
	if _, _, s := w.admit(l, "p3"); !s.IsSuccess() {
		t.Fatalf("the last pod waits: %s", s.Message())
	}
	want := map[string]string{"p0": "allowed", "p1": "allowed", "p2": "allowed"}
	if diff := cmp.Diff(want, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}

func TestGangTimesOutWhole(t *testing.T) {
	before, err := testutil.GetCounterMetricValue(gangTimeoutsTotal)
	must(t, err)
	w := newWorld(t)
	l := w.loan("a", 3, 1, lent("n", 3))
	w.admit(l, "p0")
	w.time.Step(w.args.GangTimeout / 2)
	p1, s1, _ := w.admit(l, "p1")
	w.time.Step(w.args.GangTimeout/2 - time.Millisecond)
	if diff := cmp.Diff(map[string]string{"p0": "", "p1": ""}, w.verdicts()); diff != "" {
		t.Fatalf("before the timeout (-want +got):\n%s", diff)
	}
	w.time.Step(time.Millisecond)
	const reason = "not all 3 pods of the gang could be placed within 30s (attempt 1)"
	if diff := cmp.Diff(map[string]string{"p0": reason, "p1": reason}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
	// By the time the second pod is told, the gang is forming anew, with a full
	// timeout before it.
	w.time.Step(time.Second)
	w.admit(l, "p2")
	w.Unreserve(t.Context(), s1, p1, "n")
	w.time.Step(w.args.GangTimeout - time.Millisecond)
	if got := w.verdicts()["p2"]; got != "" {
		t.Errorf("a pod of the new round was turned away: %s", got)
	}
	w.time.Step(time.Millisecond)
	if got := w.verdicts()["p2"]; !strings.Contains(got, "(attempt 2)") {
		t.Errorf("the second time out says %q: it must differ from the first", got)
	}
	after, err := testutil.GetCounterMetricValue(gangTimeoutsTotal)
	must(t, err)
	if after-before != 2 {
		t.Errorf("gang_timeouts_total rose by %v, want 2", after-before)
	}
}

func TestGangThatLosesOneIsBrokenUp(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 3, 1, lent("n", 3))
	p0, s0, _ := w.admit(l, "p0")
	w.admit(l, "p1")
	delete(w.permits, p0.UID) // it was deleted
	w.Unreserve(t.Context(), s0, p0, "n")
	if diff := cmp.Diff(map[string]string{"p1": "another pod of the gang lost its place (attempt 1)"}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}

func TestCompleteGangHasNoAlarm(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 1, lent("n", 2))
	w.admit(l, "p0")
	w.admit(l, "p1")
	if w.time.HasWaiters() {
		t.Error("the alarm is still set")
	}
}

func TestGangCountsWhatRunsAfterARestart(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(w *world, l *v1alpha1.Loan, n *node)
		want bool // the third pod may go
	}{
		"two are bound": {set: func(w *world, l *v1alpha1.Loan, n *node) { w.borrowed(l, "x", n); w.borrowed(l, "y", n) }, want: true},
		"one is bound":  {set: func(w *world, l *v1alpha1.Loan, n *node) { w.borrowed(l, "x", n) }},
		"one of two is leaving": {set: func(w *world, l *v1alpha1.Loan, n *node) {
			w.borrowed(l, "x", n)
			w.leave(w.borrowed(l, "y", n), epoch)
		}},
		"one of two has failed": {set: func(w *world, l *v1alpha1.Loan, n *node) {
			w.borrowed(l, "x", n)
			y := w.borrowed(l, "y", n)
			y.Status.Phase = corev1.PodFailed
			w.put(y)
		}},
		"one is bound, one has succeeded": {want: true, set: func(w *world, l *v1alpha1.Loan, n *node) {
			w.borrowed(l, "x", n)
			must(w.t, w.jobStore.Update(&batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "research", UID: "job-a"}, Status: batchv1.JobStatus{Succeeded: 1},
			}))
		}},
		"a namesake of the job has succeeded": {set: func(w *world, l *v1alpha1.Loan, n *node) {
			w.borrowed(l, "x", n)
			must(w.t, w.jobStore.Update(&batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "research", UID: "job-before"}, Status: batchv1.JobStatus{Succeeded: 1},
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.loan("a", 3, 1, lent("n", 3))
			tc.set(w, l, w.node("n", 8, 8))
			if _, _, s := w.admit(l, "p"); s.IsSuccess() != tc.want {
				t.Errorf("status = %v %q", s.Code(), s.Message())
			}
		})
	}
}

// leave marks the pod as being deleted, due to be gone at the given time.
func (w *world) leave(p *corev1.Pod, by time.Time) {
	p.DeletionTimestamp = &metav1.Time{Time: by}
	p.Finalizers = []string{"test/keep"} // the fake API refuses a deletion time without one
	w.put(p)
}

func TestPermitRefusesALoanThatEndedMeanwhile(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	p, s := w.borrowed(l, "p", nil), newState()
	if _, status := w.PreFilter(t.Context(), s, p, nil); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	must(t, w.loans.Delete(l))
	if status, _ := w.Permit(t.Context(), s, p, "n"); status.Code() != fwk.Unschedulable {
		t.Errorf("status = %v", status.Code())
	}
}

func TestWaitingPodActivatesItsSiblings(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 1, lent("n", 2))
	w.borrowed(l, "sibling", nil)
	w.borrowed(w.loan("b", 2, 1, lent("n", 2)), "stranger", nil)
	w.admit(l, "p")
	if diff := cmp.Diff([]string{"research/sibling"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
}

func TestLoanEventsWakeAndTurnAway(t *testing.T) {
	w := newWorld(t)
	handler := w.onLoan(klog.Background())
	l := w.loan("a", 2, 1, lent("n", 2))
	p, _, _ := w.admit(l, "p")
	w.online("chat", 1, nil)
	w.pod("idle", "serving", 0, 0, nil)
	w.activated = nil

	handler.OnAdd(l, false)
	if diff := cmp.Diff([]string{"research/p"}, w.activated); diff != "" {
		t.Errorf("a new loan activated (-want +got):\n%s", diff)
	}
	w.activated = nil
	same := l.DeepCopy()
	same.Status.LedgerSeq = 7
	handler.OnUpdate(l, same)
	if w.activated != nil {
		t.Errorf("a change of no consequence activated %v", w.activated)
	}
	ended := l.DeepCopy()
	ended.Status.Conditions = []metav1.Condition{condition(v1alpha1.LoanReclaiming, metav1.ConditionTrue, epoch)}
	handler.OnUpdate(l, ended)
	if diff := cmp.Diff([]string{"research/p", "serving/chat"}, w.activated); diff != "" {
		t.Errorf("the loan's end activated (-want +got):\n%s", diff)
	}
	if got := w.permits[p.UID].verdict; !strings.Contains(got, "ended") {
		t.Errorf("the waiting pod was told %q", got)
	}
}

func TestJobEventsCloseAndOpenTheLoan(t *testing.T) {
	w := newWorld(t)
	handler := w.onJob(klog.Background())
	p, _, _ := w.admit(w.loan("a", 2, 1, lent("n", 2)), "p")
	w.online("chat", 1, nil)
	runs, err := w.jobs.Jobs("research").Get("a")
	must(t, err)
	w.halt("a", true)
	halted, err := w.jobs.Jobs("research").Get("a")
	must(t, err)
	w.activated = nil
	handler.OnUpdate(runs, runs.DeepCopy())
	if w.activated != nil {
		t.Errorf("a change of no consequence activated %v", w.activated)
	}
	handler.OnUpdate(runs, halted)
	if diff := cmp.Diff([]string{"research/p", "serving/chat"}, w.activated); diff != "" {
		t.Errorf("the suspension activated (-want +got):\n%s", diff)
	}
	if got := w.permits[p.UID].verdict; !strings.Contains(got, "suspended") {
		t.Errorf("the waiting pod was told %q", got)
	}
	w.activated = nil
	handler.OnUpdate(halted, runs)
	if diff := cmp.Diff([]string{"research/p"}, w.activated); diff != "" {
		t.Errorf("the resumed job activated (-want +got):\n%s", diff)
	}
}

func TestQuotaEventsWakeOnChangedSpecs(t *testing.T) {
	w := newWorld(t)
	w.online("chat", 1, nil)
	w.sync()
	handler := w.onQuota(klog.Background())
	old := w.tenant("serving", 4)
	handler.OnUpdate(old, old.DeepCopy())
	if w.activated != nil {
		t.Errorf("a status update activated %v", w.activated)
	}
	next := old.DeepCopy()
	next.Generation++
	handler.OnUpdate(old, next)
	if diff := cmp.Diff([]string{"serving/chat"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
}

func TestNamespaceEventsWakeOnChangedLabels(t *testing.T) {
	w := newWorld(t)
	w.online("chat", 1, nil)
	w.sync()
	handler := w.onNamespace(klog.Background())
	old := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "serving"}}
	handler.OnUpdate(old, old.DeepCopy())
	if w.activated != nil {
		t.Errorf("a namespace without change activated %v", w.activated)
	}
	handler.OnUpdate(old, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "serving", Labels: map[string]string{"team": "x"}}})
	if diff := cmp.Diff([]string{"serving/chat"}, w.activated); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
}

func TestWanted(t *testing.T) {
	job := func(completions, succeeded int32, uncounted int) *batchv1.Job {
		j := &batchv1.Job{Status: batchv1.JobStatus{Succeeded: succeeded}}
		if completions > 0 {
			j.Spec.Completions = &completions
		}
		if uncounted > 0 {
			j.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: make([]types.UID, uncounted)}
		}
		return j
	}
	for name, tc := range map[string]struct {
		job  *batchv1.Job
		want int64
	}{
		"unknown job":                          {want: 4},
		"nothing done":                         {job: job(4, 0, 0), want: 4},
		"one done":                             {job: job(4, 1, 0), want: 3},
		"one done that is not counted yet":     {job: job(4, 1, 1), want: 2},
		"a work queue with much left":          {job: job(100, 50, 0), want: 4},
		"a work queue with little left":        {job: job(100, 97, 0), want: 3},
		"whichever is first":                   {job: job(0, 0, 0), want: 4},
		"whichever is first, and one has been": {job: job(0, 1, 0), want: 3},
	} {
		l := &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{Pods: 4}}
		if got := wanted(l, tc.job); got != tc.want {
			t.Errorf("%s: %d pods are wanted, want %d", name, got, tc.want)
		}
	}
}

// A place counts no more once its pod has ended.
func TestTerminalPodsHaveNoPlace(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 2, 1, lent("n", 2))
	first, _, _ := w.admit(l, "p0")
	first.Status.Phase = corev1.PodFailed
	w.put(first)
	if _, _, s := w.admit(l, "p1"); !s.IsWait() {
		t.Errorf("the second pod goes beside one that has failed: %v", s.Code())
	}
}

// Enough of the gang has succeeded: those that wait are all that is wanted.
func TestSuccessCompletesAGang(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 3, 1, lent("n", 3))
	w.admit(l, "p0")
	w.admit(l, "p1")
	before, err := w.jobs.Jobs("research").Get("a")
	must(t, err)
	after := before.DeepCopy()
	after.Status.Succeeded = 1
	must(t, w.jobStore.Update(after))
	w.onJob(klog.Background()).OnUpdate(before, after)
	if diff := cmp.Diff(map[string]string{"p0": "allowed", "p1": "allowed"}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
	if w.time.HasWaiters() {
		t.Error("the alarm is still set")
	}
}

// A pod whose Permit has answered, and which does not wait yet, is not forgotten when
// its gang breaks up meanwhile.
func TestBrokenGangTurnsLatecomersAway(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 3, 1, lent("n", 3))
	late, _, _ := w.admit(l, "late")
	w.admit(l, "early")
	delete(w.permits, late.UID)
	w.breakUp(l, "the loan ended")
	w.permits[late.UID] = &permit{pod: late}
	must(t, w.sweep(t.Context()))
	want := map[string]string{"late": "the loan ended (attempt 1)", "early": "the loan ended (attempt 1)"}
	if diff := cmp.Diff(want, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}

// An alarm that could not be stopped any more does nothing to those that came since.
func TestLateAlarmBreaksNothing(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 3, 1, lent("n", 3))
	w.admit(l, "before")
	round := w.gangs.of(l.UID).round
	w.breakUp(l, "the loan ended")
	w.admit(l, "since")
	w.timeOut(klog.Background(), l, round)
	if diff := cmp.Diff(map[string]string{"before": "the loan ended (attempt 1)", "since": ""}, w.verdicts()); diff != "" {
		t.Errorf("waiting pods (-want +got):\n%s", diff)
	}
}

// The scheduler dies when some of a gang are bound. The next one finds the same
// objects, and completes it.
func TestRestartInMidGangLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.tenant("research", 8)
	n := w.node("n", 8, 64)
	l := w.loan("a", 4, 1, own("n", 4))
	w.borrowed(l, "bound-0", n)
	w.borrowed(l, "bound-1", n)
	waited, _, s := w.admit(l, "waited")
	if !s.IsWait() {
		t.Fatalf("three of four do not wait: %v", s.Code())
	}
	w.restart()
	w.permits = map[types.UID]*permit{}

	again := newState()
	if _, status := w.PreFilter(t.Context(), again, waited, w.infos()); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if status := w.Filter(t.Context(), again, waited, n); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	w.Reserve(t.Context(), again, waited, "n")
	if status, _ := w.Permit(t.Context(), again, waited, "n"); !status.IsWait() {
		t.Fatalf("three of four do not wait after the restart: %v", status.Code())
	}
	w.permits[waited.UID] = &permit{pod: waited}
	if _, _, status := w.admit(l, "last"); !status.IsSuccess() {
		t.Errorf("the gang is not complete: %s", status.Message())
	}
	if got := w.permits[waited.UID].verdict; got != "allowed" {
		t.Errorf("the third pod: %q", got)
	}
	tenant, err := w.account.Tenant("research")
	must(t, err)
	if got := tenant.Left(0, w.account.Used(tenant, "", 0)); got != 4 {
		t.Errorf("%d units of the quota are left, want 4", got)
	}
}

// A loan taken back stays closed and is seen through after a restart, when only its
// job tells of it.
func TestRestartFinishesATakeBack(t *testing.T) {
	w := newWorld(t)
	w.tenant("research", 4)
	l := w.loan("a", 2, 1, own("n", 2))
	w.halt("a", true)
	w.annotate("a", v1alpha1.AnnotationTakenBack, "1")
	w.restart()
	w.sync()
	w.onLoan(klog.Background()).OnAdd(l, true)
	w.checkTaken("a-1")
	must(t, w.sweep(t.Context()))
	tenant, err := w.account.Tenant("research")
	must(t, err)
	if got := tenant.Left(0, w.account.Used(tenant, "", 0)); got != 4 {
		t.Errorf("%d units are left, want 4: its pods are gone", got)
	}
	if _, reason := w.loanFor(w.borrowed(l, "p", nil)); !strings.Contains(reason, "taken back") {
		t.Errorf("reason = %q", reason)
	}
}
