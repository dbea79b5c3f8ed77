package account

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Facts are all objects that decide what is counted.
type Facts struct {
	Quotas     []*v1alpha1.TenantQuota
	Namespaces []*corev1.Namespace
	Nodes      []*corev1.Node
	Loans      []*v1alpha1.Loan
	Pods       []Placed
	// Chains knows whose pod a pod is.
	Chains *lineage.Lineage
}

// Placed is a pod and where this scheduler means it to be, beyond what its spec
// says; empty if nowhere.
type Placed struct {
	*corev1.Pod
	Assumed, Nominated string
}

// Recount says from scratch what counts against a pod of the given priority that
// the tenant would place, by pool. It is the definition that an Account is held to:
// every pod and every loan is looked at.
func Recount(f Facts, tenant string, priority int32) map[string]Slices {
	tenants := make([]*Tenant, 0, len(f.Quotas))
	for _, q := range f.Quotas {
		tenants = append(tenants, Read(q))
	}
	slices.SortFunc(tenants, func(x, y *Tenant) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	at := slices.IndexFunc(tenants, func(t *Tenant) bool { return t.Name == tenant })
	if at < 0 {
		return nil
	}
	t, out := tenants[at], map[string]Slices{}
	for _, p := range t.pools {
		out[p.name] = Slices{}
	}
	for _, p := range f.Pods {
		f.recountPod(t, tenants, p, priority, out)
	}
	for _, l := range f.Loans {
		recountLoan(t, l, out)
	}
	return out
}

func (f *Facts) recountPod(t *Tenant, tenants []*Tenant, p Placed, priority int32, out map[string]Slices) {
	node, nominated := p.Spec.NodeName, false
	if node == "" {
		node = p.Assumed
	}
	if node == "" {
		node, nominated = p.Nominated, true
	}
	if ended(p.Pod) || nominated && book.Priority(p.Pod) < priority || f.onLoan(p.Pod, node) {
		return
	}
	for _, ns := range f.Namespaces {
		if ns.Name != p.Namespace || tenancyOf(ns.Name, ns.Labels, tenants).tenant != t {
			continue
		}
		for _, n := range f.Nodes {
			if n.Name != node {
				continue
			}
			for _, r := range book.Requests(p.Pod, nil) {
				if i := t.Flavor(r.Resource, n.Labels); i >= 0 {
					pool := t.pools[t.Pool(i)].name
					out[pool] = out[pool].Plus(1, t.Cost(i, r.Units))
				}
			}
		}
	}
}

// onLoan: the pod is in a queue, and of a job that has a loan with what it takes there.
func (f *Facts) onLoan(p *corev1.Pod, node string) bool {
	keys, _ := f.Chains.Keys(p)
	if p.Labels[v1alpha1.LabelQueue] == "" {
		return false
	}
	return slices.ContainsFunc(f.Loans, func(l *v1alpha1.Loan) bool {
		granted, named := int64(0), node == ""
		for _, g := range l.Spec.Grants {
			if g.Node == node {
				granted, named = granted+g.Count, true
			}
		}
		covered := named && (node == "" || book.Units(p, corev1.ResourceName(l.Spec.Resource)) <= granted)
		return covered && l.Namespace == p.Namespace && slices.ContainsFunc(lineage.LoanKeys(&l.Spec.Job), func(key lineage.Key) bool {
			return slices.Contains(keys, key)
		})
	})
}

func recountLoan(t *Tenant, l *v1alpha1.Loan, out map[string]Slices) {
	if l.Spec.Borrower != t.Name || book.Returned(l) {
		return
	}
	for i := range t.flavors {
		f := &t.flavors[i]
		if string(f.resource) != l.Spec.Resource {
			continue
		}
		for _, g := range l.Held() {
			if g.Lender == "" && g.Flavor == f.name {
				out[t.pools[f.pool].name] = out[t.pools[f.pool].name].Plus(g.Count, f.unit)
			}
		}
	}
}
