package ebbtide

import (
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// jobOf returns the job that the loan was made for, or nil if it is not known.
func (p *Ebbtide) jobOf(loan *v1alpha1.Loan) *batchv1.Job {
	job, err := p.jobs.Jobs(loan.Namespace).Get(loan.Spec.Job.Name)
	if err != nil || job.UID != loan.Spec.Job.UID {
		return nil
	}
	return job
}

// suspended reports whether the loan's job is suspended: its pods are on their
// way out, and it gets no new ones. So a loan that was taken back stays closed
// when neither this scheduler's memory nor a marked pod tells of it any more.
func (p *Ebbtide) suspended(loan *v1alpha1.Loan) bool {
	job := p.jobOf(loan)
	return job != nil && isSuspended(job)
}

func isSuspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

// onJob closes and opens loans with the suspension of their jobs.
func (p *Ebbtide) onJob(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*batchv1.Job)
			job, ok2 := after.(*batchv1.Job)
			if !ok1 || !ok2 || isSuspended(old) == isSuspended(job) {
				return
			}
			loan := p.book.LoanOfJob(job.Namespace, job.UID)
			switch {
			case loan == nil:
			case isSuspended(job):
				p.ended(logger, loan, "the job that controls this pod was suspended")
			default:
				p.activate(logger, p.pendingOf(loan))
			}
		},
	}
}
