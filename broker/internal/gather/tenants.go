package gather

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Reasons of a TenantQuota that is not accepted as it stands.
const (
	reasonNamespaceOverlap = "NamespaceOverlap"
	reasonFlavorConflict   = "FlavorConflict"
	reasonBadSelector      = "InvalidSelector"
	reasonBadSlice         = "InvalidSlice"
	reasonCohortIsTenant   = "CohortIsTenant"
	// ReasonCohortCycle of a TenantQuota, and of the jobs below it.
	ReasonCohortCycle = "CohortCycle"
)

// tenancy is who owns which namespace, how tenants hang together, and which flavors
// there are.
type tenancy struct {
	tenants []lend.Tenant
	cohorts []lend.Cohort
	flavors map[string]*Flavor
	// own are the flavors of each tenant's quota.
	own map[string][]*Flavor
	// ofNamespace has no entry for a namespace of no tenant, or of two.
	ofNamespace map[string]string
	problems    map[string]*lend.Problem
	// highest is the highest PriorityClass that each tenant's pods may use.
	highest map[string]string
	// circular are the tenants below a circle of cohorts.
	circular map[string]bool
	// subtrees are the cohorts' quotas, with what is not kept home below them, by
	// cohort and flavor.
	subtrees map[string]map[string]int64
}

// newTenancy resolves the quotas, which it sorts by name.
func newTenancy(quotas []v1alpha1.TenantQuota, namespaces []corev1.Namespace) *tenancy {
	t := &tenancy{
		flavors: map[string]*Flavor{}, own: map[string][]*Flavor{}, circular: map[string]bool{},
		ofNamespace: map[string]string{}, problems: map[string]*lend.Problem{}, highest: map[string]string{},
	}
	slices.SortFunc(quotas, func(a, b v1alpha1.TenantQuota) int { return cmp.Compare(a.Name, b.Name) })
	owner := map[string]string{} // flavor → the first TenantQuota that defined it
	for i := range quotas {
		t.define(&quotas[i], owner)
	}
	isTenant := map[string]bool{}
	for i := range quotas {
		isTenant[quotas[i].Name] = quotas[i].Spec.Namespaces != nil
	}
	for i := range quotas {
		t.add(&quotas[i], owner, isTenant)
	}
	t.findCircles()
	t.sumUp()
	t.assign(quotas, namespaces)
	return t
}

// namespaces of each tenant, sorted.
func (t *tenancy) namespaces() map[string][]string {
	owned := map[string][]string{}
	for _, namespace := range slices.Sorted(maps.Keys(t.ofNamespace)) {
		tenant := t.ofNamespace[namespace]
		owned[tenant] = append(owned[tenant], namespace)
	}
	return owned
}

// problem keeps a tenant's first problem.
func (t *tenancy) problem(tenant, reason, format string, args ...any) {
	if t.problems[tenant] == nil {
		t.problems[tenant] = &lend.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// define takes over the flavors that no earlier TenantQuota has defined. A slice
// must be of a flavor that is listed beside it and is none itself, on the same nodes.
func (t *tenancy) define(q *v1alpha1.TenantQuota, owner map[string]string) {
	for i := range q.Spec.Flavors {
		f := newFlavor(&q.Spec.Flavors[i])
		if t.flavors[f.Name] != nil {
			continue
		}
		if why := badSlice(f, q.Spec.Flavors); why != "" {
			t.problem(q.Name, reasonBadSlice, "spec.flavors[%d].sliceOf: %s", i, why)
			continue
		}
		t.flavors[f.Name], owner[f.Name] = f, q.Name
	}
}

// badSlice says why a flavor cannot be a slice of what it says it is one of.
func badSlice(f *Flavor, beside []v1alpha1.FlavorQuota) string {
	if f.SliceOf == "" {
		return ""
	}
	i := slices.IndexFunc(beside, func(q v1alpha1.FlavorQuota) bool { return q.Name == f.SliceOf })
	if i < 0 {
		return fmt.Sprintf("flavor %s is not listed: a slice needs the flavor that it is a part of", f.SliceOf)
	}
	switch whole := newFlavor(&beside[i]); {
	case whole.SliceOf != "":
		return fmt.Sprintf("flavor %s is itself a slice", f.SliceOf)
	case !maps.Equal(whole.NodeSelector, f.NodeSelector):
		return fmt.Sprintf("flavor %s has another nodeSelector: a slice is on the same nodes", f.SliceOf)
	case whole.Resource == f.Resource:
		return fmt.Sprintf("flavor %s counts the same resource", f.SliceOf)
	}
	return ""
}

// add takes over a tenant's or a cohort's quotas. A flavor that an earlier
// TenantQuota defines otherwise is left out: it would count other units under the
// same name.
func (t *tenancy) add(q *v1alpha1.TenantQuota, owner map[string]string, isTenant map[string]bool) {
	above, field := q.Spec.Cohort, "spec.cohort"
	if q.Spec.Namespaces == nil {
		above, field = q.Spec.Parent, "spec.parent"
	}
	if isTenant[above] {
		t.problem(q.Name, reasonCohortIsTenant, "%s: TenantQuota %s has namespaces: it is a tenant, not a cohort", field, above)
		above = ""
	}
	quotas := t.quotas(q, owner)
	if q.Spec.Namespaces == nil {
		t.cohorts = append(t.cohorts, lend.Cohort{Name: q.Name, Parent: above, Weight: q.Spec.Weight, Quotas: quotas})
		return
	}
	t.highest[q.Name] = q.Spec.MaxPriorityClass
	t.tenants = append(t.tenants, lend.Tenant{Name: q.Name, Cohort: above, Weight: q.Spec.Weight, Quotas: quotas})
}

// quotas are those of the flavors that mean the same everywhere, by flavor.
func (t *tenancy) quotas(q *v1alpha1.TenantQuota, owner map[string]string) []lend.Quota {
	var quotas []lend.Quota
	for i := range q.Spec.Flavors {
		f := &q.Spec.Flavors[i]
		known := t.flavors[f.Name]
		if known == nil {
			continue // its definition is the problem
		}
		if field := known.differs(newFlavor(f)); field != "" {
			what := "resource or nodeSelector"
			if field == "sliceOf" || field == "slices" {
				what = "sliceOf or slices"
			}
			t.problem(q.Name, reasonFlavorConflict,
				"spec.flavors[%d]: flavor %s has another %s in TenantQuota %s", i, f.Name, what, owner[f.Name])
			continue
		}
		t.own[q.Name] = append(t.own[q.Name], known)
		quotas = append(quotas, lend.Quota{
			Flavor: f.Name, Nominal: f.Nominal, BorrowingLimit: f.BorrowingLimit, LendingLimit: f.LendingLimit,
		})
	}
	slices.SortFunc(quotas, func(a, b lend.Quota) int { return cmp.Compare(a.Flavor, b.Flavor) })
	slices.SortFunc(t.own[q.Name], func(a, b *Flavor) int { return cmp.Compare(a.Name, b.Name) })
	return quotas
}

// assign gives each namespace to the one tenant that selects it.
func (t *tenancy) assign(quotas []v1alpha1.TenantQuota, namespaces []corev1.Namespace) {
	chosen, wrong := Selected(quotas, namespaces)
	for i, err := range wrong {
		if err != nil {
			t.problem(quotas[i].Name, reasonBadSelector, "spec.namespaces: %v", err)
		}
	}
	for i, by := range chosen {
		if len(by) == 1 {
			t.ofNamespace[namespaces[i].Name] = quotas[by[0]].Name
			continue
		}
		for _, j := range by {
			t.problem(quotas[j].Name, reasonNamespaceOverlap,
				"spec.namespaces: namespace %s is selected by %d TenantQuotas and belongs to none of them", namespaces[i].Name, len(by))
		}
	}
}

// Selected are the quotas that select each namespace, which belongs to the one that does if it
// is one; all by their indexes. wrong are the quotas whose selectors cannot be read: they
// select nothing.
func Selected(quotas []v1alpha1.TenantQuota, namespaces []corev1.Namespace) (by [][]int, wrong []error) {
	selectors := make([]labels.Selector, len(quotas))
	wrong = make([]error, len(quotas))
	for i := range quotas {
		// A cohort has no selector, which selects nothing.
		selectors[i], wrong[i] = metav1.LabelSelectorAsSelector(quotas[i].Spec.Namespaces)
		if wrong[i] != nil {
			selectors[i] = labels.Nothing()
		}
	}
	by = make([][]int, len(namespaces))
	for i := range namespaces {
		for j, s := range selectors {
			if s.Matches(labels.Set(namespaces[i].Labels)) {
				by[i] = append(by[i], j)
			}
		}
	}
	return by, wrong
}

// borrowed is what each tenant borrowed lately, by flavor: whatever it had from
// lenders in other tenants' namespaces, or from its cohort. lately is by tenant and
// flavor.
func (t *tenancy) borrowed(lately []history.Borrowed) map[string][]lend.History {
	borrowed := map[string][]lend.History{}
	for _, b := range lately {
		if b.Namespace != "" && t.ofNamespace[b.Namespace] == b.Tenant {
			continue
		}
		of := borrowed[b.Tenant]
		if n := len(of); n > 0 && of[n-1].Flavor == b.Flavor {
			of[n-1].Milli += b.Milli
			continue
		}
		borrowed[b.Tenant] = append(of, lend.History{Flavor: b.Flavor, Milli: b.Milli})
	}
	return borrowed
}

// notes says of each TenantQuota which of its flavors have lost nodes to others.
func (t *tenancy) notes(table *flavorTable) map[string]string {
	notes := map[string]string{}
	for name, own := range t.own {
		for _, f := range own {
			if lost := table.overlaps[f.Name]; lost != nil && notes[name] == "" {
				notes[name] = "flavor " + f.Name + ": " + lost.String()
			}
		}
	}
	return notes
}
