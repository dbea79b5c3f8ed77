package account

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

type loan struct {
	borrower string
	resource corev1.ResourceName
	job      types.UID
	jobs     []ref            // what its pods look for it under
	own      []v1alpha1.Grant // of the borrower's own quota
	nodes    []string
	granted  map[string]int64 // by node, whatever it has shed since
	shaped   []book.Request
	pods     int64
	units    int64 // of all grants
	charges  []charge
	// over: it holds nothing any more.
	over bool
}

// SetLoan notes a loan's present state.
func (a *Account) SetLoan(l *v1alpha1.Loan) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.loans[l.UID]
	switch {
	case known != nil && book.Returned(l):
		return a.settle(known)
	case known != nil && (known.over || known.units == v1alpha1.Units(l.Held())):
		return nil // the rest of a loan never changes
	case known != nil: // it has shed some
		freed = a.settle(known)
		a.loans[l.UID] = readLoan(l)
		a.begin(a.loans[l.UID])
		return freed
	}
	known = readLoan(l)
	a.loans[l.UID] = known
	for _, job := range known.jobs {
		if a.jobs[job] == nil {
			a.jobs[job] = map[types.UID]bool{}
		}
		a.jobs[job][l.UID] = true
	}
	freed = a.rechargeJob(known)
	if !a.Resources()[known.resource] {
		a.rereadResources()
	}
	if book.Returned(l) {
		known.over = true
		return freed
	}
	a.begin(known)
	return freed
}

// rechargeJob counts the pods anew that look for the loan.
func (a *Account) rechargeJob(l *loan) (freed []string) {
	if p := a.pods[l.job]; p != nil { // a pod by itself is a job too
		freed = a.recharge(p)
	}
	for _, job := range l.jobs {
		freed = append(freed, a.rechargeAll(job)...)
	}
	slices.Sort(freed)
	return slices.Compact(freed)
}

// begin counts what the loan holds.
func (a *Account) begin(l *loan) {
	a.shape(l.shaped, l.pods)
	for _, node := range l.nodes {
		a.onNode[node]++
	}
	a.chargeLoan(l)
}

// Release notes that the loan holds nothing any more, although the API does not say
// yet that it is returned.
func (a *Account) Release(uid types.UID) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.loans[uid]; l != nil {
		freed = a.settle(l)
	}
	return freed
}

func readLoan(l *v1alpha1.Loan) *loan {
	out := &loan{
		borrower: l.Spec.Borrower,
		resource: corev1.ResourceName(l.Spec.Resource),
		job:      l.Spec.Job.UID,
		nodes:    book.Nodes(l),
		shaped:   []book.Request{{Resource: corev1.ResourceName(l.Spec.Resource), Units: l.Spec.UnitsPerPod}},
		pods:     int64(l.HeldPods()),
		units:    v1alpha1.Units(l.Held()),
		granted:  map[string]int64{},
	}
	for i := range l.Spec.Grants {
		out.granted[l.Spec.Grants[i].Node] += l.Spec.Grants[i].Count
	}
	for _, key := range lineage.LoanKeys(&l.Spec.Job) {
		out.jobs = append(out.jobs, jobRef(l.Namespace, key))
	}
	for _, g := range l.Held() {
		if g.Lender == "" {
			out.own = append(out.own, g)
		}
	}
	return out
}

// covers reports whether a pod can have such requests of the loan's on the node; if that
// is empty, it has none yet.
func (l *loan) covers(requests []book.Request, node string) bool {
	granted, any := l.granted[node]
	return node == "" || any && !slices.ContainsFunc(requests, func(r book.Request) bool {
		return r.Resource == l.resource && r.Units > granted
	})
}

// DropLoan forgets a loan that no longer exists. Pods that are left of it count
// from now on.
func (a *Account) DropLoan(uid types.UID) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.loans[uid]
	if l == nil {
		return nil
	}
	freed = a.settle(l)
	delete(a.loans, uid)
	for _, job := range l.jobs {
		if delete(a.jobs[job], uid); len(a.jobs[job]) == 0 {
			delete(a.jobs, job)
		}
	}
	a.rechargeJob(l)
	a.rereadResources()
	return freed
}

// settle takes off what the loan counts for.
func (a *Account) settle(l *loan) (freed []string) {
	if l.over {
		return nil
	}
	l.over = true
	a.shape(l.shaped, -l.pods)
	for _, node := range l.nodes {
		if a.onNode[node]--; a.onNode[node] == 0 {
			delete(a.onNode, node)
		}
	}
	freed = a.uncharge(l.charges)
	l.charges = nil
	return freed
}

// chargeLoan counts what the loan holds on its borrower's own quota.
func (a *Account) chargeLoan(l *loan) {
	tenant := a.tenants[l.borrower]
	if a.stale || tenant == nil || l.over {
		return
	}
	for _, g := range l.own {
		for _, f := range tenant.Flavors(l.resource) {
			if tenant.FlavorName(f) == g.Flavor {
				l.charges = append(l.charges, charge{tenant: tenant, pool: tenant.Pool(f), amount: tenant.Cost(f, g.Count)})
			}
		}
	}
	a.add(l.charges, 1)
}

// Overdrawn says of which flavor the loan holds quota of its tenant's own of which,
// with the loan, more is used than there is. What is bound or assumed counts, and
// what all loans hold, the excused ones excepted. over is false if nothing is short.
func (a *Account) Overdrawn(uid types.UID, excused ...types.UID) (tenant, flavor string, over bool) {
	a.rlock()
	defer a.mu.RUnlock()
	l := a.loans[uid]
	if l == nil || len(l.charges) == 0 {
		return "", "", false
	}
	t := l.charges[0].tenant
	use := slices.Clone(a.used[t.Name].firm)
	for _, other := range excused {
		if e := a.loans[other]; e != nil && other != uid {
			for _, c := range e.charges {
				if c.tenant == t {
					use[c.pool] = use[c.pool].Plus(-1, c.amount)
				}
			}
		}
	}
	for _, c := range l.charges {
		if nominal := t.pools[c.pool].nominal; use[c.pool].Compute > nominal.Compute || use[c.pool].Memory > nominal.Memory {
			return t.Name, t.pools[c.pool].name, true
		}
	}
	return "", "", false
}
