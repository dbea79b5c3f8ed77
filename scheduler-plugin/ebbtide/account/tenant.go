package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// whole is a whole GPU. Units that have no slices are counted the same way, which
// changes nothing.
var whole = Slices{int64(quota.ComputeSlices), int64(quota.MemorySlices)}

// Slices is an amount of one pool: compute and memory slices.
type Slices struct{ Compute, Memory int64 }

// Plus returns s and n times t.
func (s Slices) Plus(n int64, t Slices) Slices {
	return Slices{s.Compute + n*t.Compute, s.Memory + n*t.Memory}
}

// Tenant is a TenantQuota, read once. It never changes.
type Tenant struct {
	Name string
	// MaxPriorityClass is the highest class that its pods may use.
	MaxPriorityClass string

	selector labels.Selector
	flavors  []flavor // by name
	pools    []pool
}

type flavor struct {
	name     string
	resource corev1.ResourceName
	selector []label
	pool     int
	unit     Slices // what one unit takes of the pool
}

type label struct{ key, value string }

// pool is what a flavor and its slices draw on.
type pool struct {
	name    string
	nominal Slices
	cut     bool // some flavor is a slice of it
}

// Read reads a quota. A selector that cannot be read selects nothing; a flavor
// that is a slice of none of the others has a pool of its own.
func Read(q *v1alpha1.TenantQuota) *Tenant {
	t := &Tenant{Name: q.Name, MaxPriorityClass: q.Spec.MaxPriorityClass, selector: labels.Nothing()}
	if t.MaxPriorityClass == "" {
		t.MaxPriorityClass = v1alpha1.PriorityClassOnline
	}
	if selector, err := metav1.LabelSelectorAsSelector(q.Spec.Namespaces); err == nil {
		t.selector = selector
	}
	sorted := slices.Clone(q.Spec.Flavors)
	slices.SortStableFunc(sorted, func(a, b v1alpha1.FlavorQuota) int { return strings.Compare(a.Name, b.Name) })
	wholes := map[string]int{}
	for _, f := range sorted {
		if f.SliceOf == "" {
			wholes[f.Name] = t.addPool(f)
		}
	}
	for _, f := range sorted {
		t.addFlavor(f, wholes)
	}
	return t
}

func (t *Tenant) addPool(f v1alpha1.FlavorQuota) int {
	t.pools = append(t.pools, pool{name: f.Name, nominal: Slices{}.Plus(f.Nominal, whole)})
	return len(t.pools) - 1
}

func (t *Tenant) addFlavor(f v1alpha1.FlavorQuota, wholes map[string]int) {
	own := flavor{name: f.Name, resource: corev1.ResourceName(f.Resource), unit: whole}
	for _, key := range slices.Sorted(maps.Keys(f.NodeSelector)) {
		own.selector = append(own.selector, label{key, f.NodeSelector[key]})
	}
	at, found := wholes[f.Name]
	if f.SliceOf != "" {
		at, found = wholes[f.SliceOf]
	}
	switch {
	case !found:
		at = t.addPool(f)
	case f.SliceOf != "" && f.Slices != nil:
		t.pools[at].cut = true
		own.unit = Slices{max(f.Slices.Compute, 1), max(f.Slices.Memory, 1)}
	}
	own.pool = at
	t.flavors = append(t.flavors, own)
}

// Flavor returns the index of the flavor that units of a resource are of on a node
// with such labels, or -1. Where two flavors match, the first by name holds.
func (t *Tenant) Flavor(resource corev1.ResourceName, node map[string]string) int {
	for i := range t.flavors {
		if t.flavors[i].resource == resource && t.flavors[i].matches(node) {
			return i
		}
	}
	return -1
}

func (f *flavor) matches(node map[string]string) bool {
	for _, l := range f.selector {
		if value, ok := node[l.key]; !ok || value != l.value {
			return false
		}
	}
	return true
}

// Flavors returns the indexes of the flavors that count a resource, by name.
func (t *Tenant) Flavors(resource corev1.ResourceName) []int {
	var out []int
	for i := range t.flavors {
		if t.flavors[i].resource == resource {
			out = append(out, i)
		}
	}
	return out
}

// Counts reports whether any flavor counts the resource.
func (t *Tenant) Counts(resource corev1.ResourceName) bool {
	return slices.ContainsFunc(t.flavors, func(f flavor) bool { return f.resource == resource })
}

// Describe says how full the flavor is.
func (t *Tenant) Describe(flavor int, use Use) string {
	p := &t.pools[t.flavors[flavor].pool]
	used := use[t.flavors[flavor].pool]
	if !p.cut {
		return fmt.Sprintf("%d of %d units of flavor %s are used", used.Compute/whole.Compute, p.nominal.Compute/whole.Compute, t.flavors[flavor].name)
	}
	return fmt.Sprintf("%d of %d compute slices and %d of %d memory slices of flavor %s are used",
		used.Compute, p.nominal.Compute, used.Memory, p.nominal.Memory, p.name)
}

// FlavorName returns the name of a flavor.
func (t *Tenant) FlavorName(flavor int) string { return t.flavors[flavor].name }

// Pool returns what the flavor draws on: an index into a Use.
func (t *Tenant) Pool(flavor int) int { return t.flavors[flavor].pool }

// Cost returns what units of the flavor take of its pool.
func (t *Tenant) Cost(flavor int, units int64) Slices {
	return Slices{}.Plus(units, t.flavors[flavor].unit)
}

// Use is what of each of a tenant's pools is used.
type Use []Slices

// Left returns how many more units of the flavor the tenant may use; never
// negative.
func (t *Tenant) Left(flavor int, use Use) int64 {
	f := &t.flavors[flavor]
	nominal, used := t.pools[f.pool].nominal, use[f.pool]
	return max(0, min((nominal.Compute-used.Compute)/f.unit.Compute, (nominal.Memory-used.Memory)/f.unit.Memory))
}

// Plus returns u and n times v.
func (u Use) Plus(n int64, v Use) Use {
	out := make(Use, len(u))
	for i := range u {
		out[i] = u[i].Plus(n, v[i])
	}
	return out
}

// Fits reports whether the need stays within the nominal quota on top of the use.
// Pools of which nothing is needed do not matter.
func (t *Tenant) Fits(need, use Use) bool {
	for i, n := range need {
		if n != (Slices{}) && (use[i].Compute+n.Compute > t.pools[i].nominal.Compute || use[i].Memory+n.Memory > t.pools[i].nominal.Memory) {
			return false
		}
	}
	return true
}

// Nothing returns a use of nothing.
func (t *Tenant) Nothing() Use { return make(Use, len(t.pools)) }

// tenancy answers to which tenant a namespace belongs.
type tenancy struct {
	tenant  *Tenant
	refusal error
}

// tenancyOf returns the one tenant that selects the namespace. A namespace that
// two select belongs to neither. tenants are sorted by name.
func tenancyOf(namespace string, set labels.Set, tenants []*Tenant) tenancy {
	var found []*Tenant
	for _, t := range tenants {
		if t.selector.Matches(set) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return tenancy{refusal: book.Refuse("namespace %s belongs to no tenant: no TenantQuota selects it", namespace)}
	case 1:
		return tenancy{tenant: found[0]}
	}
	names := make([]string, len(found))
	for i, t := range found {
		names[i] = t.Name
	}
	return tenancy{refusal: book.Refuse("namespace %s belongs to no tenant: the TenantQuotas %s all select it", namespace, strings.Join(names, ", "))}
}
