package actuate

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// giveBack closes a loan whose units are free.
func (r *round) giveBack(ctx context.Context, l *loanRef, action *lend.Action) error {
	if l.snapshot.Preempted {
		if err := r.requeue(ctx, l); err != nil {
			return err
		}
	}
	free, err := r.proveFree(ctx, l)
	if err != nil {
		return err
	}
	if !free {
		r.log.V(1).Info("The units are not free yet", "loan", l.name)
		return nil
	}
	return r.giveBackFree(ctx, l, action)
}

// giveBackFree closes a loan of whose units it is known that they are free.
func (r *round) giveBackFree(ctx context.Context, l *loanRef, action *lend.Action) error {
	if meta.SetStatusCondition(&l.object.Status.Conditions, metav1.Condition{
		Type: v1alpha1.LoanReturned, Status: metav1.ConditionTrue, Reason: action.Reason, Message: action.Message,
	}) {
		meta.SetStatusCondition(&l.object.Status.Conditions, metav1.Condition{
			Type: v1alpha1.LoanActive, Status: metav1.ConditionFalse, Reason: action.Reason, Message: action.Message,
		})
		if closingKind(l.object, action.Reason) == ledger.Lost {
			l.object.Status.LastHeard = r.lastHeard(ctx, l.object.Held())
		}
		if err := r.writeLoan(ctx, l.object); err != nil {
			return fmt.Errorf("set the Loan returned: %w", err)
		}
	}
	// gofail: var returnWritten struct{}
	if err := r.close(ctx, l.name, l.object); err != nil {
		return err
	}
	// gofail: var returnClosed struct{}
	r.note(r.returned, l.name)
	r.log.Info("Returned", "loan", l.name, "reason", action.Reason)
	r.Events.Loan(l.object, action.Reason, "Return", "was returned: %s", action.Message)
	return r.report(l)
}

// report tells how the units came back that were asked for last, all the loan's or a part.
func (r *round) report(l *loanRef) error {
	if r.Reclaimed == nil {
		return nil
	}
	entries, err := r.Ledger.ByLoan(l.name)
	if err != nil {
		return fmt.Errorf("read the loan's entries: %w", err)
	}
	if last, ok := course.Last(entries); ok && last.ReclaimID != "" && last.Freed() {
		r.Reclaimed(l.object, last)
	}
	return nil
}

// closeReturned finishes what a round that ended early has left of a return.
func (r *round) closeReturned(ctx context.Context, name string, object *v1alpha1.Loan) error {
	if err := r.close(ctx, name, object); err != nil {
		return err
	}
	r.note(r.returned, name)
	return nil
}

// proveFree reads live that the job can start no pod and that none is left. A
// job that could is suspended, and the proof is left to the next decision.
func (r *round) proveFree(ctx context.Context, l *loanRef) (bool, error) {
	job, err := r.Jobs.Find(ctx, r.Live, l.job)
	if client.IgnoreNotFound(err) != nil {
		return false, err
	}
	if err == nil && job.UID == l.job.UID && !job.Suspended && !job.Finished {
		return false, r.Jobs.Suspend(ctx, l.job)
	}
	pods, err := r.podsOf(ctx, l)
	return len(pods) == 0, err
}

// close writes the last entry of a returned Loan.
func (a *Actuator) close(ctx context.Context, name string, object *v1alpha1.Loan) error {
	returned := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanReturned)
	known, open := a.Ledger.Loan(name)
	if open && known.State == ledger.Intended {
		admitted, err := a.wasAdmitted(ctx, object)
		if err != nil {
			return err
		}
		if !admitted {
			_, err := a.record(ledger.LendAborted, name, ledger.Entry{Reason: reasonAborted, Message: "the job was not admitted"})
			return errors.Join(err, a.Jobs.SkipAttempt(ctx, jobs.RefOf(object), object.Spec.Attempt))
		}
	}
	known, err := a.ensureQuarantined(name, object)
	if err != nil || known.State == ledger.Closed {
		return err
	}
	if err := a.settle(name, object); err != nil {
		return err
	}
	if err := a.recordEnd(name, object, known.State, returned); err != nil || open {
		return err
	}
	// It was in a ledger that is lost. If its job got no further than to a Loan, the attempt
	// is to be counted, because its name is used up.
	admitted, err := a.wasAdmitted(ctx, object)
	if err != nil || admitted {
		return err
	}
	return a.Jobs.SkipAttempt(ctx, jobs.RefOf(object), object.Spec.Attempt)
}

// recordEnd writes the last entry of a loan that is in that state.
func (a *Actuator) recordEnd(name string, object *v1alpha1.Loan, state ledger.LoanState, returned *metav1.Condition) error {
	kind := closingKind(object, returned.Reason)
	if state == ledger.InQuarantine && kind != ledger.Lost {
		kind = ledger.Unquarantined
	}
	if kind == ledger.ReclaimDone && state == ledger.Granted {
		_, err := a.record(ledger.ReclaimIntent, name, ledger.Entry{
			Reason: lend.ReasonReclaiming, Message: "observed on the Loan", ReclaimID: object.Status.ReclaimID,
		})
		if err != nil {
			return err
		}
	}
	last := ledger.Entry{At: a.lately(returned.LastTransitionTime.Time), Reason: returned.Reason, Message: returned.Message}
	if kind == ledger.Lost {
		last.Payload = lostPayload(object)
	}
	_, err := a.record(kind, name, last)
	return err
}

// wasAdmitted tells whether the job got as far as this loan's attempt.
func (a *Actuator) wasAdmitted(ctx context.Context, object *v1alpha1.Loan) (bool, error) {
	job, err := a.Jobs.Find(ctx, a.Live, jobs.RefOf(object))
	if client.IgnoreNotFound(err) != nil {
		return false, err
	}
	return err == nil && job.UID == object.Spec.Job.UID && job.Attempt >= object.Spec.Attempt, nil
}

func closingKind(object *v1alpha1.Loan, reason string) ledger.Kind {
	reclaiming := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanReclaiming)
	preempted := meta.FindStatusCondition(object.Status.Conditions, gather.ConditionPreempted)
	lost := func(c *metav1.Condition) bool { return c != nil && c.Reason == lend.ReasonNodeUnhealthy }
	switch {
	case reason == lend.ReasonReleased:
		return ledger.Released
	case reason == lend.ReasonNodeUnhealthy, lost(reclaiming), lost(preempted):
		return ledger.Lost
	case preempted != nil:
		return ledger.Preempted
	case reclaiming != nil:
		return ledger.ReclaimDone
	default:
		return ledger.Released
	}
}

// deletions are the steps that let go of Loans that are over and that no lender
// counts any more.
func (r *round) deletions(lowered map[string]bool) []step {
	var steps []step
	for name := range r.returned {
		object := r.view.Loans[name]
		counted := false
		for _, g := range object.Spec.Grants {
			_, exists := r.view.Policies[g.Lender]
			counted = counted || (exists && !lowered[g.Lender])
		}
		kept, err := r.kept(name)
		if err != nil {
			r.fail(fmt.Errorf("delete %s: %w", name, err))
		}
		if !counted && kept {
			steps = append(steps, step{"delete", name, func(ctx context.Context) error { return r.delete(ctx, object) }})
		}
	}
	return steps
}

// delete removes a Loan: first the finalizer, then the object.
func (a *Actuator) delete(ctx context.Context, object *v1alpha1.Loan) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, object.UID)
	target := &v1alpha1.Loan{ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name}}
	err := a.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch)))
	if err == nil {
		// gofail: var loanUnheld struct{}
		err = a.Client.Delete(ctx, target, &client.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &object.UID}})
	}
	if ignorable(err) != nil {
		return fmt.Errorf("delete the Loan: %w", err)
	}
	// gofail: var loanDeleted struct{}
	return nil
}

// ignorable drops the errors that say that the object meant is gone: not found,
// or a conflict on its UID.
func ignorable(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
