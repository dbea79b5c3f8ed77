package ebbtide

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// The broker may grant a tenant's own quota to a job while the scheduler gives the
// same to bare pods: neither waits for the other. The loan then counts from the
// moment it is seen, so that no more bare pods come, and its gang does not begin
// before enough of them have gone. The broker takes a loan back that does not begin.

// awaitOwnQuota says why the pod's gang may not begin now, and puts the pod in line
// for its tenant's quota; empty if it may.
func (p *Ebbtide) awaitOwnQuota(pod *corev1.Pod, loan *v1alpha1.Loan, requests []book.Request) string {
	if p.whyOwnQuotaWaits(loan) == "" {
		return ""
	}
	// In line before looking again: what comes free meanwhile is not missed.
	p.blocked.note(loan.Spec.Borrower, pod, requests...)
	reason := p.whyOwnQuotaWaits(loan)
	if reason == "" {
		p.blocked.forget(pod.UID)
	}
	return reason
}

// whyOwnQuotaWaits says why the loan's gang may not begin: it holds quota of its
// tenant's own that others use too. Empty if it may, or has begun. Of loans that have
// not, the older goes first.
func (p *Ebbtide) whyOwnQuotaWaits(loan *v1alpha1.Loan) string {
	if _, _, over := p.account.Overdrawn(loan.UID); !over || p.begun(loan) {
		return ""
	}
	var later []types.UID
	for _, other := range p.book.Loans() {
		if other.Spec.Borrower == loan.Spec.Borrower && book.Before(loan, other) && !p.begun(other) {
			later = append(later, other.UID)
		}
	}
	tenant, flavor, over := p.account.Overdrawn(loan.UID, later...)
	if !over {
		return ""
	}
	return fmt.Sprintf("tenant %s's nominal quota of %s is used by other pods; its loan waits", tenant, flavor)
}

// unbegun wakes those in line for the borrower's quota if the loan holds some and none of
// its pods has a place any more: an older one goes first then.
func (p *Ebbtide) unbegun(logger klog.Logger, loan *v1alpha1.Loan) {
	own := slices.ContainsFunc(loan.Spec.Grants, func(g v1alpha1.Grant) bool { return g.Lender == "" })
	if own && p.blocked.any(loan.Spec.Borrower) && !p.begun(loan) {
		p.wake(logger, []string{loan.Spec.Borrower})
	}
}

// begun reports whether any of the loan's pods has a node, or a place.
func (p *Ebbtide) begun(loan *v1alpha1.Loan) bool {
	return len(p.placedIn(loan.UID)) > 0 ||
		slices.ContainsFunc(p.gangOf(loan), func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" })
}
