package actuate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// shedding is the step of an action that is about a part of a loan.
func (r *round) shedding(l *loanRef, action *lend.Action) step {
	do := r.shed
	switch action.Kind {
	case lend.ActionEvict:
		do = r.evictShed
	case lend.ActionReturn:
		do = r.giveBackShed
	}
	return step{"shrink", l.name, func(ctx context.Context) error { return do(ctx, l, action) }}
}

// shed asks an elastic job for a part of its loan.
func (r *round) shed(ctx context.Context, l *loanRef, action *lend.Action) error {
	known, err := r.ensureGranted(l.name, l.object)
	if err != nil {
		return err
	}
	if known.State == ledger.Reclaiming { // all of it was asked back, and nobody heard
		return r.reclaim(ctx, l, action)
	}
	if err := r.settle(l.name, l.object); err != nil {
		return err
	}
	_, err = r.record(ledger.ShedIntent, l.name, ledger.Entry{
		OpID: l.name + "#" + action.ReclaimID, Reason: action.Reason, Message: action.Message, ReclaimID: action.ReclaimID,
		Signals: causes(r.view, action.Shed), Payload: payload(action),
	})
	if err != nil {
		return err
	}
	status := &l.object.Status
	status.Shedding = nil
	for _, g := range action.Shed {
		status.Shedding = append(status.Shedding, v1alpha1.Grant(g))
	}
	status.ReclaimBy, status.ReclaimID = &metav1.Time{Time: action.ReclaimBy}, action.ReclaimID
	status.LostWorkSeconds += int64(action.LostWork)
	if err := r.writeLoan(ctx, l.object); err != nil {
		return fmt.Errorf("set the Loan shedding: %w", err)
	}
	r.log.Info("Shrinking", "loan", l.name, "by", action.ReclaimBy, "reason", action.Reason, "shed", action.Shed, "reclaimID", action.ReclaimID)
	r.Events.Loan(l.object, lend.ReasonShedding, "Shrink", "%d units were asked back until %s: %s (%s)",
		v1alpha1.Units(status.Shedding), stamp(action.ReclaimBy), r.toBorrower(l.object.Spec.Borrower, action.Reason, action.Message), action.Reason)
	r.Events.Job(l.object, lend.ReasonShedding, "Shrink", "%d of the units of Loan %s were asked back until %s: %s; the job went on with the rest",
		v1alpha1.Units(status.Shedding), l.object.Name, stamp(action.ReclaimBy), rule(action.Reason))
	return r.shrink(ctx, l, action.ReclaimBy)
}

// shrink makes as many pods end as the loan sheds, by the deadline: the notice, the
// mark, SIGTERM with what is left of their grace, and the job's new size. The pods go
// first: a controller that is told a smaller size chooses for itself whom it stops,
// unless as many are on their way out. One that stops those that are named is told first:
// it would count pods that have ended before it looked as running, and stop others for
// them. All of it is repeated until the pods are gone.
func (r *round) shrink(ctx context.Context, l *loanRef, by time.Time) error {
	leaving := gather.Leaving(r.view.Pods[l.name], l.object)
	told := r.notice(ctx, leaving, by)
	left := by.Sub(r.Clock.Now())
	going := slices.DeleteFunc(slices.Clone(leaving), func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp != nil && !pod.DeletionTimestamp.After(by.Add(deadlineSlack))
	})
	named := r.Jobs.StopsNamed(l.job)
	var resized error
	if named {
		resized = r.resize(ctx, l, leaving...)
	}
	killed := r.killAll(ctx, l, going, within(left))
	if !named {
		resized = r.resize(ctx, l)
	}
	if err := errors.Join(killed, resized, r.reassure(ctx, r.view.Pods[l.name], leaving)); err != nil {
		return err
	}
	r.noteStopped(l, told)
	return nil
}

// resize sets the job to what its loan keeps, without the pods that leave.
func (r *round) resize(ctx context.Context, l *loanRef, leaving ...*corev1.Pod) error {
	var names []string
	for _, pod := range leaving {
		names = append(names, pod.Name)
	}
	return r.Jobs.Resize(ctx, l.job, int64(l.object.KeptPods()), names...)
}

// evictShed kills the pods that are left of those when their grace has passed.
func (r *round) evictShed(ctx context.Context, l *loanRef, action *lend.Action) error {
	pods := gather.Leaving(r.view.Pods[l.name], l.object)
	if err := errors.Join(r.killNow(ctx, l, pods), r.resize(ctx, l)); err != nil {
		return err
	}
	r.noteKilled(l, action, len(pods))
	r.log.Info("Evicted", "loan", l.name, "pods", len(pods), "reason", action.Reason)
	r.Events.Job(l.object, lend.ReasonGraceExpired, "Evict", "the grace of what Loan %s gives back passed: %d of its pods were killed", l.object.Name, len(pods))
	return nil
}

// giveBackShed notes that the pods are gone for whose units the loan was asked.
func (r *round) giveBackShed(ctx context.Context, l *loanRef, action *lend.Action) error {
	live, err := r.podsOf(ctx, l)
	if err != nil {
		return err
	}
	pods := make([]*corev1.Pod, len(live))
	for i := range live {
		pods[i] = &live[i]
	}
	if len(gather.Leaving(pods, l.object)) > 0 {
		r.log.V(1).Info("The units are not free yet", "loan", l.name)
		return nil
	}
	// Or it would wait for the pods that it is to do without, and others that were told
	// would think that they have to go. If it cannot be told, the part is free all the same;
	// confirm tries again, and a job that goes on waiting is asked back whole as one that
	// did not start.
	untold := errors.Join(r.resize(ctx, l), r.reassure(ctx, pods, nil))
	status := &l.object.Status
	shed := status.Shedding
	status.Shed, status.Shedding = append(status.Shed, shed...), nil
	status.ReclaimBy, status.ReclaimID = nil, ""
	meta.RemoveStatusCondition(&status.Conditions, gather.ConditionPartLost)
	status.LastHeard = nil
	if action.Reason == lend.ReasonNodeUnhealthy {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: gather.ConditionPartLost, Status: metav1.ConditionTrue, Reason: action.Reason, Message: action.Message,
		})
		status.LastHeard = r.lastHeard(ctx, shed)
	}
	if err := r.writeLoan(ctx, l.object); err != nil {
		return errors.Join(untold, fmt.Errorf("set the Loan smaller: %w", err))
	}
	r.log.Info("Returned", "loan", l.name, "units", v1alpha1.Units(shed), "reason", action.Reason)
	r.Events.Loan(l.object, lend.ReasonShed, "Return", "gave %d units back and went on with %d", v1alpha1.Units(shed), v1alpha1.Units(l.object.Held()))
	if err := r.settle(l.name, l.object); err != nil {
		return errors.Join(untold, err)
	}
	return errors.Join(untold, r.report(l))
}

// settle writes SHED, or SHED_LOST, if the Loan holds less than the ledger says: an earlier
// round may have ended between the two.
func (a *Actuator) settle(name string, object *v1alpha1.Loan) error {
	known, open := a.Ledger.Loan(name)
	held := object.Held()
	var units int64
	for _, g := range known.Grants {
		units += g.Count
	}
	if !open || known.State != ledger.Granted || units <= v1alpha1.Units(held) {
		return nil
	}
	e := ledger.Entry{
		OpID: fmt.Sprintf("%s#%d", name, v1alpha1.Units(held)), Reason: lend.ReasonShed,
		Message: fmt.Sprintf("gave %d units back", units-v1alpha1.Units(held)),
	}
	e.Grants = grantsOf(object)
	kind := ledger.Shed
	if lost := meta.FindStatusCondition(object.Status.Conditions, gather.ConditionPartLost); lost != nil {
		kind, e.Reason, e.Message, e.Payload = ledger.ShedLost, lost.Reason, lost.Message, lostPayload(object)
	}
	_, err := a.record(kind, name, e)
	return err
}
