package gather

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Reasons of a TenantQuota that is not accepted as it stands.
const (
	reasonNamespaceOverlap = "NamespaceOverlap"
	reasonFlavorConflict   = "FlavorConflict"
	reasonBadSelector      = "InvalidSelector"
)

// tenancy is who owns which namespace, and which flavors there are.
type tenancy struct {
	tenants []lend.Tenant
	flavors map[string]*Flavor
	// own are the flavors of each tenant's quota.
	own map[string][]*Flavor
	// ofNamespace has no entry for a namespace of no tenant, or of two.
	ofNamespace map[string]string
	problems    map[string]*lend.Problem
	// highest is the highest PriorityClass that each tenant's pods may use.
	highest map[string]string
}

// newTenancy resolves the quotas, which it sorts by name.
func newTenancy(quotas []v1alpha1.TenantQuota, namespaces []corev1.Namespace) *tenancy {
	t := &tenancy{
		flavors: map[string]*Flavor{}, own: map[string][]*Flavor{},
		ofNamespace: map[string]string{}, problems: map[string]*lend.Problem{}, highest: map[string]string{},
	}
	slices.SortFunc(quotas, func(a, b v1alpha1.TenantQuota) int { return cmp.Compare(a.Name, b.Name) })
	owner := map[string]string{} // flavor → the first TenantQuota that defined it
	for i := range quotas {
		t.add(&quotas[i], owner)
	}
	t.assign(quotas, namespaces)
	return t
}

// problem keeps a tenant's first problem.
func (t *tenancy) problem(tenant, reason, format string, args ...any) {
	if t.problems[tenant] == nil {
		t.problems[tenant] = &lend.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// add takes over a tenant's quotas. A flavor that an earlier TenantQuota defines
// otherwise is left out: it would count other units under the same name.
func (t *tenancy) add(q *v1alpha1.TenantQuota, owner map[string]string) {
	tenant := lend.Tenant{Name: q.Name, Cohort: q.Spec.Cohort}
	t.highest[q.Name] = q.Spec.MaxPriorityClass
	for i := range q.Spec.Flavors {
		f := &q.Spec.Flavors[i]
		known := t.flavors[f.Name]
		if known != nil && !known.sameAs(f) {
			t.problem(q.Name, reasonFlavorConflict,
				"spec.flavors[%d]: flavor %s has another resource or nodeSelector in TenantQuota %s", i, f.Name, owner[f.Name])
			continue
		}
		if known == nil {
			known = &Flavor{Name: f.Name, Resource: corev1.ResourceName(f.Resource), NodeSelector: f.NodeSelector}
			t.flavors[f.Name], owner[f.Name] = known, q.Name
		}
		t.own[q.Name] = append(t.own[q.Name], known)
		tenant.Quotas = append(tenant.Quotas, lend.Quota{
			Flavor: f.Name, Nominal: f.Nominal, BorrowingLimit: f.BorrowingLimit, LendingLimit: f.LendingLimit,
		})
	}
	slices.SortFunc(tenant.Quotas, func(a, b lend.Quota) int { return cmp.Compare(a.Flavor, b.Flavor) })
	slices.SortFunc(t.own[q.Name], func(a, b *Flavor) int { return cmp.Compare(a.Name, b.Name) })
	t.tenants = append(t.tenants, tenant)
}

// assign gives each namespace to the one tenant that selects it.
func (t *tenancy) assign(quotas []v1alpha1.TenantQuota, namespaces []corev1.Namespace) {
	selectors := make([]labels.Selector, len(quotas))
	for i := range quotas {
		selector, err := metav1.LabelSelectorAsSelector(quotas[i].Spec.Namespaces)
		if err != nil {
			t.problem(quotas[i].Name, reasonBadSelector, "spec.namespaces: %v", err)
			selector = labels.Nothing()
		}
		selectors[i] = selector
	}
	for i := range namespaces {
		var chosen []string
		for j, s := range selectors {
			if s.Matches(labels.Set(namespaces[i].Labels)) {
				chosen = append(chosen, quotas[j].Name)
			}
		}
		if len(chosen) == 1 {
			t.ofNamespace[namespaces[i].Name] = chosen[0]
			continue
		}
		for _, name := range chosen {
			t.problem(name, reasonNamespaceOverlap,
				"spec.namespaces: namespace %s is selected by %d TenantQuotas and belongs to none of them", namespaces[i].Name, len(chosen))
		}
	}
}
