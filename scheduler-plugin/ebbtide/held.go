package ebbtide

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// whyHeld says why what is free on the node is not for this bare pod: units are
// held for admitted jobs, or for a job that loans were taken back for. Empty if
// enough is free beside those, and for online pods.
func (p *Ebbtide) whyHeld(c *cycle, info fwk.NodeInfo) string {
	for _, r := range c.requests {
		held, free := p.heldOn(c, info, r.Resource), p.freeUnits(info, r.Resource)
		if held > 0 && r.Units > free-held {
			return fmt.Sprintf("%d units of %s are free on the node, and %d are held there for jobs that have yet to start", max(0, free), r.Resource, held)
		}
	}
	return ""
}

// heldOn returns how many units of the resource on the node are not for the cycle's
// pod although no pod holds them; 0 for an online pod.
func (p *Ebbtide) heldOn(c *cycle, info fwk.NodeInfo, resource corev1.ResourceName) int64 {
	if c.online() {
		return 0
	}
	node := info.Node().Name
	loans, taken := p.book.LoansOn(node), p.holds.on(node)
	if len(loans) == 0 && len(taken) == 0 {
		return 0
	}
	used := p.usedByJob(info, resource)
	var held int64
	for _, loan := range loans {
		if p.keeps(c, loan) {
			held += due(loan, node, resource, used)
		}
	}
	for _, h := range taken {
		if h.gone { // its job may have a loan anew, whose units these pods use
			held += due(h.loan, node, resource, nil)
		} else {
			held += due(h.loan, node, resource, used)
		}
	}
	return held
}

// keeps reports whether what the loan grants is its job's, as far as the cycle's pod
// is concerned. That the job is still suspended does not matter: a loan is made
// before its job is let go.
func (p *Ebbtide) keeps(c *cycle, loan *v1alpha1.Loan) bool {
	return book.Open(loan) && !c.over[loan.UID] && !p.takenBack(loan)
}

// due returns how many units of the resource the loan grants on the node that pods
// of its job have yet to take. used is by job UID.
func due(loan *v1alpha1.Loan, node string, resource corev1.ResourceName, used map[types.UID]int64) int64 {
	if corev1.ResourceName(loan.Spec.Resource) != resource {
		return 0
	}
	return max(0, book.GrantedOn(loan, node)-used[loan.Spec.Job.UID])
}

// keepers returns the lent loans that keep the cycle's pod from units on the node,
// whether or not they have pods there.
func (p *Ebbtide) keepers(c *cycle, node string) []*v1alpha1.Loan {
	if c.online() {
		return nil
	}
	var out []*v1alpha1.Loan
	for _, loan := range p.book.LoansOn(node) {
		asked := func(r book.Request) bool { return r.Resource == corev1.ResourceName(loan.Spec.Resource) }
		if slices.ContainsFunc(c.requests, asked) && book.Lent(loan) && p.keeps(c, loan) {
			out = append(out, loan)
		}
	}
	return out
}

// heldIn is heldOn for the scene's node and pod.
func (p *Ebbtide) heldIn(s *scene, resource corev1.ResourceName) int64 {
	if c, ok := readCycle(s.state); ok && !book.Ordinary(resource) {
		return p.heldOn(c, s.info, resource)
	}
	return 0
}

// online reports whether the pod is one that may use any free unit.
func (c *cycle) online() bool { return c.priority >= v1alpha1.PriorityOnline }

// endIn notes in the state of a dry run that the loans keep nothing.
func endIn(state fwk.CycleState, loans ...*v1alpha1.Loan) {
	c, ok := readCycle(state)
	if !ok || len(loans) == 0 {
		return
	}
	if c.over == nil {
		c.over = map[types.UID]bool{}
	}
	for _, loan := range loans {
		c.over[loan.UID] = true
	}
}
