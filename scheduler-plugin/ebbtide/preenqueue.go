package ebbtide

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// PreEnqueue gates a pod of a queued job until the job has an open loan.
func (p *Ebbtide) PreEnqueue(_ context.Context, pod *corev1.Pod) *fwk.Status {
	if len(book.Requests(pod, p.account.Resources())) == 0 {
		return nil
	}
	if _, reason := p.loanFor(pod); reason != "" {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	return nil
}

// loanFor returns the open loan that the pod is to run on; nil if it is a bare pod.
// reason says why it may not run yet. It goes by what the pod is now: whoever is woken
// because it has changed may come before its change has reached the scheduler's queue.
func (p *Ebbtide) loanFor(pod *corev1.Pod) (loan *v1alpha1.Loan, reason string) {
	if now, exists := p.current(pod); exists {
		pod = now
	}
	loan = p.book.LoanOf(pod)
	if loan == nil {
		switch needs, known := p.queued(pod); {
		case !known:
			return nil, "the job that controls this pod is not known yet"
		case !needs:
			return nil, ""
		case !book.Queued(pod):
			return nil, "pods of queued jobs need a loan to use these units, and this pod gets none, whatever its job has: it lacks the label " + v1alpha1.LabelQueue
		}
	}
	if loan != nil && book.Online(pod) {
		return nil, "the pod has the priority of online pods, which do not run on loans; a job in a queue must be below it"
	}
	return loan, p.whyNoLoan(loan)
}

// queued reports whether the pod is of a queued job: it carries the label of a queue, or
// any in its chain of controllers does. known is false as long as one of them has yet to
// be seen.
func (p *Ebbtide) queued(pod *corev1.Pod) (needs, known bool) { return p.chains.Queued(pod) }

// whyNoLoan says why no pod may start on the loan now; empty if it may.
func (p *Ebbtide) whyNoLoan(loan *v1alpha1.Loan) string {
	switch {
	case loan == nil:
		return "pods of queued jobs need a loan to use these units, and this pod's job has none; it waits to be admitted"
	case p.takenBack(loan):
		return "the units of this job were taken back; the job waits to be admitted again"
	case !book.Open(loan):
		return "the loan of the job that controls this pod is not open; the job waits to be admitted again"
	case p.suspended(loan):
		return "the job that controls this pod is suspended; it waits to be admitted again"
	case p.broken(loan):
		return "the pod that stands for this pod's gang has ended, and so the gang ends"
	case p.said.awaits(loan.UID):
		return "it is not known yet whether the units of this job were taken back"
	}
	return ""
}
