package ebbtide

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

func TestSweepTellsEveryPodOfTheLoan(t *testing.T) {
	evictedBefore, err := testutil.GetCounterMetricValue(evictedPodsTotal)
	must(t, err)
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.loan("a", 3, 1, lent("n", 3))
	bound := w.borrowed(l, "bound", n)
	w.leave(w.borrowed(l, "leaving", n), epoch.Add(20*time.Second))
	waits := w.borrowed(l, "waits", nil)
	w.permits[waits.UID] = &permit{pod: waits}
	stranger := w.borrowed(w.loan("b", 1, 1, lent("n", 1)), "stranger", n)
	w.reclaim(t.Context(), l, lentMessage)
	w.calls = nil
	must(t, w.sweep(t.Context()))

	var steps []string
	for _, a := range w.calls {
		step := a.GetVerb()
		if a.GetSubresource() != "" {
			step += " " + a.GetSubresource()
		}
		switch a := a.(type) {
		case clienttesting.PatchAction:
			step += " " + a.GetName()
			if a.GetResource().Resource == "pods" {
				checkUID(t, a.GetPatch(), bound.UID)
			}
		case clienttesting.DeleteActionImpl:
			step += " " + a.GetName()
			if *a.DeleteOptions.GracePeriodSeconds != 20 || *a.DeleteOptions.Preconditions.UID != bound.UID {
				t.Errorf("delete options = %+v", a.DeleteOptions)
			}
		}
		steps = append(steps, step)
	}
	if diff := cmp.Diff([]string{"patch bound", "patch status bound", "patch a", "delete bound"}, steps); diff != "" {
		t.Errorf("API calls (-want +got):\n%s", diff)
	}
	if got := w.permits[waits.UID].verdict; got == "" {
		t.Error("the pod that waits in Permit was not turned away")
	}
	if _, err := w.client.CoreV1().Pods("research").Get(t.Context(), stranger.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("a pod of another loan is gone: %v", err)
	}

	w.calls = nil
	must(t, w.sweep(t.Context()))
	if got := w.calls; len(got) != 0 {
		t.Errorf("the next sweep told the pods again: %v", got)
	}
	evictedAfter, err := testutil.GetCounterMetricValue(evictedPodsTotal)
	must(t, err)
	if evictedAfter-evictedBefore != 1 {
		t.Errorf("evicted_pods_total rose by %v, want 1", evictedAfter-evictedBefore)
	}
}

func checkUID(t *testing.T, patch []byte, want types.UID) {
	t.Helper()
	var body struct{ Metadata struct{ UID types.UID } }
	must(t, json.Unmarshal(patch, &body))
	if body.Metadata.UID != want {
		t.Errorf("patch %s is not bound to UID %s", patch, want)
	}
}

func TestEvictMarksThePodAndNamesNobody(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	p := w.borrowed(l, "p", w.node("n", 8, 64))
	w.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
	p.Finalizers = []string{batchv1.JobTrackingFinalizer}
	_, err := w.client.CoreV1().Pods("research").Update(t.Context(), p, metav1.UpdateOptions{})
	must(t, err)
	must(t, w.evict(t.Context(), p, l, lentMessage))
	got, err := w.client.CoreV1().Pods("research").Get(t.Context(), "p", metav1.GetOptions{})
	must(t, err)
	if len(got.Finalizers) > 0 {
		t.Errorf("the Job's controller still tracks the pod: %v", got.Finalizers)
	}
	if want := epoch.Add(20 * time.Second).Format(time.RFC3339); got.Annotations[v1alpha1.AnnotationReclaimBy] != want {
		t.Errorf("reclaim-by = %q, want %q", got.Annotations[v1alpha1.AnnotationReclaimBy], want)
	}
	if !marked(got, l) {
		t.Errorf("conditions = %+v", got.Status.Conditions)
	}
	for _, c := range got.Status.Conditions {
		if strings.Contains(c.Message, "serving") || strings.Contains(c.Message, "chat") {
			t.Errorf("the message names the lender: %s", c.Message)
		}
	}
}

func TestSweepTriesAgainAfterAnError(t *testing.T) {
	w := newWorld(t)
	l := w.fill(w.loan("a", 2, 1, lent("n", 2)), w.node("n", 8, 64))
	w.reclaim(t.Context(), l, lentMessage)
	broken := true
	w.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, errors.New("the API server is away")
	})
	if err := w.sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "evict pod research/a-1-n-0: the API server is away") {
		t.Errorf("error = %v", err)
	}
	broken = false
	must(t, w.sweep(t.Context()))
	left, err := w.client.CoreV1().Pods("research").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(left.Items) != 0 {
		t.Errorf("%d pods are left", len(left.Items))
	}
}

// A pod that was being bound when its loan was taken back is found by a later
// sweep.
func TestSweepFindsPodsBoundMeanwhile(t *testing.T) {
	w := newWorld(t)
	n := w.node("n", 8, 64)
	l := w.loan("a", 1, 1, lent("n", 1))
	p := w.borrowed(l, "p", nil)
	w.reclaim(t.Context(), l, lentMessage)
	must(t, w.sweep(t.Context()))
	p.Spec.NodeName = n.node.Name
	w.put(p)
	must(t, w.sweep(t.Context()))
	if _, err := w.client.CoreV1().Pods("research").Get(t.Context(), "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod lives on: %v", err)
	}
}

func TestEvictLeavesANamesakeAlone(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	old := w.borrowed(l, "p", w.node("n", 8, 64)).DeepCopy()
	conflict := apierrors.NewConflict(corev1.Resource("pods"), "p", errors.New("the UID differs"))
	w.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, conflict })
	if err := w.evict(t.Context(), old, l, lentMessage); !apierrors.IsConflict(err) {
		t.Errorf("error = %v, want the conflict while the pod is still known", err)
	}
	next := old.DeepCopy()
	next.UID = "next"
	w.put(next)
	must(t, w.evict(t.Context(), old, l, lentMessage))
}

func TestSweepEvictsStrays(t *testing.T) {
	w := newWorld(t)
	p := w.pod("stray", "research", 0, 1, w.node("n", 8, 64))
	w.taken.addPod(p, withoutLoanText)
	must(t, w.sweep(t.Context()))
	if _, err := w.client.CoreV1().Pods("research").Get(t.Context(), "stray", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the stray lives on: %v", err)
	}
	if !w.taken.hasPod(p.UID) {
		t.Error("the pod is forgotten before it is seen to go")
	}
	w.leave(p, epoch.Add(time.Minute))
	must(t, w.sweep(t.Context()))
	if left := w.taken.allPods(); len(left) != 0 {
		t.Errorf("%d strays are remembered", len(left))
	}
}

func TestSweepForgetsLoansThatAreGone(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	w.reclaim(t.Context(), l, lentMessage)
	w.reclaim(t.Context(), l, lentMessage)
	w.checkTaken("a-1")
	must(t, w.sweep(t.Context()))
	w.checkTaken("a-1")
	must(t, w.loans.Delete(l))
	must(t, w.sweep(t.Context()))
	w.checkTaken()
}

func TestReclaimerSweepsWhenKickedAndEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	l := w.fill(w.loan("a", 1, 1, lent("n", 1)), w.node("n", 8, 64))
	gone := make(chan struct{})
	w.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		close(gone)
		return true, nil, nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.runReclaimer(t.Context())
	}()
	w.reclaim(t.Context(), l, lentMessage)
	<-gone
	t.Cleanup(func() { <-done })
}

func TestGraceSeconds(t *testing.T) {
	seconds := func(s int64) *int64 { return &s }
	for name, tc := range map[string]struct {
		own       *int64
		maxGrace  time.Duration
		reclaimBy time.Duration
		want      int64
	}{
		"the pod's own":             {own: seconds(10), maxGrace: time.Minute, want: 10},
		"the lender's bound":        {own: seconds(86400), maxGrace: time.Minute, want: 60},
		"the plugin's bound":        {own: seconds(86400), maxGrace: time.Hour, want: 120},
		"no lender's bound":         {own: seconds(86400), want: 120},
		"the default":               {maxGrace: time.Minute, want: 30},
		"what the broker granted":   {own: seconds(60), maxGrace: time.Minute, reclaimBy: 12 * time.Second, want: 12},
		"its time is over":          {own: seconds(60), maxGrace: time.Minute, reclaimBy: -time.Second, want: 1},
		"a pod that wants no grace": {own: seconds(0), maxGrace: time.Minute, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{MaxGrace: metav1.Duration{Duration: tc.maxGrace}}}
			if tc.reclaimBy != 0 {
				l.Status.ReclaimBy = &metav1.Time{Time: epoch.Add(tc.reclaimBy)}
			}
			p := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: tc.own}}
			w := newWorld(t)
			w.args.MaxGrace = 2 * time.Minute
			if got := graceSeconds(p, l, w.longestGrace(l), epoch); got != tc.want {
				t.Errorf("grace = %d, want %d", got, tc.want)
			}
		})
	}
}

// A pod that its owner stopped with an hour's grace is told to be quicker.
func TestSweepShortensALongGrace(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	slow := w.borrowed(l, "slow", w.node("n", 8, 64))
	w.leave(slow, epoch.Add(time.Hour))
	w.reclaim(t.Context(), l, lentMessage)
	must(t, w.sweep(t.Context()))
	var graces []int64
	for _, a := range w.client.Actions() {
		if a, ok := a.(clienttesting.DeleteActionImpl); ok {
			graces = append(graces, *a.DeleteOptions.GracePeriodSeconds)
		}
	}
	if diff := cmp.Diff([]int64{20}, graces); diff != "" {
		t.Errorf("graces of the deletions (-want +got):\n%s", diff)
	}
}

func TestSweepSuspendsTheJobBetweenMarkAndDeletion(t *testing.T) {
	w := newWorld(t)
	l := w.fill(w.loan("a", 2, 1, lent("n", 2)), w.node("n", 8, 64))
	w.dynamic.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		// The client is locked while it calls this.
		for _, name := range []string{"a-1-n-0", "a-1-n-1"} {
			obj, err := w.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), "research", name)
			if pod, ok := obj.(*corev1.Pod); err != nil || !ok || !marked(pod, l) {
				t.Errorf("pod %s is not there with its mark when the job is suspended: %v", name, err)
			}
		}
		return false, nil, nil
	})
	w.reclaim(t.Context(), l, lentMessage)
	must(t, w.sweep(t.Context()))
	if got := w.jobNow("a"); !isSuspended(got) || got.Annotations[v1alpha1.AnnotationTakenBack] != "1" {
		t.Errorf("the job is not suspended with the word why: %v", got.Annotations)
	}
}

// The units are owed, whether or not the job can be suspended.
func TestSweepEvictsWithoutTheSuspension(t *testing.T) {
	w := newWorld(t)
	l := w.fill(w.loan("a", 2, 1, lent("n", 2)), w.node("n", 8, 64))
	broken := true
	w.dynamic.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, errors.New("a webhook says no")
	})
	w.reclaim(t.Context(), l, lentMessage)
	if err := w.sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "suspend job research/a: a webhook says no") {
		t.Errorf("error = %v", err)
	}
	left, err := w.client.CoreV1().Pods("research").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(left.Items) != 0 {
		t.Errorf("%d pods are left", len(left.Items))
	}
	broken = false
	must(t, w.sweep(t.Context()))
	if !isSuspended(w.jobNow("a")) {
		t.Error("the suspension was not tried again")
	}
}

func TestSuspendLeavesALaterAdmissionAlone(t *testing.T) {
	w := newWorld(t)
	l := w.loan("a", 1, 1, lent("n", 1))
	w.annotate("a", v1alpha1.AnnotationAttempt, "2")
	must(t, w.suspend(t.Context(), l))
	if got := w.jobNow("a"); isSuspended(got) || got.Annotations[v1alpha1.AnnotationTakenBack] != "" {
		t.Errorf("the job of a later admission was suspended: %v", got.Annotations)
	}
}

// When a reshape is to be undone, the loan on it knows that it has to go, so that no
// restart in between leaves it running.
func TestUndoneAfterThePodsAreTold(t *testing.T) {
	w := newWorld(t).sliced()
	w.bigLoan("big", w.nightCard("n", "r", v1alpha1.ReshapeMade))
	w.waitFor(w.replicaOn("p", nil))
	deleted, wrote := 0, false
	w.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		deleted++
		return false, nil, nil
	})
	w.dynamic.PrependReactor("update", "gpunodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		wrote = true
		if deleted != 1 {
			t.Errorf("undo is written when %d pods of 1 were told to stop", deleted)
		}
		return false, nil, nil
	})
	w.checkUndone("n/r")
	if !wrote {
		t.Error("undo was never written")
	}
}
