package actuate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// QuarantineAfter is how long after their time was over the pods of a loan may be there
// before it is quarantined, where nothing else is said.
const QuarantineAfter = 5 * time.Minute

// thenQuarantine does what a loan's step does, and quarantines the loan if its pods are
// there for too long, whatever became of the step.
func (r *round) thenQuarantine(l *loanRef, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := do(ctx)
		if errors.Is(err, ErrStop) {
			return err
		}
		return errors.Join(err, r.quarantine(ctx, l))
	}
}

// quarantine notes of a loan whose pods do not go that its units are in nobody's hands: not
// the borrower's, who is asked for them no longer, and not the lender's, who cannot have
// them. The loan stays until they are proven free. What is missing of it after a crash is
// done by the next round.
func (r *round) quarantine(ctx context.Context, l *loanRef) error {
	conditions := &l.object.Status.Conditions
	if meta.IsStatusConditionTrue(*conditions, v1alpha1.LoanQuarantined) {
		_, err := r.ensureQuarantined(l.name, l.object)
		return err
	}
	over, ends := timeOver(l)
	if !ends || r.Clock.Now().Before(over.Add(cmp.Or(r.QuarantineAfter, QuarantineAfter))) {
		return nil
	}
	if pods, err := r.podsOf(ctx, l); err != nil || len(pods) == 0 && len(r.view.Pods[l.name]) > 0 {
		return err // they went just now
	}
	message := fmt.Sprintf("pods were left %s after their time was over, at %s", r.Clock.Now().Sub(over).Round(time.Second), stamp(over))
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: v1alpha1.LoanQuarantined, Status: metav1.ConditionTrue, Reason: lend.ReasonQuarantined, Message: message,
		LastTransitionTime: metav1.Time{Time: r.Clock.Now()},
	})
	known, err := r.ensureQuarantined(l.name, l.object)
	if err != nil || known.State == ledger.Closed {
		return err
	}
	if err := r.writeLoan(ctx, l.object); err != nil {
		return fmt.Errorf("set the Loan quarantined: %w", err)
	}
	r.log.Info("Quarantined", "loan", l.name, "pods", l.snapshot.Live, "since", over)
	r.Events.Loan(l.object, lend.ReasonQuarantined, "Quarantine", "%s: the units were quarantined, and are in nobody's hands until the pods are gone, their node is, or an administrator says so", message)
	r.Events.Job(l.object, lend.ReasonQuarantined, "Quarantine", "%s: the units of Loan %s were quarantined, and the job waits until they are free", message, l.object.Name)
	return nil
}

// timeOver is when the time of a loan's pods was over that are still there; ends is false
// if there are none, or it is not known.
func timeOver(l *loanRef) (over time.Time, ends bool) {
	s := l.snapshot
	switch {
	case s == nil || s.Live == 0:
		return time.Time{}, false
	case s.Reclaiming:
		return s.ReclaimBy, !s.ReclaimBy.IsZero()
	case !s.Preempted && !s.Finished:
		return time.Time{}, false
	}
	closed := meta.FindStatusCondition(l.object.Status.Conditions, v1alpha1.LoanActive)
	if closed == nil || closed.Status != metav1.ConditionFalse || closed.LastTransitionTime.IsZero() {
		return time.Time{}, false
	}
	grace := l.object.Spec.MaxGrace.Duration
	if grace == 0 { // its tenant's own quota: nobody is in a hurry
		grace = s.Grace
	}
	return closed.LastTransitionTime.Add(grace), true
}

// ensureQuarantined brings the ledger to where a quarantined Loan is, and returns what it
// has of the loan then; Closed if that was over before.
func (a *Actuator) ensureQuarantined(name string, object *v1alpha1.Loan) (ledger.OpenLoan, error) {
	known, err := a.ensureGranted(name, object)
	if err != nil || known.State == ledger.Closed || known.State == ledger.InQuarantine {
		return known, err
	}
	said := meta.FindStatusCondition(object.Status.Conditions, v1alpha1.LoanQuarantined)
	if said == nil || said.Status != metav1.ConditionTrue {
		return known, nil
	}
	if err := a.settle(name, object); err != nil {
		return known, err
	}
	_, err = a.record(ledger.Quarantined, name, ledger.Entry{
		At: a.lately(said.LastTransitionTime.Time), Reason: said.Reason, Message: said.Message,
	})
	if err != nil {
		return known, err
	}
	known, _ = a.Ledger.Loan(name)
	return known, nil
}

// unquarantined is what an administrator says of a quarantined Loan; empty if nothing.
func unquarantined(object *v1alpha1.Loan) string {
	if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.LoanQuarantined) {
		return ""
	}
	return strings.TrimSpace(object.Annotations[v1alpha1.AnnotationUnquarantine])
}

// release ends a quarantined loan on an administrator's word, whatever pods there are.
func (r *round) release(ctx context.Context, l *loanRef, word string) error {
	// What the scheduler and the broker know of pods that are there, they know without the
	// Loan: nobody gets units on which a pod stands.
	action := &lend.Action{Loan: l.name, Reason: lend.ReasonUnquarantined, Message: "an administrator says that the units are free: " + clip(word)}
	return r.giveBackFree(ctx, l, action)
}

// clip keeps what somebody wrote within what a condition may say.
func clip(text string) string {
	const most = 512
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
