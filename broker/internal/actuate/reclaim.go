package actuate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	// noticeTimeout bounds how long the early notices may hold up the stop.
	noticeTimeout = 500 * time.Millisecond
	// deadlineSlack: the API server counts grace in whole seconds.
	deadlineSlack = time.Second
)

// reclaim asks a loan back.
func (r *round) reclaim(ctx context.Context, l *loanRef, action *lend.Action) error {
	known, err := r.ensureGranted(l.name, l.object)
	if err != nil {
		return err
	}
	if err := r.settle(l.name, l.object); err != nil {
		return err
	}
	if known.State == ledger.Granted {
		_, err := r.record(ledger.ReclaimIntent, l.name, ledger.Entry{
			Reason: action.Reason, Message: action.Message, ReclaimID: action.ReclaimID,
			Signals: causes(r.view, l.snapshot.Grants), Payload: payload(action),
		})
		if err != nil {
			return err
		}
	}
	// gofail: var reclaimIntended struct{}
	status := &l.object.Status
	why := r.toBorrower(l.object.Spec.Borrower, action.Reason, action.Message)
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.LoanReclaiming, Status: metav1.ConditionTrue, Reason: action.Reason, Message: why,
		LastTransitionTime: metav1.Time{Time: r.Clock.Now()},
	})
	status.ReclaimBy, status.Shedding = &metav1.Time{Time: action.ReclaimBy}, nil
	status.ReclaimID, status.ReclaimedFor = action.ReclaimID, types.UID(action.ReclaimedFor)
	status.LostWorkSeconds = int64(action.LostWork)
	if err := r.writeLoan(ctx, l.object); err != nil {
		return fmt.Errorf("set the Loan reclaiming: %w", err)
	}
	// gofail: var reclaimWritten struct{}
	r.log.Info("Reclaiming", "loan", l.name, "by", action.ReclaimBy, "reason", action.Reason,
		"reclaimID", action.ReclaimID, "reclaimedFor", action.ReclaimedFor, "lostWorkSeconds", int64(action.LostWork))
	r.Events.Loan(l.object, lend.ReasonReclaiming, "Reclaim", "was asked back until %s: %s (%s)", stamp(action.ReclaimBy), why, action.Reason)
	r.Events.Job(l.object, lend.ReasonReclaiming, "Reclaim",
		"the units of Loan %s were asked back until %s: %s", l.object.Name, stamp(action.ReclaimBy), rule(action.Reason))
	if n := r.cycling[string(l.job.UID)]; n > 0 {
		r.log.Info("A job is taken back again and again", "job", l.job.Key.String(), "times", n)
		r.Events.Job(l.object, lend.ReasonCycling, "Reclaim",
			"was taken back %d times lately: from now on it is stopped last; a job that asks for fewer units at once, or runs within its tenant's own quota, is stopped less often", n)
	}
	return r.stop(ctx, l, action.ReclaimBy)
}

// stop makes the pods of a reclaimed loan end by the deadline: the notice, then
// SIGTERM by suspending the job, then a shorter grace where the pods' own is too
// long. If the job cannot be suspended, its pods get SIGTERM one by one. All of it is
// idempotent, and repeated until the pods are gone.
func (r *round) stop(ctx context.Context, l *loanRef, by time.Time) error {
	told := r.notice(ctx, slices.Concat(r.view.Pods[l.name], r.view.Beside[l.name]), by)
	// gofail: var reclaimTold struct{}
	stopped := r.Jobs.Suspend(ctx, l.job)
	// gofail: var reclaimSuspended struct{}
	left := by.Sub(r.Clock.Now())
	var pods []*corev1.Pod
	for _, pod := range r.view.Pods[l.name] {
		inTime := pod.DeletionTimestamp != nil && !pod.DeletionTimestamp.After(by.Add(deadlineSlack))
		if !inTime && (stopped != nil || graceOf(pod) > left+deadlineSlack) {
			pods = append(pods, pod)
		}
	}
	if err := errors.Join(stopped, r.killAll(ctx, l, pods, within(left))); err != nil {
		return err
	}
	r.noteStopped(l, told)
	return nil
}

// graceOf is how long a pod may take to stop.
func graceOf(pod *corev1.Pod) time.Duration {
	return time.Duration(ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)) * time.Second
}

// within is a pod's own grace in seconds, or what is left if that is less.
func within(left time.Duration) func(*corev1.Pod) int64 {
	return func(pod *corev1.Pod) int64 { return max(1, int64(min(graceOf(pod), left)/time.Second)) }
}

// untrack lets a Job's controller forget a pod, as it does itself with those that it
// deletes. Of one that it tracks to the end it remembers a failure, whatever the
// failure policy ignores, and waits minutes before it makes new pods; and where the Job
// is a part of something larger, that counts a restart. One that has ended by itself it
// is to remember. The deadline is kept even if it cannot be told.
func (r *round) untrack(ctx context.Context, pod *corev1.Pod) {
	if !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
		return
	}
	var now corev1.Pod
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(pod), &now)
	if err == nil && (now.UID != pod.UID || now.Status.Phase == corev1.PodSucceeded || now.Status.Phase == corev1.PodFailed) {
		return
	}
	if err == nil {
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`,
			now.UID, now.ResourceVersion, batchv1.JobTrackingFinalizer)
		target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		err = r.Client.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, []byte(patch)))
	}
	if client.IgnoreNotFound(err) != nil {
		r.log.Info("The pod's end may count as its failure", "pod", pod.Namespace+"/"+pod.Name, "reason", err.Error())
	}
}

// excuse marks a pod so that the failure policy of its job ignores its end, which
// the backoffLimit would count otherwise. The deadline is kept even if it cannot.
func (r *round) excuse(ctx context.Context, pod *corev1.Pod) {
	if err := jobs.Excuse(ctx, r.Client.Status(), pod, r.Clock.Now()); err != nil {
		r.log.Info("The pod's end may count as its failure", "pod", pod.Namespace+"/"+pod.Name, "reason", err.Error())
	}
}

// evict kills what is left when the grace has passed, of a loan that was asked back
// or that ends by itself, whether or not its job still exists. On a node that is
// gone or silent no kubelet would confirm the end of a pod.
func (r *round) evict(ctx context.Context, l *loanRef, action *lend.Action) error {
	var closed error
	switch {
	case l.snapshot.Preempted:
		closed = r.requeue(ctx, l)
	case l.snapshot.Finished && !l.snapshot.Reclaiming:
		closed = r.shut(ctx, l)
	}
	if errors.Is(closed, ErrStop) {
		return closed
	}
	if err := r.mayKill(ctx, l); err != nil {
		return errors.Join(closed, err)
	}
	pods := r.view.Pods[l.name]
	if err := errors.Join(closed, r.Jobs.Suspend(ctx, l.job), r.killNow(ctx, l, pods)); err != nil {
		return err
	}
	r.noteKilled(l, action, len(pods))
	r.log.Info("Evicted", "loan", l.name, "pods", len(r.view.Pods[l.name]), "reason", action.Reason)
	r.Events.Job(l.object, lend.ReasonGraceExpired, "Evict", "the grace of Loan %s passed: its pods were killed", l.object.Name)
	return nil
}

// shut closes the Loan of a job that has ended, so that the scheduler starts no pod on it
// any more: what the job has made may go on making pods.
func (r *round) shut(ctx context.Context, l *loanRef) error {
	if !r.deactivate(l.object, lend.ReasonReleased, "the job has ended; its pods that are left are stopped") {
		return nil
	}
	if err := r.writeLoan(ctx, l.object); err != nil {
		return fmt.Errorf("close the Loan to new pods: %w", err)
	}
	return nil
}

// deactivate says on the Loan that the job may use it no more, unless it says so already.
func (r *round) deactivate(object *v1alpha1.Loan, reason, message string) (changed bool) {
	conditions := &object.Status.Conditions
	return !meta.IsStatusConditionFalse(*conditions, v1alpha1.LoanActive) && meta.SetStatusCondition(conditions, metav1.Condition{
		Type: v1alpha1.LoanActive, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: metav1.Time{Time: r.Clock.Now()},
	})
}

// killNow kills pods of a loan whose time is over.
func (r *round) killNow(ctx context.Context, l *loanRef, pods []*corev1.Pod) error {
	return r.killAll(ctx, l, pods, r.lastGrace)
}

// lastGrace is how many seconds a pod gets whose time is over.
func (r *round) lastGrace(pod *corev1.Pod) int64 {
	if pod.Spec.NodeName != "" && !r.view.Answers(pod.Spec.NodeName) {
		return 0
	}
	return 1
}

// requeue suspends a job that the scheduler has preempted, so that it waits in
// its queue again instead of starting pods that have no place. The Loan remembers
// why, beyond the marked pods.
func (r *round) requeue(ctx context.Context, l *loanRef) error {
	why := metav1.Condition{
		Type: gather.ConditionPreempted, Status: metav1.ConditionTrue,
		Reason: lend.ReasonPreempted, Message: "the scheduler took the units back for a pod within its tenant's quota",
	}
	for _, g := range l.object.Spec.Grants {
		if !r.view.Exists(g.Node) {
			why.Reason, why.Message = lend.ReasonNodeUnhealthy, "node "+g.Node+" is gone"
		}
	}
	changed := !meta.IsStatusConditionTrue(l.object.Status.Conditions, gather.ConditionPreempted) &&
		meta.SetStatusCondition(&l.object.Status.Conditions, why)
	if changed {
		if err := r.noteTaken(l); err != nil {
			return err
		}
	}
	if r.deactivate(l.object, why.Reason, why.Message) || changed {
		if err := r.writeLoan(ctx, l.object); err != nil {
			return fmt.Errorf("set the Loan preempted: %w", err)
		}
	}
	// gofail: var requeueWritten struct{}
	if err := r.Jobs.Suspend(ctx, l.job); err != nil {
		return err
	}
	// gofail: var requeueSuspended struct{}
	if changed {
		r.log.Info("Preempted", "loan", l.name, "reason", why.Reason)
		r.Events.Job(l.object, why.Reason, "Preempt", "Loan %s ended: %s; the job was put back into its queue", l.object.Name, why.Message)
	}
	return nil
}

// confirm writes LEND_GRANTED, or RECOVERED, for a loan whose job runs and whose
// ledger does not say so: an earlier round ended between the two.
func (r *round) confirm(ctx context.Context, l *loanRef) error {
	if l.snapshot.Finished {
		return nil
	}
	if known, open := r.Ledger.Loan(l.name); !open || known.State == ledger.Intended {
		if _, err := r.ensureGranted(l.name, l.object); err != nil {
			return err
		}
		return r.update(ctx, l)
	}
	if err := r.settle(l.name, l.object); err != nil {
		return err
	}
	if job := r.view.Job(l.job.UID); len(l.object.Status.Shed) > 0 && job != nil && job.Pods > int64(l.object.KeptPods()) {
		return errors.Join(r.resize(ctx, l), r.update(ctx, l))
	}
	return r.update(ctx, l)
}

// update lets a Loan carry what moved it last, if that was recorded after it was written:
// that it was granted, above all. A conflict means that the view is not the newest.
func (r *round) update(ctx context.Context, l *loanRef) error {
	known, open := r.Ledger.Loan(l.name)
	if !open {
		return nil
	}
	if carried, err := r.carried(l.name, l.object, known.LastSeq); carried || err != nil {
		return err
	}
	if err := r.writeLoan(ctx, l.object); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("let the Loan carry its entries: %w", err)
	}
	return nil
}
