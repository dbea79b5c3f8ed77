package actuate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// intent is a lend whose LEND_INTENT is on disk.
type intent struct {
	action *lend.Action
	object *v1alpha1.Loan
	job    jobs.Ref
}

// mostLends bounds the lends of one round. Each is several writes, and a service
// that needs its units back in the meantime waits until the round is over. The
// rest is decided anew as soon as these have shown in the cluster.
const mostLends = 32

// intend writes down the plan's lends. One that the ledger refuses is dropped.
func (r *round) intend(ctx context.Context, plan *lend.Plan) []*intent {
	var intents []*intent
	for i := range plan.Actions {
		action := &plan.Actions[i]
		if action.Kind != lend.ActionLend {
			continue
		}
		if r.stopped() || ctx.Err() != nil || len(intents) == mostLends {
			break
		}
		in, err := r.newIntent(action)
		if err == nil {
			err = r.mayLend()
		}
		if err == nil {
			err = r.recordIntent(ctx, in)
		}
		if err != nil {
			r.Setbacks.Note(types.UID(action.JobUID), r.Clock.Now(), err.Error())
			r.fail(fmt.Errorf("lend %s: %w", action.Loan, err))
			continue
		}
		// gofail: var lendIntended struct{}
		intents = append(intents, in)
	}
	return intents
}

func (r *round) newIntent(action *lend.Action) (*intent, error) {
	job, waiting := r.view.Job(types.UID(action.JobUID)), r.waiting(action.JobUID)
	if job == nil || waiting == nil {
		return nil, fmt.Errorf("job %s is not in the snapshot", action.Job)
	}
	namespace, name, _ := strings.Cut(action.Loan, "/")
	object := &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels:     map[string]string{v1alpha1.LabelQueue: job.Queue},
			Finalizers: []string{Finalizer},
		},
		Spec: v1alpha1.LoanSpec{
			Job: v1alpha1.JobRef{
				APIVersion: job.Kind.GroupVersion().String(), Kind: job.Kind.Kind, Name: job.Key.Name, UID: job.UID,
				SuspendPath: job.SuspendPath, PodGroup: job.PodGroup,
			},
			Attempt: action.Attempt, Borrower: waiting.Tenant, Queue: job.Queue,
			Resource: string(r.view.Resources[waiting.Flavor]),
			Pods:     int32(waiting.Pods), MinPods: int32(waiting.MinPods), UnitsPerPod: waiting.UnitsPerPod,
			IndexLabel: indexLabel(job),
			MaxGrace:   metav1.Duration{Duration: action.MaxGrace},
			OpID:       action.Loan, Epoch: r.Epoch,
		},
	}
	for _, g := range action.Grants {
		object.Spec.Grants = append(object.Spec.Grants, v1alpha1.Grant(g))
	}
	return &intent{action: action, object: object, job: job.Ref}, nil
}

// indexLabel is what an elastic job's pods are to be told apart by when it gets smaller.
func indexLabel(job *jobs.Job) string {
	if job.MinPods == 0 {
		return ""
	}
	return job.IndexLabel
}

// waiting is a job of the snapshot, nil if it does not wait.
func (r *round) waiting(uid string) *lend.Job {
	all := r.view.Snapshot.Jobs // by UID
	at, found := slices.BinarySearchFunc(all, uid, func(j lend.Job, uid string) int { return cmp.Compare(j.UID, uid) })
	if !found {
		return nil
	}
	return &all[at]
}

// recordIntent writes LEND_INTENT. If the name belongs to a loan that was closed
// (an earlier admission that was aborted), the attempt is counted, so that the
// next decision uses another name.
func (r *round) recordIntent(ctx context.Context, in *intent) error {
	e := opening(in.object)
	p := openingOf(in.object)
	p.Lenders = r.tenantsOf(in.object.Spec.Grants)
	e.Payload = asJSON(p)
	e.Reason, e.Message = in.action.Reason, in.action.Message
	e.Signals = causes(r.view, in.action.Grants)
	_, err := r.record(ledger.LendIntent, in.action.Loan, e)
	if err != nil && !errors.Is(err, ledger.ErrTransition) {
		return err
	}
	if known, open := r.Ledger.Loan(in.action.Loan); open && known.State == ledger.Intended && known.JobUID == in.action.JobUID {
		return nil
	}
	if err := r.Jobs.SkipAttempt(ctx, in.job, in.action.Attempt); err != nil {
		return fmt.Errorf("count the aborted attempt %d: %w", in.action.Attempt, err)
	}
	return fmt.Errorf("attempt %d of job %s was closed before; the next decision uses another", in.action.Attempt, in.action.Job)
}

// tenantsOf are the tenants that the grants' LendingPolicies belong to.
func (r *round) tenantsOf(grants []v1alpha1.Grant) map[string]string {
	tenants := map[string]string{}
	for i := range r.view.Snapshot.Lenders {
		l := &r.view.Snapshot.Lenders[i]
		if l.Tenant != "" && slices.ContainsFunc(grants, func(g v1alpha1.Grant) bool { return g.Lender == l.Name }) {
			tenants[l.Name] = l.Tenant
		}
	}
	return tenants
}

// counts tells whether a grant's lender is a LendingPolicy, which counts what it
// lends: the own quota and a cohort's do not.
func counts(lender string) bool {
	return lender != "" && !lend.IsCohortLender(lender)
}

// lendings are the steps that admit jobs.
func (r *round) lendings(intents []*intent, withdrawn map[string]bool) []step {
	var steps []step
	for _, in := range intents {
		missing := ""
		for _, g := range in.action.Grants {
			if counts(g.Lender) && !withdrawn[g.Lender] {
				missing = g.Lender
			}
		}
		steps = append(steps, step{"lend", in.action.Loan, func(ctx context.Context) error {
			if missing != "" {
				return r.abort(ctx, in, fmt.Errorf("units of %s could not be withdrawn", missing))
			}
			return r.admit(ctx, in)
		}})
	}
	return steps
}

// promptly is how long the job may take to be let run after its Loan is active, before the
// entry tells the moment itself: the wall's clock is then the smaller mistake.
const promptly = 500 * time.Millisecond

// admit makes the Loan and lets the job run.
func (r *round) admit(ctx context.Context, in *intent) error {
	// gofail: var lendWithdrawn struct{}
	if err := r.mayLend(); err != nil {
		return r.abort(ctx, in, err)
	}
	object, err := r.create(ctx, in.object)
	if err != nil {
		return r.abort(ctx, in, err)
	}
	// gofail: var lendCreated struct{}
	if err := r.setActive(ctx, object, in.action); err != nil {
		return r.abort(ctx, in, err)
	}
	// gofail: var lendActive struct{}
	active := r.Clock.Now()
	spec := &in.object.Spec
	gang := jobs.Gang{Pods: int64(spec.Pods), Resource: corev1.ResourceName(spec.Resource), UnitsPerPod: spec.UnitsPerPod}
	if err := r.Jobs.Resume(ctx, in.job, in.action.Attempt, gang); err != nil {
		return r.abort(ctx, in, err)
	}
	// gofail: var lendResumed struct{}
	granted := ledger.Entry{Reason: in.action.Reason, Message: in.action.Message}
	if r.Clock.Now().Sub(active) > promptly {
		granted.At = active.UTC() // a slow API server keeps the units from their lenders all the same
	}
	if _, err := r.record(ledger.LendGranted, in.action.Loan, granted); err != nil {
		return err
	}
	// gofail: var lendGranted struct{}
	r.Setbacks.Forget(in.job.UID)
	r.log.Info("Lent", "loan", in.action.Loan, "job", in.action.Job, "grants", in.action.Grants, "reason", in.action.Reason)
	r.Events.Job(in.object, reasonAdmitted, "Lend", "was admitted as Loan %s: %s", in.object.Name,
		r.toBorrower(spec.Borrower, in.action.Reason, in.action.Message))
	return nil
}

// create makes the Loan. One that exists already is ours only if it is the same
// operation.
func (r *round) create(ctx context.Context, object *v1alpha1.Loan) (*v1alpha1.Loan, error) {
	object = object.DeepCopy()
	err := r.Client.Create(ctx, object)
	if err == nil {
		return object, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create the Loan: %w", err)
	}
	var found v1alpha1.Loan
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(object), &found); err != nil {
		return nil, fmt.Errorf("read the Loan that exists: %w", err)
	}
	if found.Spec.OpID != object.Spec.OpID || found.Spec.Job.UID != object.Spec.Job.UID || !found.DeletionTimestamp.IsZero() {
		return nil, errors.New("create the Loan: another one has its name")
	}
	return &found, nil
}

func (r *round) setActive(ctx context.Context, object *v1alpha1.Loan, action *lend.Action) error {
	changed := meta.SetStatusCondition(&object.Status.Conditions, metav1.Condition{
		Type: v1alpha1.LoanActive, Status: metav1.ConditionTrue, Reason: action.Reason,
		Message:            r.toBorrower(object.Spec.Borrower, action.Reason, action.Message),
		LastTransitionTime: metav1.Time{Time: r.Clock.Now()},
	})
	if !changed {
		return nil
	}
	if err := r.writeLoan(ctx, object); err != nil {
		return fmt.Errorf("set the Loan active: %w", err)
	}
	return nil
}

// abort undoes a lend that came to nothing: no Loan remains, the ledger says so,
// and the attempt is used up, because its name is. If the Loan cannot be removed
// it is left to the next decision, which sees a job that is suspended.
func (r *round) abort(ctx context.Context, in *intent, cause error) error {
	r.Setbacks.Note(in.job.UID, r.Clock.Now(), cause.Error())
	if err := r.remove(ctx, in.object); err != nil {
		return errors.Join(cause, err)
	}
	// gofail: var lendUndone struct{}
	if _, err := r.record(ledger.LendAborted, in.action.Loan, ledger.Entry{Reason: reasonAborted, Message: cause.Error()}); err != nil {
		return errors.Join(cause, err)
	}
	// gofail: var lendAborted struct{}
	if err := r.Jobs.SkipAttempt(ctx, in.job, in.action.Attempt); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// remove deletes the Loan of an aborted lend, unless its job may be running: the
// reply to the admission could have been lost.
func (r *round) remove(ctx context.Context, object *v1alpha1.Loan) error {
	var found v1alpha1.Loan
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(object), &found)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the Loan: %w", err)
	}
	if found.Spec.OpID != object.Spec.OpID || found.Spec.Job.UID != object.Spec.Job.UID {
		return nil // it was never ours
	}
	job, err := r.Jobs.Find(ctx, r.Live, jobs.RefOf(object))
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err == nil && job.UID == found.Spec.Job.UID && !job.Suspended && !job.Finished {
		return errors.New("the job runs: the loan is kept")
	}
	return r.delete(ctx, &found)
}
