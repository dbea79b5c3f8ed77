package ebbtide

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/pack"
)

const stateKey fwk.StateKey = Name

// cycle is what PreFilter learned about one pod, for the later points of the same
// cycle. Only a dry run changes its own copy.
type cycle struct {
	requests []book.Request

	// A pod on a loan has this:
	loan *v1alpha1.Loan

	// A bare pod of a gang has this:
	group *podGroup

	// A bare pod has these:
	tenant   *account.Tenant
	priority int32
	used     account.Use
	// full: no flavor has room for the pod in the nominal quota.
	full bool
	// roomOnly: the quota is no matter in this dry run.
	roomOnly bool
	// moved are the pods that this dry run took off (-1) or added (1).
	moved map[types.UID]int64
	// over are the loans that this dry run took back, by UID.
	over map[types.UID]bool
	// undone are the reshapes that this dry run undid, by ID.
	undone map[string]bool
	// settled: this dry run goes by what will be there once changes of cards are settled.
	settled bool

	mixes []pack.Mix // of each request, from PreScore on
	pools *pools     // of its service, from PreScore on; nil if it has none
	// roomy are the only nodes that the filters run on; nil: they run on all.
	roomy sets.Set[string]
}

// Clone returns a copy that a dry run may change.
func (c *cycle) Clone() fwk.StateData {
	own := *c
	own.used, own.moved, own.over = slices.Clone(c.used), maps.Clone(c.moved), maps.Clone(c.over)
	own.undone = maps.Clone(c.undone)
	return &own
}

func readCycle(state fwk.CycleState) (*cycle, bool) {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil, false
	}
	c, ok := data.(*cycle)
	return c, ok
}

// gang is the key of the gang that the pod is placed with; empty if it is of none.
func (c *cycle) gang() types.UID {
	switch {
	case c.loan != nil:
		return c.loan.UID
	case c.group != nil:
		return c.group.gang()
	}
	return ""
}

// PreFilter checks the pod against its loan, or against its tenant's quota.
func (p *Ebbtide) PreFilter(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if err := p.awaitStart(ctx); err != nil {
		return nil, fwk.AsStatus(err)
	}
	requests := book.Requests(pod, p.account.Resources())
	if len(requests) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	tenant, woken := p.blocked.take(pod.UID)
	result, status := p.judge(state, pod, requests, nodes)
	if woken { // whatever becomes of it: what came free may be enough for others too
		p.passOn(klog.FromContext(ctx), pod, tenant)
	}
	return result, status
}

func (p *Ebbtide) judge(state fwk.CycleState, pod *corev1.Pod, requests []book.Request, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	loan, reason := p.loanFor(pod)
	switch {
	case reason != "":
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	case loan == nil:
		return p.preFilterBare(state, pod, requests, nodes)
	}
	if reason := whyNotOfLoan(requests, loan); reason != "" {
		return nil, fwk.NewStatus(fwk.Unschedulable, reason)
	}
	if reason := p.awaitOwnQuota(pod, loan, requests); reason != "" {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	state.Write(stateKey, &cycle{requests: requests, loan: loan})
	return &fwk.PreFilterResult{NodeNames: sets.New(book.Nodes(loan)...)}, nil
}

// whyNotOfLoan says how the pod differs from what the loan was made for; empty
// if it does not.
func whyNotOfLoan(requests []book.Request, loan *v1alpha1.Loan) string {
	want := book.Request{Resource: corev1.ResourceName(loan.Spec.Resource), Units: loan.Spec.UnitsPerPod}
	if len(requests) == 1 && requests[0] == want {
		return ""
	}
	return fmt.Sprintf("the pod asks for %s, but its loan is for %d units of %s for each pod", describe(requests), want.Units, want.Resource)
}

func describe(requests []book.Request) string {
	words := make([]string, 0, len(requests))
	for _, r := range requests {
		words = append(words, fmt.Sprintf("%d units of %s", r.Units, r.Resource))
	}
	return strings.Join(words, " and ")
}

func (p *Ebbtide) preFilterBare(state fwk.CycleState, pod *corev1.Pod, requests []book.Request, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	tenant, err := p.account.Tenant(pod.Namespace)
	if err == nil {
		err = hasFlavors(tenant, requests)
	}
	if err != nil {
		return nil, refused(fwk.Unschedulable, err)
	}
	if err := p.book.CheckPriority(pod, tenant.Name, tenant.MaxPriorityClass); err != nil {
		return nil, refused(fwk.UnschedulableAndUnresolvable, err)
	}
	group, reason := p.readyGroup(pod)
	if reason != "" {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	priority := book.Priority(pod)
	// In line before looking: what comes free meanwhile is not missed.
	p.blocked.note(tenant.Name, pod, requests...)
	c := &cycle{requests: requests, group: group, tenant: tenant, priority: priority, used: p.account.Used(tenant, pod.UID, priority)}
	if c.used == nil {
		return p.preFilterBare(state, pod, requests, nodes) // the quota changed since it was read
	}
	if reason := p.whyNoQuotaForGroup(c, pod); reason != "" {
		// Without a cycle nothing is taken back, or makes way, for a part of a gang.
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	state.Write(stateKey, c)
	for _, r := range requests {
		if reasons := whyNoQuota(tenant, r, c.used); len(reasons) > 0 {
			c.full = true
			return nil, fwk.NewStatus(fwk.Unschedulable, reasons...)
		}
	}
	p.blocked.forget(pod.UID)
	if c.roomy = p.withRoom(nodes, requests); c.roomy != nil {
		return &fwk.PreFilterResult{NodeNames: c.roomy}, nil
	}
	return nil, nil
}

// refused turns a *book.Refusal into a status with the given code, and any other
// error into an error.
func refused(code fwk.Code, err error) *fwk.Status {
	var refusal *book.Refusal
	if errors.As(err, &refusal) {
		return fwk.NewStatus(code, refusal.Reason)
	}
	return fwk.AsStatus(err)
}

func hasFlavors(tenant *account.Tenant, requests []book.Request) error {
	for _, r := range requests {
		if !tenant.Counts(r.Resource) {
			return book.Refuse("tenant %s has no quota for %s", tenant.Name, r.Resource)
		}
	}
	return nil
}

// whyNoQuota returns a sentence for every flavor that is too full for the request;
// none if any has room. No pod borrows: the nominal quota is the bound.
func whyNoQuota(tenant *account.Tenant, r book.Request, used account.Use) []string {
	if hasRoom(tenant, r, used) {
		return nil
	}
	flavors := tenant.Flavors(r.Resource)
	reasons := make([]string, 0, len(flavors))
	for _, f := range flavors {
		reasons = append(reasons, fmt.Sprintf("tenant %s: %s, and the pod asks for %d", tenant.Name, tenant.Describe(f, used), r.Units))
	}
	return reasons
}

// hasRoom reports whether any flavor has room for the request.
func hasRoom(tenant *account.Tenant, r book.Request, used account.Use) bool {
	return slices.ContainsFunc(tenant.Flavors(r.Resource), func(f int) bool { return tenant.Left(f, used) >= r.Units })
}

// PreFilterExtensions keep what a dry run counts in step with the pods that it takes
// off a node or adds.
func (p *Ebbtide) PreFilterExtensions() fwk.PreFilterExtensions { return p }

// RemovePod takes the pod's units off what its tenant uses, if they count. Units on
// a loan are read from the node when they are needed.
func (p *Ebbtide) RemovePod(_ context.Context, state fwk.CycleState, _ *corev1.Pod, gone fwk.PodInfo, info fwk.NodeInfo) *fwk.Status {
	c, ok := readCycle(state)
	if !ok || c.tenant == nil {
		return nil
	}
	pod := gone.GetPod()
	if c.moved[pod.UID] > 0 || c.moved[pod.UID] == 0 && p.account.Counts(pod.UID, c.priority) {
		p.move(c, pod, info.Node(), -1)
	}
	return nil
}

// AddPod adds the pod's units to what its tenant uses, if they do not count yet: a
// pod that is nominated to the node does already.
func (p *Ebbtide) AddPod(_ context.Context, state fwk.CycleState, _ *corev1.Pod, added fwk.PodInfo, info fwk.NodeInfo) *fwk.Status {
	c, ok := readCycle(state)
	if !ok || c.tenant == nil {
		return nil
	}
	pod := added.GetPod()
	if c.moved[pod.UID] < 0 || c.moved[pod.UID] == 0 && !p.account.Counts(pod.UID, c.priority) && !p.account.OnLoan(pod) {
		p.move(c, pod, info.Node(), 1)
	}
	return nil
}

func (p *Ebbtide) move(c *cycle, pod *corev1.Pod, node *corev1.Node, sign int64) {
	if tenant, err := p.account.Tenant(pod.Namespace); err != nil || tenant.Name != c.tenant.Name {
		return
	}
	for _, r := range book.Requests(pod, nil) {
		if f := c.tenant.Flavor(r.Resource, node.Labels); f >= 0 {
			pool := c.tenant.Pool(f)
			c.used[pool] = c.used[pool].Plus(sign, c.tenant.Cost(f, r.Units))
		}
	}
	if c.moved == nil {
		c.moved = map[types.UID]int64{}
	}
	c.moved[pod.UID] += sign
}
