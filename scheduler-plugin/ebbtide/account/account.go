// Package account keeps count of what each tenant uses of its nominal quota, by
// event: what one pod costs to look up does not depend on how many there are.
//
// It counts the pods of the tenant's namespaces that are not on a loan (those of which
// that is not known yet included), where they are bound, else assumed, else nominated, and the units that its loans hold on its
// own quota until they are returned. A pod on a node that is of none of the
// tenant's flavors counts nowhere. What is counted is always what a recount of the
// same facts finds, whatever the order they came in.
//
// The API is where the facts come from, so that nothing is lost with the process;
// only assumed pods and fresh nominations are known here before they are there.
// An Account is safe for concurrent use.
package account

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// Account is the running count. Make it with New.
type Account struct {
	resources atomic.Pointer[map[corev1.ResourceName]bool]
	chains    *lineage.Lineage

	mu      sync.RWMutex
	quotas  map[string]*v1alpha1.TenantQuota
	tenants map[string]*Tenant
	spaces  map[string]space
	nodes   map[string]map[string]string
	loans   map[types.UID]*loan
	jobs    map[ref]map[types.UID]bool // loans by what their pods look for them under
	pods    map[types.UID]*pod
	refs    map[ref]map[types.UID]*pod
	used    map[string]*sheet
	shapes  map[corev1.ResourceName]map[int64]int64
	onNode  map[string]int // loans by node
	// stale: a quota changed, and nothing is charged until all is counted anew.
	stale bool
}

type space struct {
	labels labels.Set
	tenancy
}

// ref names what decides about a pod's charges.
type ref struct{ kind, key string }

const (
	ofSpace = "namespace"
	ofNode  = "node"
	ofJob   = "job"
)

func jobRef(namespace string, job lineage.Key) ref { return ref{ofJob, namespace + "/" + string(job)} }

// sheet is what one tenant uses.
type sheet struct {
	firm      Use
	nominated map[int32]Use // by priority
}

// New returns an empty account. chains knows whose pod a pod is; where it learns more,
// Retrace is to be called.
func New(chains *lineage.Lineage) *Account {
	a := &Account{
		chains:  chains,
		quotas:  map[string]*v1alpha1.TenantQuota{},
		tenants: map[string]*Tenant{},
		spaces:  map[string]space{},
		nodes:   map[string]map[string]string{},
		loans:   map[types.UID]*loan{},
		jobs:    map[ref]map[types.UID]bool{},
		pods:    map[types.UID]*pod{},
		refs:    map[ref]map[types.UID]*pod{},
		used:    map[string]*sheet{},
		shapes:  map[corev1.ResourceName]map[int64]int64{},
		onNode:  map[string]int{},
	}
	a.resources.Store(&map[corev1.ResourceName]bool{})
	return a
}

// SetQuota notes a quota's present state.
func (a *Account) SetQuota(q *v1alpha1.TenantQuota) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.quotas[q.Name]; old != nil && old.UID == q.UID && old.Generation == q.Generation && q.Generation > 0 {
		return // only its status changed
	}
	a.quotas[q.Name], a.tenants[q.Name], a.stale = q, Read(q), true
	a.rereadResources()
}

// DropQuota forgets a quota.
func (a *Account) DropQuota(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.quotas, name)
	delete(a.tenants, name)
	a.stale = true
	a.rereadResources()
}

// rebuild counts everything anew: the tenants changed. At the start they all come
// at once, and are counted once.
func (a *Account) rebuild() {
	a.used, a.stale = map[string]*sheet{}, false
	sorted := a.sortedTenants()
	for name, s := range a.spaces {
		s.tenancy = tenancyOf(name, s.labels, sorted)
		a.spaces[name] = s
	}
	for _, p := range a.pods {
		a.unshape(p)
		p.charges = nil
		a.charge(p)
	}
	for _, l := range a.loans {
		l.charges = nil
		a.chargeLoan(l)
	}
}

func (a *Account) sortedTenants() []*Tenant {
	return slices.SortedFunc(maps.Values(a.tenants), func(x, y *Tenant) int { return strings.Compare(x.Name, y.Name) })
}

// SetNamespace notes a namespace's present labels. It returns the tenants of which
// something came free.
func (a *Account) SetNamespace(ns *corev1.Namespace) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, known := a.spaces[ns.Name]; known && maps.Equal(old.labels, labels.Set(ns.Labels)) {
		return nil
	}
	now := space{labels: maps.Clone(labels.Set(ns.Labels))}
	if !a.stale {
		now.tenancy = tenancyOf(ns.Name, now.labels, a.sortedTenants())
	}
	a.spaces[ns.Name] = now
	return a.rechargeAll(ref{ofSpace, ns.Name})
}

// DropNamespace forgets a namespace.
func (a *Account) DropNamespace(name string) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.spaces, name)
	return a.rechargeAll(ref{ofSpace, name})
}

// SetNode notes a node's present labels.
func (a *Account) SetNode(node *corev1.Node) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, known := a.nodes[node.Name]; known && maps.Equal(old, node.Labels) {
		return nil
	}
	a.nodes[node.Name] = maps.Clone(node.Labels)
	return a.rechargeAll(ref{ofNode, node.Name})
}

// DropNode forgets a node.
func (a *Account) DropNode(name string) (freed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.nodes, name)
	return a.rechargeAll(ref{ofNode, name})
}

func (a *Account) rechargeAll(r ref) (freed []string) {
	for _, p := range a.refs[r] {
		freed = append(freed, a.recharge(p)...)
	}
	slices.Sort(freed)
	return slices.Compact(freed)
}

func (a *Account) rereadResources() {
	out := map[corev1.ResourceName]bool{}
	for _, q := range a.quotas {
		for i := range q.Spec.Flavors {
			out[corev1.ResourceName(q.Spec.Flavors[i].Resource)] = true
		}
	}
	for _, l := range a.loans {
		out[l.resource] = true
	}
	maps.DeleteFunc(out, func(name corev1.ResourceName, _ bool) bool { return book.Ordinary(name) })
	a.resources.Store(&out)
}
