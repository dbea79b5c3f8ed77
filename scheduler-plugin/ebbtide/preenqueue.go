package ebbtide

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// PreEnqueue gates a pod that needs a loan until its job has an open one.
func (p *Ebbtide) PreEnqueue(_ context.Context, pod *corev1.Pod) *fwk.Status {
	if book.Online(pod) || len(book.Requests(pod, p.book.Resources())) == 0 {
		return nil
	}
	loan := p.book.LoanOf(pod)
	if reason := p.whyNoLoan(loan); reason != "" {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	return nil
}

// whyNoLoan says why no pod may start on the loan now; empty if it may.
func (p *Ebbtide) whyNoLoan(loan *v1alpha1.Loan) string {
	switch {
	case loan == nil:
		return fmt.Sprintf("pods below priority %d need a loan to use these units, and the job that controls this pod has none; submit the job to a queue with the label %s", v1alpha1.PriorityOnline, v1alpha1.LabelQueue)
	case p.takenBack(loan):
		return "the units lent to this job were taken back; the job waits to be admitted again"
	case !book.Open(loan):
		return "the loan of the job that controls this pod is not open; the job waits to be admitted again"
	case p.suspended(loan):
		return "the job that controls this pod is suspended; it waits to be admitted again"
	}
	return ""
}
