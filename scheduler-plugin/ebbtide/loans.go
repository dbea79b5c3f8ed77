package ebbtide

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// onLoan wakes the pods that a loan's start, change or end lets run, and turns pods away
// that wait in Permit on a loan that ended.
func (p *Ebbtide) onLoan(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if loan, ok := obj.(*v1alpha1.Loan); ok {
				p.loanMade(logger, loan)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok1 := before.(*v1alpha1.Loan)
			loan, ok2 := after.(*v1alpha1.Loan)
			switch {
			case !ok1 || !ok2:
			case old.UID != loan.UID: // it was deleted and made anew while nobody looked
				p.loanGone(logger, old)
				p.loanMade(logger, loan)
			default:
				p.loanChanged(logger, old, loan)
			}
		},
		DeleteFunc: func(obj any) {
			if loan, ok := deleted[*v1alpha1.Loan](obj); ok {
				p.loanGone(logger, loan)
			}
		},
	}
}

func (p *Ebbtide) loanMade(logger klog.Logger, loan *v1alpha1.Loan) {
	p.wake(logger, p.account.SetLoan(loan))
	p.restore(loan)
	if p.unwatched(loan) {
		p.said.ask(loan, false)
	}
	p.noteHolds(logger, loan, false)
	p.activate(logger, p.pendingOf(loan))
}

func (p *Ebbtide) loanChanged(logger klog.Logger, old, loan *v1alpha1.Loan) {
	p.wake(logger, p.account.SetLoan(loan))
	p.noteHolds(logger, loan, false)
	switch {
	case book.Open(old) && !book.Open(loan):
		p.ended(logger, loan, "the loan of the job that controls this pod ended")
	case !book.Open(old) && book.Open(loan):
		p.activate(logger, p.pendingOf(loan))
	case book.Open(loan):
		p.regranted(logger, old, loan)
	}
}

func (p *Ebbtide) loanGone(logger klog.Logger, loan *v1alpha1.Loan) {
	p.wake(logger, p.account.DropLoan(loan.UID))
	p.noteHolds(logger, loan, true)
	p.ended(logger, loan, "the loan of the job that controls this pod ended")
	p.gangs.forgetLoan(loan.UID)
	p.said.forget(loan.UID)
}

// ended turns the loan's waiting pods away, and wakes others: units on its nodes
// are no longer held for it, and are coming free.
func (p *Ebbtide) ended(logger klog.Logger, loan *v1alpha1.Loan, reason string) {
	p.breakUp(loan, reason)
	p.activate(logger, p.pending())
}

// regranted follows what an open loan may use on each node. Where it is less, others may
// have what it kept from them, and its gang begins anew: some wait where it keeps nothing
// now. It is smaller, and may be whole by now; or more of it has room.
func (p *Ebbtide) regranted(logger klog.Logger, old, loan *v1alpha1.Loan) {
	var less, more bool
	for _, node := range book.Nodes(loan) {
		switch before, now := book.GrantedOn(old, node), book.GrantedOn(loan, node); {
		case now < before:
			less = true
			p.stirs.note(node, corev1.ResourceName(loan.Spec.Resource))
		case now > before:
			more = true
		}
	}
	if less {
		p.breakUp(loan, "the loan of this job has become smaller")
	}
	if less || more {
		p.activate(logger, p.pendingOf(loan))
	}
}
