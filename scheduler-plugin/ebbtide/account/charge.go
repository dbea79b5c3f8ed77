package account

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

type pod struct {
	uid             types.UID
	namespace, name string
	priority        int32
	jobs            []ref // what its loan is looked for under: first itself
	// self is the pod as it was noted last.
	self     *corev1.Pod
	requests []book.Request

	// leaving: it was told to stop. grouped: it is of a group of pods.
	leaving, grouped bool
	// seen: the API has shown it.
	seen                      bool
	bound, assumed, nominated string

	charges []charge
	shaped  []book.Request // what the shapes count of it
	refs    []ref
}

// charge is what a pod or a loan takes of a pool.
type charge struct {
	tenant    *Tenant
	pool      int
	amount    Slices
	nominated bool
	priority  int32
}

// node returns where the pod counts, and whether it is only nominated there.
func (p *pod) node() (name string, nominated bool) {
	switch {
	case p.bound != "":
		return p.bound, false
	case p.assumed != "":
		return p.assumed, false
	}
	return p.nominated, p.nominated != ""
}

// SetPod notes a pod's present state. before is what it was, if that is known: a
// nomination ends when it is seen to be withdrawn, and not while the API has yet to
// show it.
func (a *Account) SetPod(before, now *corev1.Pod) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if before != nil && before.UID != now.UID {
		freed = a.drop(before.UID)
	}
	if ended(now) {
		return append(freed, a.drop(now.UID)...)
	}
	p := a.pod(now)
	p.seen, p.bound = true, now.Spec.NodeName
	switch nominated := now.Status.NominatedNodeName; {
	case p.bound != "":
		p.assumed, p.nominated = "", ""
	case nominated != "":
		p.nominated = nominated
	case before != nil && before.Status.NominatedNodeName == p.nominated:
		p.nominated = ""
	}
	return append(freed, a.recharge(p)...)
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// DropPod forgets a pod that no longer exists.
func (a *Account) DropPod(uid types.UID) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.drop(uid)
}

// Assume notes that the pod is to be bound to the node. What comes free is what another
// node's was promised to it.
func (a *Account) Assume(now *corev1.Pod, node string) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pod(now)
	if p.bound == "" {
		p.assumed = node
	}
	if freed = a.recharge(p); p.nominated == node {
		return nil
	}
	return freed
}

// Forget notes that the pod is not to be bound after all.
func (a *Account) Forget(uid types.UID) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	switch {
	case p == nil:
		return nil
	case !p.seen:
		return a.drop(uid)
	}
	p.assumed = ""
	return a.recharge(p)
}

// Nominate notes the node that the pod was promised; empty if none. A pod that the
// API does not show is left out: it may be gone.
func (a *Account) Nominate(uid types.UID, node string) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pods[uid]
	if p == nil || p.nominated == node {
		return nil
	}
	p.nominated = node
	return a.recharge(p)
}

// pod returns what is known of the pod, with what cannot change read anew.
func (a *Account) pod(now *corev1.Pod) *pod {
	p := a.pods[now.UID]
	if p == nil {
		p = &pod{uid: now.UID}
		a.pods[now.UID] = p
	}
	p.namespace, p.name, p.priority = now.Namespace, now.Name, book.Priority(now)
	p.requests, p.self = book.Requests(now, nil), now
	p.leaving, p.grouped = now.DeletionTimestamp != nil, now.Spec.SchedulingGroup != nil
	a.trace(p)
	return p
}

// trace finds out anew whose pod it is. Pods that ask for nothing are nobody's business,
// and those in no queue have no loan (see book.LoanOf).
func (a *Account) trace(p *pod) {
	p.jobs = nil
	if len(p.requests) == 0 || !book.Queued(p.self) {
		return
	}
	keys, _ := a.chains.Keys(p.self)
	for _, key := range keys {
		p.jobs = append(p.jobs, jobRef(p.namespace, key))
	}
}

// Retrace counts pods anew of whose chains more is known now. Those that are not known
// are left out.
func (a *Account) Retrace(pods ...types.UID) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, uid := range pods {
		if p := a.pods[uid]; p != nil {
			a.trace(p)
			freed = append(freed, a.recharge(p)...)
		}
	}
	slices.Sort(freed)
	return slices.Compact(freed)
}

// point files the pod under what decides about it.
func (a *Account) point(p *pod) {
	refs := []ref{{ofSpace, p.namespace}}
	for _, node := range []string{p.bound, p.assumed, p.nominated} {
		if node != "" {
			refs = append(refs, ref{ofNode, node})
		}
	}
	if len(p.jobs) > 0 { // itself it is found without
		refs = append(refs, p.jobs[1:]...)
	}
	if slices.Equal(refs, p.refs) {
		return
	}
	a.unpoint(p)
	for _, r := range refs {
		if a.refs[r] == nil {
			a.refs[r] = map[types.UID]*pod{}
		}
		a.refs[r][p.uid] = p
	}
	p.refs = refs
}

func (a *Account) unpoint(p *pod) {
	for _, r := range p.refs {
		delete(a.refs[r], p.uid)
		if len(a.refs[r]) == 0 {
			delete(a.refs, r)
		}
	}
	p.refs = nil
}

func (a *Account) drop(uid types.UID) (freed []string) {
	p := a.pods[uid]
	if p == nil {
		return nil
	}
	delete(a.pods, uid)
	a.unpoint(p)
	a.unshape(p)
	return a.uncharge(p.charges)
}

// recharge counts the pod anew. It returns the tenants of which something came
// free.
func (a *Account) recharge(p *pod) (freed []string) {
	a.point(p)
	a.unshape(p)
	before := p.charges
	freed = a.uncharge(before)
	p.charges = nil
	a.charge(p)
	if slices.Equal(before, p.charges) {
		return nil
	}
	return freed
}

// charge counts what the pod takes, where it is.
func (a *Account) charge(p *pod) {
	if a.stale || a.lent(p) {
		return
	}
	p.shaped = p.requests
	a.shape(p.shaped, 1)
	node, nominated := p.node()
	labels, known := a.nodes[node]
	tenant := a.spaces[p.namespace].tenant
	if !known || tenant == nil {
		return
	}
	for _, r := range p.requests {
		if f := tenant.Flavor(r.Resource, labels); f >= 0 {
			p.charges = append(p.charges, charge{tenant, tenant.Pool(f), tenant.Cost(f, r.Units), nominated, p.priority})
		}
	}
	a.add(p.charges, 1)
}

// lent reports whether a loan has what the pod takes: there is one under one of the
// pod's keys, made for as many units as the pod has where it is.
func (a *Account) lent(p *pod) bool {
	node, _ := p.node()
	for _, r := range p.jobs {
		for uid := range a.jobs[r] {
			if a.loans[uid].covers(p.requests, node) {
				return true
			}
		}
	}
	return false
}

func (a *Account) uncharge(charges []charge) (freed []string) {
	a.add(charges, -1)
	if len(charges) == 0 {
		return nil
	}
	return []string{charges[0].tenant.Name}
}

func (a *Account) add(charges []charge, sign int64) {
	for _, c := range charges {
		s := a.used[c.tenant.Name]
		if s == nil {
			s = &sheet{firm: make(Use, len(c.tenant.pools)), nominated: map[int32]Use{}}
			a.used[c.tenant.Name] = s
		}
		use := s.firm
		if c.nominated {
			if s.nominated[c.priority] == nil {
				s.nominated[c.priority] = make(Use, len(c.tenant.pools))
			}
			use = s.nominated[c.priority]
		}
		use[c.pool] = use[c.pool].Plus(sign, c.amount)
	}
}

func (a *Account) shape(requests []book.Request, count int64) {
	for _, r := range requests {
		sizes := a.shapes[r.Resource]
		if sizes == nil {
			sizes = map[int64]int64{}
			a.shapes[r.Resource] = sizes
		}
		if sizes[r.Units] += count; sizes[r.Units] == 0 {
			delete(sizes, r.Units)
		}
	}
}

func (a *Account) unshape(p *pod) {
	a.shape(p.shaped, -1)
	p.shaped = nil
}
