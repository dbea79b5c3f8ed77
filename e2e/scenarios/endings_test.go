package scenarios

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// endingBound is within what a reclaim ends, however its pods end: the grace, the second
// in which what is left is killed, and what the programs need.
const endingBound = maxGrace + time.Second + slack

// Pods that ignore SIGTERM, and would for longer than anybody waits, are killed when the
// lender's grace is over, and not before.
func TestPodsIgnoreSIGTERM(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 2)
	w.create(stubborn("deaf", 1))
	w.awaitLoans("deaf")
	w.awaitBound(trainingNamespace, 1)

	w.scale(2)
	w.awaitEnded("deaf", w.awaitAsked("deaf"))
	// The API server knows until when a pod may stay to the second, and the broker may have
	// been slow to write that it asks.
	if r := w.lastReclaim("deaf"); r.Ended.Seconds < r.BoundSeconds-1 || r.BoundSeconds < (maxGrace/3).Seconds() {
		t.Errorf("the loan was over after %gs, with a bound of %gs: its pod was not left its grace of %s", r.Ended.Seconds, r.BoundSeconds, maxGrace)
	}
	w.awaitBound(onlineNamespace, 2)
	w.wantEnding("deaf", "RECLAIM_DONE", lend.ReasonReturned)
	w.wantQueued("deaf")
	w.closeTheBooks()
}

// A node that is deleted while its units are asked back takes its pods along: the loan is
// lost, and its job waits in the queue again.
func TestNodeDeletedDuringReclaim(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 3)
	w.create(stubborn("wide", 2))
	w.awaitLoans("wide")
	w.awaitBound(trainingNamespace, 2)

	w.scale(2)
	asked := w.awaitAsked("wide")
	if err := w.Client().CoreV1().Nodes().Delete(t.Context(), w.nodeOf("wide"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.awaitEnded("wide", asked)
	w.awaitBound(onlineNamespace, 2)
	w.wantEnding("wide", "LOST", lend.ReasonNodeUnhealthy)
	w.wantQueued("wide")
	w.closeTheBooks()
}

// A node that falls silent while its units are asked back confirms the end of no pod. The
// loan is over all the same, its units are broken until the node is back, and its job
// waits for others.
func TestNodeSilentDuringReclaim(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 3)
	w.create(stubborn("wide", 2))
	w.awaitLoans("wide")
	w.awaitBound(trainingNamespace, 2)

	w.scale(2)
	asked := w.awaitAsked("wide")
	node := w.nodeOf("wide")
	if err := w.LoseNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.awaitEnded("wide", asked)
	w.awaitBound(onlineNamespace, 2)
	w.wantEnding("wide", "LOST", lend.ReasonNodeUnhealthy)
	w.wantQueued("wide")
	w.submit("next", 1, 8, nil)
	w.throughout(3 * time.Second) // nobody gets the units of the silent node

	if err := w.RecoverNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.awaitLoans("next") // and now they are to be had again
	w.awaitBound(trainingNamespace, 1)
	w.closeTheBooks()
}

// A pod that somebody's finalizer holds has ended when its containers have.
func TestFinalizerHoldsPods(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 2)
	job := stubborn("held", 1)
	job.Spec.Template.Annotations = nil // its containers stop when they are told to
	w.create(job)
	w.awaitLoans("held")
	w.awaitBound(trainingNamespace, 1)
	w.hold(w.podsOf("held")[0].Name)

	w.scale(2)
	w.awaitEnded("held", w.awaitAsked("held"))
	w.awaitBound(onlineNamespace, 2)
	w.wantEnding("held", "RECLAIM_DONE", lend.ReasonReturned)
	if pods := w.podsOf("held"); len(pods) != 1 || !slices.Contains(pods[0].Finalizers, foreign) {
		t.Errorf("%d pods are left, want the one that the finalizer holds: nobody else may take it off", len(pods))
	}
	w.closeTheBooks()
}

// A pod that somebody's finalizer holds on a silent node is given up with the node: the
// object stays, and nobody waits for it.
func TestFinalizerHoldsPodOfSilentNode(t *testing.T) {
	t.Parallel()
	w := patientNight(t, 3)
	w.create(stubborn("held", 1))
	w.awaitLoans("held")
	w.awaitBound(trainingNamespace, 1)
	w.hold(w.podsOf("held")[0].Name)

	w.scale(3)
	asked := w.awaitAsked("held")
	node := w.nodeOf("held")
	if err := w.LoseNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.awaitEnded("held", asked)
	w.wantEnding("held", "LOST", lend.ReasonNodeUnhealthy)
	if pods := w.podsOf("held"); len(pods) != 1 {
		t.Errorf("%d pods are left, want the one that the finalizer holds", len(pods))
	}
	if err := w.RecoverNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.awaitBound(onlineNamespace, 3)
}

// foreign is a finalizer of somebody who takes his time.
const foreign = "example.com/hold"

// hold puts a finalizer on a pod of the training namespace. The admission policies let
// nobody do that, so it takes a cluster without them.
func (w *town) hold(pod string) {
	w.t.Helper()
	bindings := w.Client().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if err := bindings.Delete(w.t.Context(), "ebbtide-pods", metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, foreign)
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) { // once the API server has noticed
		_, err := w.Client().CoreV1().Pods(trainingNamespace).Patch(ctx, pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		return err == nil, fmt.Sprint(err)
	})
}

// What an elastic job was to give back is lost if the node falls silent meanwhile. Where
// it has nothing else there, it goes on.
func TestNodeSilentDuringShrinking(t *testing.T) {
	t.Parallel()
	w := newTown(t, 2)
	w.dial.set(1, 0)
	w.serve(1, 4, 16)
	w.awaitBound(onlineNamespace, 1)
	job := elastic("grow", 12, 2)
	job.Spec.Template.Annotations = map[string]string{kubelet.AnnotationExitAfter: "1h"}
	job.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(600))
	w.create(job)
	w.awaitLoans("grow")
	w.awaitBound(trainingNamespace, 12)

	w.dial.set(8, 0) // the service asks for units, and no pod of it waits
	var shed []v1alpha1.Grant
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		shed = loans["grow"].Status.Shedding
		return len(shed) > 0, fmt.Sprintf("nothing is asked for (%v)", err)
	})
	asked := time.Now()
	if err := w.LoseNode(t.Context(), shed[0].Node); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		loan, open := loans["grow"]
		return err == nil && (!open || len(loan.Status.Shedding) == 0), fmt.Sprintf("the loan still sheds %v (%v)", loan.Status.Shedding, err)
	})
	w.awaitEntry("grow", "SHED_LOST")
	for _, e := range w.mustEntries() {
		if e.Kind != "SHED_LOST" {
			continue
		}
		took := e.Time.Sub(asked)
		t.Logf("what was asked for was given up %s later", took.Round(time.Millisecond))
		if took > endingBound {
			t.Errorf("what was asked for was given up %s later, want within %s", took, endingBound)
		}
	}
}

// stubborn is a job of pods with a whole node each, which do not stop when they are asked
// to, and ask for a grace of ten minutes.
func stubborn(name string, pods int32) *batchv1.Job {
	spec := podSpec("", 8, 600)
	spec.SchedulerName = "" // the admission policy sets it
	spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: trainingNamespace, Name: name, Labels: map[string]string{v1alpha1.LabelQueue: "default"},
		},
		Spec: batchv1.JobSpec{
			Parallelism: &pods, Completions: &pods,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{kubelet.AnnotationExitAfter: "1h"}},
				Spec:       spec,
			},
		},
	}
}

// awaitAsked waits until the broker has asked the job's loan back, and returns since when.
// The ledger says so for ever, the Loan until it is over.
func (w *town) awaitAsked(job string) (at time.Time) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		entries, err := w.entries(ctx)
		for _, e := range entries {
			if e.Job == trainingNamespace+"/"+job && e.Kind == "RECLAIM_INTENT" {
				at = e.Time
			}
		}
		if err != nil || at.IsZero() {
			return false, fmt.Sprintf("%d entries, none of which asks for the loan of %s (%v)", len(entries), job, err)
		}
		loans, err := w.loans(ctx)
		loan, open := loans[job]
		return err == nil && (!open || meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanReclaiming)),
			fmt.Sprintf("the loan does not say that it is asked back (%v)", err)
	})
	return at
}

// awaitEnded waits until the job has no loan, and checks by the ledger that this was no later
// after it was asked back than a reclaim may take.
func (w *town) awaitEnded(job string, asked time.Time) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		loan, open := loans[job]
		return err == nil && !open, fmt.Sprintf("the loan is open, and says %+v (%v)", loan.Status.Conditions, err)
	})
	took := time.Duration(0)
	for _, e := range w.mustEntries() {
		if e.Job == trainingNamespace+"/"+job && slices.Contains([]string{"RECLAIM_DONE", "LOST", "PREEMPTED", "RELEASED"}, e.Kind) {
			took = e.Time.Sub(asked)
		}
	}
	w.t.Logf("the loan of %s was over %s after it was asked back", job, took.Round(time.Millisecond))
	if took <= 0 || took > endingBound {
		w.t.Errorf("the loan of %s was over %s after it was asked back, want within %s", job, took, endingBound)
	}
}

// wantEnding checks how the last loan of a job ended, by the ledger.
func (w *town) wantEnding(job, kind, reason string) {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	last := ledgerEntry{}
	for _, e := range entries {
		if e.Job == trainingNamespace+"/"+job {
			last = e
		}
	}
	if last.Kind != kind || last.Reason != reason {
		w.t.Errorf("the ledger's last word on %s is %s (%s), want %s (%s)", job, last.Kind, last.Reason, kind, reason)
	}
}

// wantQueued checks that the job has not failed, and waits for another admission.
func (w *town) wantQueued(name string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(context.Context) (bool, string) {
		job := w.job(name)
		return *job.Spec.Suspend && !finished(job) && job.Status.Failed == 0 && job.Status.Active == 0,
			fmt.Sprintf("the job is %+v, suspended %v: want it to wait", job.Status, *job.Spec.Suspend)
	})
}

// nodeOf is a node that one of the job's pods is bound to.
func (w *town) nodeOf(job string) string {
	w.t.Helper()
	pods := w.podsOf(job)
	if len(pods) == 0 || pods[0].Spec.NodeName == "" {
		w.t.Fatalf("no pod of %s is bound", job)
	}
	return pods[0].Spec.NodeName
}

func (w *town) podsOf(job string) []corev1.Pod {
	w.t.Helper()
	pods, err := w.Client().CoreV1().Pods(trainingNamespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job})
	if err != nil {
		w.t.Fatal(err)
	}
	return pods.Items
}
