package actuate

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// strays are the steps that stop queued jobs that run without a Loan: somebody
// got past the admission policies, or an admission was half undone.
func (r *round) strays() []step {
	var steps []step
	for _, job := range r.view.Strays {
		name := job.Key.String()
		steps = append(steps, step{"suspend job", name, func(ctx context.Context) error {
			stopped, err := r.suspendStray(ctx, job.Ref)
			if err != nil || !stopped {
				return err
			}
			r.log.Info("Suspended a job without a Loan", "job", name)
			next := "it was put back into its queue"
			if job.SuspendPath == "" {
				next = "its pods were stopped"
			}
			r.Events.write(jobReference(job), reasonNoLoan, "Suspend", "ran without a Loan although it is in a queue: %s", next)
			return nil
		}})
	}
	return steps
}

// suspendStray suspends a job if it runs and no open Loan is its own, by a live
// read of both: the Loans after the job, because a job that is admitted in the
// meantime had its Loan before.
func (a *Actuator) suspendStray(ctx context.Context, ref jobs.Ref) (stopped bool, err error) {
	job, err := a.Jobs.Find(ctx, a.Live, ref)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if job.UID != ref.UID || job.Suspended || job.Finished {
		return false, nil
	}
	var loans v1alpha1.LoanList
	if err := a.Live.List(ctx, &loans, client.InNamespace(ref.Key.Namespace)); err != nil {
		return false, fmt.Errorf("list the job's loans: %w", err)
	}
	for i := range loans.Items {
		if loans.Items[i].Spec.Job.UID == ref.UID && !gather.Returned(&loans.Items[i]) {
			return false, nil
		}
	}
	return true, a.Jobs.Suspend(ctx, ref)
}
