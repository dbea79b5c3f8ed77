package laws

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
)

// lentOf is what open loans hold of a lender.
func (w *World) lentOf(lender string) (n int64) {
	for _, l := range w.loans {
		if !l.open() {
			continue
		}
		for _, g := range l.held {
			if g.Lender == lender {
				n += g.Count
			}
		}
	}
	return n
}

// reshaped tells whether slices of a lender are made into others for loans, which are then
// counted by what they were.
func (w *World) reshaped(lender string) bool {
	for _, n := range w.gpuNodes {
		if slices.ContainsFunc(n.Spec.Reshapes, func(r v1alpha1.Reshape) bool { return r.Lender == lender }) {
			return true
		}
	}
	return false
}

// counting tells whether a lender is a LendingPolicy that has counted since before any of the
// loans against it.
func (w *World) counting(lender string) *v1alpha1.LendingPolicy {
	p := w.policies[lender]
	if p == nil || w.reshaped(lender) {
		return nil
	}
	for _, l := range w.loans {
		made := l.object.CreationTimestamp
		if l.open() && made.Before(&p.CreationTimestamp) && slices.ContainsFunc(l.held, func(g v1alpha1.Grant) bool { return g.Lender == lender }) {
			return nil
		}
	}
	return p
}

func (w *World) judgeLenders(l *loan, e history.Event) {
	seen := map[string]bool{}
	for _, g := range l.object.Spec.Grants {
		if !seen[g.Lender] {
			seen[g.Lender] = true
			w.judgeLent(g.Lender, e)
		}
	}
}

// judgeLent compares what a lender says with what is lent, once until it is right again.
func (w *World) judgeLent(lender string, e history.Event) {
	p := w.counting(lender)
	if p == nil || e.Unseen {
		return
	}
	lent := w.lentOf(lender)
	short := p.Status.Lent < lent
	if short && !w.short[lender] && e.Revision >= w.revision && !e.Initial {
		w.broken(Lent, e, "lender %s says that it lends %d, and open loans hold %d of it", lender, p.Status.Lent, lent)
	}
	w.short[lender] = short
}

// quota is what a tenant was promised, by flavor.
type quota struct {
	object   *v1alpha1.TenantQuota
	selector labels.Selector
	// nominal, and all with what may be borrowed; unlimited without a limit.
	nominal, all map[string]*levels
}

const unlimited = int64(1) << 60

func (w *World) applyQuota(o *v1alpha1.TenantQuota, e history.Event) {
	q := w.quotas[o.Name]
	if q == nil {
		q = &quota{nominal: map[string]*levels{}, all: map[string]*levels{}}
		w.quotas[o.Name] = q
	}
	q.object, q.selector = o, labels.Nothing()
	if o.Spec.Namespaces != nil {
		if s, err := metav1.LabelSelectorAsSelector(o.Spec.Namespaces); err == nil {
			q.selector = s
		}
	}
	now := map[string][2]int64{}
	if e.Deleted {
		q.object, q.selector = nil, labels.Nothing()
	} else {
		for _, f := range o.Spec.Flavors {
			limit := unlimited
			if f.BorrowingLimit != nil {
				limit = f.Nominal + *f.BorrowingLimit
			}
			now[f.Name] = [2]int64{f.Nominal, limit}
		}
	}
	for flavor := range now {
		if q.nominal[flavor] == nil {
			q.nominal[flavor], q.all[flavor] = &levels{}, &levels{}
		}
	}
	for flavor := range q.nominal {
		q.nominal[flavor].set(now[flavor][0], e.At)
		q.all[flavor].set(now[flavor][1], e.At)
	}
}

// sliced tells whether a flavor counts against another's quota, or another against its.
func (q *quota) sliced(flavor string) bool {
	return q.object != nil && slices.ContainsFunc(q.object.Spec.Flavors, func(f v1alpha1.FlavorQuota) bool {
		return f.SliceOf == flavor || f.Name == flavor && f.SliceOf != ""
	})
}

// judgeQuota looks at what the tenant of a new loan has with it.
func (w *World) judgeQuota(l *loan, e history.Event) {
	tenant := l.object.Spec.Borrower
	q := w.quotas[tenant]
	if q == nil {
		w.broken(Quota, e, "loan %s is of tenant %s, which has no quota", l.name, tenant)
		return
	}
	own, all := map[string]int64{}, map[string]int64{}
	for _, other := range w.loans {
		if !other.open() || other.object.Spec.Borrower != tenant {
			continue
		}
		for _, g := range other.held {
			all[g.Flavor] += g.Count
			if g.Lender == "" {
				own[g.Flavor] += g.Count
			}
		}
	}
	taken := map[string]bool{}
	for _, g := range l.held {
		taken[g.Flavor] = true
	}
	then := e.At.Add(-Lag)
	for _, flavor := range slices.Sorted(maps.Keys(taken)) {
		nominal, limit := q.nominal[flavor], q.all[flavor]
		switch {
		case q.sliced(flavor):
		case nominal == nil:
			w.broken(Quota, e, "loan %s is of flavor %s, of which tenant %s was promised nothing", l.name, flavor, tenant)
		case own[flavor] > nominal.most(then):
			w.broken(Quota, e, "with loan %s the loans of tenant %s hold %d of its own %s, and it was promised %d", l.name, tenant, own[flavor], flavor, nominal.most(then))
		case all[flavor] > limit.most(then):
			w.broken(Quota, e, "with loan %s the loans of tenant %s hold %d of %s, and it may have %d", l.name, tenant, all[flavor], flavor, limit.most(then))
		}
	}
}

// tenantOf is the one tenant that a namespace belongs to, nil if there is none.
func (w *World) tenantOf(namespace string) (found *quota) {
	ns := w.namespaces[namespace]
	if ns == nil {
		return nil
	}
	for _, q := range w.quotas {
		if q.selector.Matches(labels.Set(ns.Labels)) {
			if found != nil {
				return nil
			}
			found = q
		}
	}
	return found
}

// promised tells whether a pod's tenant has quota left for it, of flavors of the resource.
func (w *World) promised(p *pod, resource string) bool {
	q := w.tenantOf(p.object.Namespace)
	if q == nil {
		return false
	}
	nominal, held := int64(0), int64(0)
	for _, f := range q.object.Spec.Flavors {
		if f.Resource == resource && f.SliceOf == "" {
			nominal += f.Nominal
		}
	}
	for _, other := range w.pods {
		if other.holds() && w.loanOf(other.job) == nil && w.tenantOf(other.object.Namespace) == q {
			held += other.units[resource]
		}
	}
	for _, l := range w.loans {
		if l.open() && l.object.Spec.Borrower == q.object.Name && l.object.Spec.Resource == resource {
			for _, g := range l.held {
				if g.Lender == "" {
					held += g.Count
				}
			}
		}
	}
	return held+p.units[resource] <= nominal
}

// selects tells whether a pod may go to a node, as far as its selector and the node's taints
// and readiness go.
func selects(p *corev1.Pod, n *corev1.Node) bool {
	if n.Spec.Unschedulable {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(p, &t) {
			return false
		}
	}
	for key, value := range p.Spec.NodeSelector {
		if n.Labels[key] != value {
			return false
		}
	}
	return true
}

func tolerated(p *corev1.Pod, t *corev1.Taint) bool {
	return slices.ContainsFunc(p.Spec.Tolerations, func(x corev1.Toleration) bool {
		return (x.Effect == "" || x.Effect == t.Effect) && (x.Key == "" || x.Key == t.Key) &&
			(x.Operator == corev1.TolerationOpExists || x.Value == t.Value) && !strings.HasPrefix(t.Key, "node.kubernetes.io/")
	})
}
