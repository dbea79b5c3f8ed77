package ebbtide

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Filter refuses nodes that are not of the tenant's flavors, on which the pod's loan
// has no units left, whose free units are held for jobs, or whose slices are none for
// the pod. Whether the node has units at all is NodeResourcesFit's business; it is told
// here too because, of nodes that are packed full, most are, and asking for that first is
// what makes a large cluster fast.
func (p *Ebbtide) Filter(_ context.Context, state fwk.CycleState, pod *corev1.Pod, info fwk.NodeInfo) *fwk.Status {
	c, ok := readCycle(state)
	if !ok {
		return nil
	}
	if c.loan != nil {
		reason := p.whyNotLoanNode(c, info)
		if reason == "" {
			reason = p.whyNoSlice(c, pod, info)
		}
		return unless(reason)
	}
	for _, r := range c.requests {
		if p.lacks(info, r) {
			return fwk.NewStatus(fwk.Unschedulable, "Insufficient "+string(r.Resource))
		}
	}
	if reason := whyNotTenantNode(c, info.Node()); reason != "" {
		// Taking loans back makes no quota, hence unresolvable.
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	reason := p.whyHeld(c, info)
	if reason == "" {
		reason = p.whyNoSlice(c, pod, info)
	}
	return unless(reason)
}

// unless refuses for the reason, if there is one.
func unless(reason string) *fwk.Status {
	if reason == "" {
		return nil
	}
	return fwk.NewStatus(fwk.Unschedulable, reason)
}

// whyNotTenantNode says why the tenant may not use the node for this pod; empty
// if it may.
func whyNotTenantNode(c *cycle, node *corev1.Node) string {
	used, t := c.used, c.tenant
	for i, r := range c.requests {
		f := t.Flavor(r.Resource, node.Labels)
		switch {
		case f < 0:
			return "the node's " + string(r.Resource) + " is of no flavor of tenant " + t.Name
		case c.roomOnly:
			continue
		case t.Left(f, used) < r.Units:
			return "tenant " + t.Name + " has used up its quota of flavor " + t.FlavorName(f)
		}
		if i+1 < len(c.requests) { // the next may draw on the same pool
			used = slices.Clone(used)
			used[t.Pool(f)] = used[t.Pool(f)].Plus(1, t.Cost(f, r.Units))
		}
	}
	return ""
}

func (p *Ebbtide) whyNotLoanNode(c *cycle, info fwk.NodeInfo) string {
	node := info.Node().Name
	used := p.usedByJob(info, corev1.ResourceName(c.loan.Spec.Resource))
	earlier := p.openBefore(c.loan, node)
	free := p.freeUnits(info, corev1.ResourceName(c.loan.Spec.Resource))
	return whyNoGrant(c.loan, node, used, free, earlier)
}

// whyNoGrant says why the loan's next pod may not use the node: its own grant
// there is used up, or what is free is held for loans that were made earlier and
// whose pods are not there yet. Empty if it may. used is by job UID.
//
// Loans made later are not held for: when online pods took units that two loans
// count on, one of the two can then still run instead of neither.
func whyNoGrant(loan *v1alpha1.Loan, node string, used map[types.UID]int64, free int64, earlier []*v1alpha1.Loan) string {
	granted, per := book.GrantedOn(loan, node), loan.Spec.UnitsPerPod
	if own := used[loan.Spec.Job.UID]; own+per > granted {
		return fmt.Sprintf("the loan grants %d units on the node, of which %d are used", granted, own)
	}
	var held int64
	for _, other := range earlier {
		held += max(0, book.GrantedOn(other, node)-used[other.Spec.Job.UID])
	}
	if per > free-held {
		return fmt.Sprintf("%d units are free on the node, and %d of them are held for loans made earlier", max(0, free), held)
	}
	return ""
}

// openBefore returns the open loans of the same resource on the node that are
// older than this one.
func (p *Ebbtide) openBefore(loan *v1alpha1.Loan, node string) []*v1alpha1.Loan {
	var out []*v1alpha1.Loan
	for _, other := range p.book.LoansOn(node) {
		if book.Before(other, loan) && other.UID != loan.UID && other.Spec.Resource == loan.Spec.Resource &&
			p.whyNoLoan(other) == "" {
			out = append(out, other)
		}
	}
	return out
}

// usedByJob returns the units that pods on the node, assumed ones included, use
// of the resource, by the UID of the job that controls them.
func (p *Ebbtide) usedByJob(info fwk.NodeInfo, resource corev1.ResourceName) map[types.UID]int64 {
	used := map[types.UID]int64{}
	for _, other := range info.GetPods() {
		if loan := p.book.LoanOf(other.GetPod()); loan != nil {
			used[loan.Spec.Job.UID] += book.Units(other.GetPod(), resource)
		}
	}
	return used
}
