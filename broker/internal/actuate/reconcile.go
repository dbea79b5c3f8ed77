package actuate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Start begins a leader's epoch in the ledger and brings ledger and API together.
// The API says what is; the ledger says what was intended. It may be repeated,
// and whatever it leaves undone the first decisions do.
//
//	ledger      Loan       outcome
//	Intended    none       LEND_ABORTED: the Loan was never made; a job that runs is suspended
//	Granted     none       the job is suspended; once it has no pods LOST, RELEASED if it has ended
//	open        none, but the job has a newer one that the ledger does not know: closed as of then
//	unknown     open       RECOVERED
//	Intended    open       LEND_GRANTED if the job runs, else the next decision aborts it
//	any         Returned   closed as the Loan says, by the next decision
func (a *Actuator) Start(ctx context.Context) error {
	_, err := a.Ledger.Append(ledger.Entry{
		Kind: ledger.EpochStart, OpID: fmt.Sprintf("epoch-%d", a.Epoch), Epoch: a.Epoch,
	})
	if err != nil {
		return fmt.Errorf("%w: begin epoch %d: %w", ErrStop, a.Epoch, err)
	}
	// gofail: var epochBegun struct{}
	if a.Gap != nil {
		gap := *a.Gap
		gap.Epoch = a.Epoch
		if _, err := a.Ledger.Append(gap); err != nil {
			return fmt.Errorf("%w: say which entries are missing: %w", ErrStop, err)
		}
	}
	// gofail: var gapWritten struct{}
	var list v1alpha1.LoanList
	if err := a.Live.List(ctx, &list); err != nil {
		return fmt.Errorf("list loans: %w", err)
	}
	objects := map[string]*v1alpha1.Loan{}
	for i := range list.Items {
		objects[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	for _, open := range a.Ledger.OpenLoans() {
		if objects[open.Loan] != nil {
			continue
		}
		if err := a.closeMissing(ctx, &open, objects); err != nil {
			return fmt.Errorf("close loan %s, which has no Loan object: %w", open.Loan, err)
		}
		// gofail: var missingClosed struct{}
	}
	for i := range list.Items {
		if err := a.adopt(ctx, &list.Items[i]); err != nil {
			return fmt.Errorf("take over loan %s/%s: %w", list.Items[i].Namespace, list.Items[i].Name, err)
		}
		// gofail: var loanAdopted struct{}
	}
	return nil
}

// missing are the steps that close loans of which only the ledger knows: an
// intent whose abort did not get through, or a Loan that was deleted by force.
// The snapshot's Loans were read live, after the last round had ended.
func (r *round) missing() []step {
	var steps []step
	for _, open := range r.Ledger.OpenLoans() {
		if r.view.Loans[open.Loan] == nil {
			steps = append(steps, step{"close", open.Loan, func(ctx context.Context) error { return r.closeMissing(ctx, &open, r.view.Loans) }})
		}
	}
	return steps
}

// closeMissing closes a loan of which only the ledger knows. Loans are all that there are.
func (a *Actuator) closeMissing(ctx context.Context, open *ledger.OpenLoan, loans map[string]*v1alpha1.Loan) error {
	newer, err := a.newer(open, loans)
	switch {
	case err != nil:
		return err
	case newer != nil:
		return a.closeEarlier(ctx, open, newer)
	}
	return a.closeAlone(ctx, open)
}

// closeAlone closes a loan without a Loan, whose job has no other.
func (a *Actuator) closeAlone(ctx context.Context, open *ledger.OpenLoan) error {
	log := logr.FromContextOrDiscard(ctx)
	ref, err := a.openJob(open)
	if err != nil {
		return err
	}
	job, err := a.Jobs.Find(ctx, a.Live, ref)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	exists := !apierrors.IsNotFound(err) && job.UID == ref.UID
	if open.State == ledger.Intended {
		if exists {
			if _, err := a.suspendStray(ctx, ref); err != nil {
				return err
			}
		}
		log.Info("Closed an intent without a Loan", "loan", open.Loan)
		_, err := a.record(ledger.LendAborted, open.Loan, ledger.Entry{Reason: reasonAborted, Message: "the broker ended before the Loan was made"})
		return errors.Join(err, a.Jobs.SkipAttempt(ctx, ref, attemptAfter(&job, exists)))
	}
	// Without its Loan the job may not hold units. Its pods are asked to stop, and
	// the scheduler lets no new one in. Until they are gone the loan is not over.
	if err := a.Jobs.Suspend(ctx, ref); err != nil {
		return err
	}
	nodes := map[string]bool{}
	for _, g := range open.Grants {
		nodes[g.Node] = true
	}
	pods, err := a.livePods(ctx, ref, nodes, asksForDevices)
	if err != nil || len(pods) > 0 {
		log.V(1).Info("A loan without a Loan object is not closed yet", "loan", open.Loan, "pods", len(pods))
		return err
	}
	kind, message := ledger.Released, "the job has ended, and the Loan is gone"
	if open.State == ledger.InQuarantine {
		kind, message = ledger.Unquarantined, "the pods and the Loan are gone"
	} else if exists && !job.Finished {
		kind, message = ledger.Lost, "the Loan object is gone; the job was suspended"
	}
	log.Info("Closed a loan without a Loan object", "loan", open.Loan, "kind", kind.String())
	_, err = a.record(kind, open.Loan, ledger.Entry{Reason: "LoanMissing", Message: message})
	return err
}

// newer is a Loan of the open loan's job that the ledger does not know, nil if there is none.
// The ledger is an old copy then: a job has one loan at a time, so the open one was over when
// that was made.
func (a *Actuator) newer(open *ledger.OpenLoan, loans map[string]*v1alpha1.Loan) (*v1alpha1.Loan, error) {
	for name, object := range loans {
		if string(object.Spec.Job.UID) != open.JobUID || gather.Returned(object) {
			continue
		}
		if entries, err := a.Ledger.ByLoan(name); err != nil {
			return nil, fmt.Errorf("look up loan %s: %w", name, err)
		} else if len(entries) == 0 {
			return object, nil
		}
	}
	return nil, nil
}

// closeEarlier closes a loan whose job has a newer Loan, and runs on that.
func (a *Actuator) closeEarlier(ctx context.Context, open *ledger.OpenLoan, newer *v1alpha1.Loan) error {
	kind := ledger.Released
	switch open.State {
	case ledger.Intended:
		kind = ledger.LendAborted
	case ledger.InQuarantine:
		kind = ledger.Unquarantined
	}
	logr.FromContextOrDiscard(ctx).Info("Closed a loan whose job has a newer one", "loan", open.Loan, "newer", newer.Name, "kind", kind.String())
	_, err := a.record(kind, open.Loan, ledger.Entry{
		At: a.lately(newer.CreationTimestamp.Time), Reason: "LoanMissing",
		Message: "the ledger does not have how the loan ended; it was over when Loan " + newer.Name + " of the same job was made",
	})
	return err
}

// asksForDevices tells whether a pod asks for anything that only some nodes have: what the
// units of a loan are that is gone, nobody says any more.
func asksForDevices(pod *corev1.Pod) bool {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			for resource := range list {
				if domain, _, others := strings.Cut(string(resource), "/"); others && domain != "kubernetes.io" {
					return true
				}
			}
		}
	}
	return len(v1alpha1.ClaimedResources(&pod.Spec)) > 0
}

// openJob names the job of a loan of which only the ledger knows. Entries of older
// versions do not say its kind: there was one.
func (a *Actuator) openJob(open *ledger.OpenLoan) (jobs.Ref, error) {
	namespace, name, _ := strings.Cut(open.Job, "/")
	ref := jobs.Ref{Key: types.NamespacedName{Namespace: namespace, Name: name}, UID: types.UID(open.JobUID)}
	entries, err := a.Ledger.ByLoan(open.Loan)
	if err != nil {
		return ref, fmt.Errorf("look up the loan: %w", err)
	}
	for i := range entries {
		if entries[i].Seq != open.FirstSeq {
			continue
		}
		var said openingPayload
		if json.Unmarshal(entries[i].Payload, &said) == nil && said.Job != nil {
			ref.GroupKind = schema.GroupKind{Group: said.Job.Group, Kind: said.Job.Kind}
			ref.PodGroup = said.Job.PodGroup
		}
	}
	return ref, nil
}

// attemptAfter is the attempt to count for an intent whose number only its name
// tells: the one after those that the job knows of.
func attemptAfter(job *jobs.Job, exists bool) int32 {
	if !exists {
		return 0
	}
	return job.Attempt + 1
}

// adopt brings the ledger to where a Loan is.
func (a *Actuator) adopt(ctx context.Context, object *v1alpha1.Loan) error {
	if gather.Returned(object) {
		return nil
	}
	name := object.Namespace + "/" + object.Name
	if known, open := a.Ledger.Loan(name); !open || known.State == ledger.Intended {
		admitted, err := a.wasAdmitted(ctx, object)
		if err != nil || !admitted {
			return err
		}
	}
	if _, err := a.ensureQuarantined(name, object); err != nil {
		return err
	}
	return a.settle(name, object)
}
