package ebbtide

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

const stateKey fwk.StateKey = Name

// cycle is what PreFilter learned about one pod, for the later points of the
// same cycle. It is never changed after PreFilter.
type cycle struct {
	requests []book.Request

	// A pod on a loan has these:
	loan *v1alpha1.Loan

	// An online pod has these:
	tenant *v1alpha1.TenantQuota
	// room is how many more units the tenant may use, by resource and flavor.
	room map[corev1.ResourceName]map[string]int64
}

// Clone returns c itself: it is read only.
func (c *cycle) Clone() fwk.StateData { return c }

func readCycle(state fwk.CycleState) (*cycle, bool) {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil, false
	}
	c, ok := data.(*cycle)
	return c, ok
}

// PreFilter checks the pod against its loan, or against its tenant's quota.
func (p *Ebbtide) PreFilter(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	requests := book.Requests(pod, p.book.Resources())
	switch {
	case len(requests) == 0:
		return nil, fwk.NewStatus(fwk.Skip)
	case book.Online(pod):
		return nil, p.preFilterOnline(state, pod, requests, nodes)
	}
	loan := p.book.LoanOf(pod)
	if reason := p.whyNoLoan(loan); reason != "" {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
	}
	if reason := whyNotOfLoan(requests, loan); reason != "" {
		return nil, fwk.NewStatus(fwk.Unschedulable, reason)
	}
	state.Write(stateKey, &cycle{requests: requests, loan: loan})
	return &fwk.PreFilterResult{NodeNames: sets.New(book.Nodes(loan)...)}, nil
}

// PreFilterExtensions returns nil: what PreFilter counts already includes the
// pods nominated to a node, and does not depend on what else stands on it.
func (p *Ebbtide) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

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

func (p *Ebbtide) preFilterOnline(state fwk.CycleState, pod *corev1.Pod, requests []book.Request, nodes []fwk.NodeInfo) *fwk.Status {
	tenant, err := p.book.TenantOf(pod.Namespace)
	if err == nil {
		err = hasFlavors(tenant, requests)
	}
	if err != nil {
		return refused(fwk.Unschedulable, err)
	}
	if err := p.book.CheckPriority(pod, tenant); err != nil {
		return refused(fwk.UnschedulableAndUnresolvable, err)
	}
	room := map[corev1.ResourceName]map[string]int64{}
	for _, r := range requests {
		used, err := p.usage(pod, tenant, r.Resource, nodes)
		if err != nil {
			return fwk.AsStatus(fmt.Errorf("count the use of tenant %s: %w", tenant.Name, err))
		}
		var reasons []string
		room[r.Resource], reasons = roomWithin(tenant, r, used)
		if len(room[r.Resource]) == 0 {
			return fwk.NewStatus(fwk.Unschedulable, reasons...)
		}
	}
	state.Write(stateKey, &cycle{requests: requests, tenant: tenant, room: room})
	return nil
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

func hasFlavors(tenant *v1alpha1.TenantQuota, requests []book.Request) error {
	for _, r := range requests {
		if !book.HasResource(tenant, r.Resource) {
			return &book.Refusal{Reason: fmt.Sprintf("tenant %s has no quota for %s", tenant.Name, r.Resource)}
		}
	}
	return nil
}

// roomWithin returns the flavors in which the tenant may use the request on top
// of what it uses, with the units left before the request. Online pods never
// borrow: the nominal quota is the bound. reasons has a sentence for every flavor
// that is too full.
func roomWithin(tenant *v1alpha1.TenantQuota, request book.Request, used map[string]int64) (room map[string]int64, reasons []string) {
	room = map[string]int64{}
	for i := range tenant.Spec.Flavors {
		f := &tenant.Spec.Flavors[i]
		if f.Resource != string(request.Resource) {
			continue
		}
		if left := f.Nominal - used[f.Name]; left >= request.Units {
			room[f.Name] = left
			continue
		}
		reasons = append(reasons, fmt.Sprintf("tenant %s: %d of %d units of flavor %s are used, and the pod asks for %d", tenant.Name, used[f.Name], f.Nominal, f.Name, request.Units))
	}
	return room, reasons
}

// usage counts the units that the tenant uses of its nominal quota, by flavor:
// those of its own pods (bound, assumed or nominated before this pod; pods on a
// loan excepted) and those its own jobs were admitted to on its own quota.
func (p *Ebbtide) usage(pod *corev1.Pod, tenant *v1alpha1.TenantQuota, resource corev1.ResourceName, nodes []fwk.NodeInfo) (map[string]int64, error) {
	own, err := p.book.Namespaces(tenant.Name)
	if err != nil {
		return nil, err
	}
	used := map[string]int64{}
	for _, info := range nodes {
		flavor := book.FlavorOf(tenant, resource, info.Node())
		if flavor == nil {
			continue
		}
		present := append(p.nominatedBefore(pod, info.Node().Name), info.GetPods()...)
		for _, other := range present {
			q := other.GetPod()
			if own[q.Namespace] && p.book.LoanOf(q) == nil {
				used[flavor.Name] += book.Units(q, resource)
			}
		}
	}
	for _, loan := range p.book.Loans() {
		if loan.Spec.Borrower != tenant.Name || loan.Spec.Resource != string(resource) || book.Returned(loan) {
			continue
		}
		for i := range tenant.Spec.Flavors {
			name := tenant.Spec.Flavors[i].Name
			used[name] += book.OwnQuota(loan, name)
		}
	}
	return used, nil
}

// nominatedBefore returns the pods that are promised a place on the node and go
// before this one.
func (p *Ebbtide) nominatedBefore(pod *corev1.Pod, node string) []fwk.PodInfo {
	var before []fwk.PodInfo
	for _, info := range p.handle.NominatedPodsForNode(node) {
		other := info.GetPod()
		if other.UID != pod.UID && book.Priority(other) >= book.Priority(pod) {
			before = append(before, info)
		}
	}
	return before
}
