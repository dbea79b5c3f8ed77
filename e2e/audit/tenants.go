package audit

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	ebbtidev1 "github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// tenants is who was promised what, as far as the audit needs it.
type tenants struct {
	namespaces map[string]labels.Set
	quotas     map[string]promise
}

// promise is a tenant's namespaces, and its nominal quota over all flavors of the
// audited resource.
type promise struct {
	selector labels.Selector
	nominal  int64
}

func newTenants() tenants {
	return tenants{namespaces: map[string]labels.Set{}, quotas: map[string]promise{}}
}

func (t *tenants) applyNamespace(obj *corev1.Namespace, deleted bool) {
	if deleted {
		delete(t.namespaces, obj.Name)
		return
	}
	t.namespaces[obj.Name] = obj.Labels
}

func (t *tenants) applyQuota(obj *ebbtidev1.TenantQuota, resource corev1.ResourceName, deleted bool) {
	selector, err := metav1.LabelSelectorAsSelector(obj.Spec.Namespaces)
	if deleted || err != nil || obj.Spec.Namespaces == nil {
		delete(t.quotas, obj.Name)
		return
	}
	p := promise{selector: selector}
	for _, f := range obj.Spec.Flavors {
		switch {
		case f.Resource != string(resource):
		case f.SliceOf == "":
			p.nominal += f.Nominal
		default:
			p.nominal += slicesOf(obj, f)
		}
	}
	t.quotas[obj.Name] = p
}

// gpuCompute is how many compute slices a GPU has.
const gpuCompute = 7

// slicesOf is how many slices a promise of whole GPUs comes to at most.
func slicesOf(obj *ebbtidev1.TenantQuota, slice ebbtidev1.FlavorQuota) int64 {
	n := int64(0)
	for _, f := range obj.Spec.Flavors {
		if f.Name == slice.SliceOf && slice.Slices != nil && slice.Slices.Compute > 0 {
			n += f.Nominal * gpuCompute / slice.Slices.Compute
		}
	}
	return n
}

// of is the one tenant that a namespace belongs to; empty if there is none.
func (t *tenants) of(namespace string) string {
	found := ""
	for name, p := range t.quotas {
		if known, ok := t.namespaces[namespace]; ok && p.selector.Matches(known) {
			if found != "" {
				return ""
			}
			found = name
		}
	}
	return found
}

// heldByTenant is what each tenant holds of its own; empty is no tenant.
func (c *cluster) heldByTenant() map[string]int64 {
	held := map[string]int64{}
	for _, p := range c.pods {
		if p.holds() && c.byJob[p.job] == nil && !p.terminating {
			held[c.tenants.of(p.namespace)] += p.units
		}
	}
	for _, l := range c.loans {
		held[l.borrower] += l.units - l.lent
	}
	return held
}

// promised reports whether the pod's tenant has quota left for it, as far as quotas
// are known.
func (c *cluster) promised(p *pod) bool {
	if len(c.tenants.quotas) == 0 {
		return true
	}
	tenant := c.tenants.of(p.namespace)
	q, known := c.tenants.quotas[tenant]
	return known && c.heldByTenant()[tenant]+p.units <= q.nominal
}

// overQuota finds tenants that hold more of their own than they were promised: what
// their pods hold outside loans, and what loans grant of their own quota.
func (a *auditor) overQuota(now time.Time) {
	c := &a.cluster
	if len(c.tenants.quotas) == 0 {
		return
	}
	held := c.heldByTenant()
	for _, tenant := range slices.Sorted(maps.Keys(held)) {
		p, known := c.tenants.quotas[tenant]
		over := held[tenant] > p.nominal || !known
		switch {
		case !lasts(a.greedy, tenant, over, now, a.opts.Settle):
		case known:
			a.violate(9, now, "tenant %s holds %d units outside what it borrows and was promised %d, for more than %s", tenant, held[tenant], p.nominal, a.opts.Settle)
		default:
			a.violate(9, now, "pods in namespaces of no tenant hold %d units for more than %s", held[tenant], a.opts.Settle)
		}
	}
}
