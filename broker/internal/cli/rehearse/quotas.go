package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

const (
	gpuResource corev1.ResourceName = "nvidia.com/gpu"
	// everyone is the cohort of all tenants, where nothing says who is in which.
	everyone = "everyone"
	// labelTenant marks namespaces that are assumed to be a tenant's.
	labelTenant = "ebbtide.dev/rehearsed-tenant"
)

// namespaces makes those that objects name, with the label that the API server gives each.
func (b *builder) namespaces() {
	there := map[string]bool{}
	for _, n := range of[*corev1.Namespace](b.rules) {
		there[n.Name] = true
		n = n.DeepCopy()
		metav1.SetMetaDataLabel(&n.ObjectMeta, corev1.LabelMetadataName, n.Name)
		b.rules.put(n)
	}
	for _, object := range slices.Clone(b.rules.all) {
		if name := object.GetNamespace(); name != "" && !there[name] {
			there[name] = true
			b.rules.put(namespace(name, ""))
		}
	}
}

func namespace(name, tenant string) *corev1.Namespace {
	labels := map[string]string{corev1.LabelMetadataName: name}
	if tenant != "" {
		labels[labelTenant] = tenant
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// assumeQuotas gives the services' tenants what they own, by tenant and flavor, and the
// tenants with jobs the rest, each as large a part of it as of the work; what one does not
// use, others may.
func (b *builder) assumeQuotas(owned map[string]map[string]int64) error {
	work := 0.0
	for _, d := range b.demand {
		work += d.UnitHours
	}
	serving := map[string]bool{}
	for _, s := range b.services {
		serving[s.policy.Namespace] = true
	}
	shares := map[string]map[string]int64{servingNamespace: {}}
	taken := map[string]int64{}
	for tenant, units := range owned {
		shares[tenant] = maps.Clone(units)
		for flavor, n := range units {
			taken[flavor] += n
		}
	}
	for _, flavor := range b.flavors {
		pool := b.units[flavor] - taken[flavor]
		if pool < 0 {
			return fmt.Errorf("--nodes: have %d GPUs of %s, and the services own %d: more nodes, or a smaller --owned-share or spec.owned", b.units[flavor], flavor, taken[flavor])
		}
		done, given := 0.0, int64(0)
		for _, d := range b.demand {
			done += d.UnitHours
			upTo := int64(float64(pool) * done / max(work, 1e-9))
			if shares[d.Tenant] == nil {
				shares[d.Tenant] = map[string]int64{}
			}
			shares[d.Tenant][flavor] += upTo - given
			given = upTo
		}
	}
	all := everyone
	for shares[all] != nil { // a cohort is no tenant
		all += "-else"
	}
	b.rules.put(&v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: all}})
	for i, tenant := range sorted(shares) {
		label := fmt.Sprintf("t%d", i)
		q := &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: tenant}}
		q.Spec.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{labelTenant: label}}
		q.Spec.Cohort, q.Spec.Weight = all, ptr.To[int64](1)
		for _, flavor := range b.flavors {
			q.Spec.Flavors = append(q.Spec.Flavors, v1alpha1.FlavorQuota{Name: flavor, Resource: string(gpuResource), Nominal: shares[tenant][flavor]})
		}
		b.rules.put(q)
		if tenant == servingNamespace {
			for _, name := range sorted(serving) {
				b.rules.put(namespace(name, label))
			}
		}
		b.rules.put(namespace(tenant, label))
	}
	return nil
}

// tenants says whose each tenant's jobs are, and gives the queues that they go to.
func (b *builder) tenants(r *gather.Resting) (queues []lend.Queue, err error) {
	quotas := map[string]bool{}
	for _, t := range r.Tenants {
		quotas[t.Name] = true
	}
	b.jobs.tenants = map[string]string{}
	var unknown []string
	for i := range b.demand {
		name := b.demand[i].Tenant
		tenant := name
		if !quotas[name] {
			tenant = r.TenantOf[name]
		}
		if tenant == "" {
			unknown = append(unknown, name)
		}
		b.jobs.tenants[name] = tenant
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("--config: no TenantQuota is named, or selects a namespace named, %s: jobs of --jobs are theirs", some(unknown))
	}
	return b.queues(r), nil
}

// some names up to three, and how many more there are.
func some(names []string) string {
	if len(names) <= 3 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
}

// quotasTold fills in the tenants' nominal quota.
func (b *builder) quotasTold(r *gather.Resting) {
	for i := range b.demand {
		for _, t := range r.Tenants {
			if t.Name != b.jobs.tenants[b.demand[i].Tenant] {
				continue
			}
			for _, q := range t.Quotas {
				b.demand[i].Nominal += q.Nominal
			}
		}
	}
}

// named renames the only flavor of nodes that have no name for it to the only one that
// quotas know.
func named(nodes []sim.Node, quotas []*v1alpha1.TenantQuota) {
	names, _ := flavorsOf(nodes)
	known := map[string]bool{}
	for _, q := range quotas {
		for _, f := range q.Spec.Flavors {
			known[f.Name] = true
		}
	}
	if len(known) != 1 || len(names) != 1 || names[0] != gang.DefaultFlavor {
		return
	}
	for i := range nodes {
		for k := range nodes[i].Units {
			nodes[i].Units[k].Flavor = sorted(known)[0]
		}
	}
}
