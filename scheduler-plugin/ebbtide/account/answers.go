package account

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// rlock locks for reading, when everything is counted.
func (a *Account) rlock() {
	for {
		a.mu.RLock()
		if !a.stale {
			return
		}
		a.mu.RUnlock()
		a.mu.Lock()
		if a.stale {
			a.rebuild()
		}
		a.mu.Unlock()
	}
}

// Tenant returns the one tenant that the namespace belongs to. The error is a
// *book.Refusal.
func (a *Account) Tenant(namespace string) (*Tenant, error) {
	a.rlock()
	defer a.mu.RUnlock()
	s, known := a.spaces[namespace]
	if !known {
		return nil, book.Refuse("namespace %s is not known yet", namespace)
	}
	return s.tenant, s.refusal
}

// Resources returns every resource that a flavor counts or a loan lends; never one
// that every pod asks for, like cpu. It is not to be written to.
func (a *Account) Resources() map[corev1.ResourceName]bool { return *a.resources.Load() }

// HasFlavor reports whether units of the resource on the node are of any of the
// tenant's flavors. Of a node that is not known they are not.
func (a *Account) HasFlavor(t *Tenant, resource corev1.ResourceName, node string) bool {
	a.rlock()
	defer a.mu.RUnlock()
	labels, known := a.nodes[node]
	return known && t.Flavor(resource, labels) >= 0
}

// Used returns what counts against a pod that the tenant would place: all that is
// bound or assumed, what is nominated with at least the pod's priority, and what is
// on its own quota by loan. The pod itself does not count. The caller owns the
// result. It is nil when the tenant's quota changed since the tenant was read: what
// is used of other pools says nothing about these, and the caller reads it anew.
func (a *Account) Used(t *Tenant, uid types.UID, priority int32) Use {
	a.rlock()
	defer a.mu.RUnlock()
	if a.tenants[t.Name] != t {
		return nil
	}
	out := make(Use, len(t.pools))
	s := a.used[t.Name]
	if s == nil {
		return out
	}
	copy(out, s.firm)
	for level, use := range s.nominated {
		if level >= priority {
			for i := range use {
				out[i] = out[i].Plus(1, use[i])
			}
		}
	}
	if self := a.pods[uid]; self != nil {
		for _, c := range self.charges {
			if c.tenant == t && (!c.nominated || c.priority >= priority) {
				out[c.pool] = out[c.pool].Plus(-1, c.amount)
			}
		}
	}
	return out
}

// Counts reports whether the pod is in what Used returns for pods of the priority.
func (a *Account) Counts(uid types.UID, priority int32) bool {
	a.rlock()
	defer a.mu.RUnlock()
	p := a.pods[uid]
	return p != nil && slices.ContainsFunc(p.charges, func(c charge) bool { return !c.nominated || c.priority >= priority })
}

// OnLoan reports whether a loan was made for the job that the pod is of, as far as is
// known.
func (a *Account) OnLoan(p *corev1.Pod) bool {
	if !book.Queued(p) {
		return false
	}
	keys, _ := a.chains.Keys(p)
	a.rlock()
	defer a.mu.RUnlock()
	return slices.ContainsFunc(keys, func(key lineage.Key) bool { return len(a.jobs[jobRef(p.Namespace, key)]) > 0 })
}

// LoansOn returns how many loans that are not returned hold units on the node.
func (a *Account) LoansOn(node string) int {
	a.rlock()
	defer a.mu.RUnlock()
	return a.onNode[node]
}

// Held is a pod that uses its tenant's nominal quota on a node.
type Held struct {
	Namespace, Name string
	UID             types.UID
	Takes           Use
}

// Holders returns, by UID, the tenant's pods that are bound and count and may matter
// to a pod of the given priority that wants their units: those of a lower priority,
// those on their way out, those of groups, and those also named.
func (a *Account) Holders(t *Tenant, priority int32, also map[types.UID]bool) []Held {
	a.rlock()
	defer a.mu.RUnlock()
	var out []Held
	for uid, p := range a.pods {
		matters := p.priority < priority || p.leaving || p.grouped || also[uid]
		if matters && p.bound != "" && len(p.charges) > 0 && p.charges[0].tenant == t {
			out = append(out, Held{p.namespace, p.name, uid, takes(t, p.charges)})
		}
	}
	slices.SortFunc(out, func(x, y Held) int { return strings.Compare(string(x.UID), string(y.UID)) })
	return out
}

// TakenBy returns what the loan holds of the tenant's own quota; nil if nothing.
func (a *Account) TakenBy(t *Tenant, loan types.UID) Use {
	a.rlock()
	defer a.mu.RUnlock()
	if l := a.loans[loan]; l != nil && len(l.charges) > 0 && l.charges[0].tenant == t {
		return takes(t, l.charges)
	}
	return nil
}

func takes(t *Tenant, charges []charge) Use {
	out := make(Use, len(t.pools))
	for _, c := range charges {
		out[c.pool] = out[c.pool].Plus(1, c.amount)
	}
	return out
}

// Shape is how many pods ask for so many units.
type Shape struct{ Units, Count int64 }

// Shapes returns the sizes that pods and loans ask for of the resource, smallest
// first.
func (a *Account) Shapes(resource corev1.ResourceName) []Shape {
	a.rlock()
	defer a.mu.RUnlock()
	out := make([]Shape, 0, len(a.shapes[resource]))
	for units, count := range a.shapes[resource] {
		out = append(out, Shape{units, count})
	}
	slices.SortFunc(out, func(x, y Shape) int { return int(x.Units - y.Units) })
	return out
}
