package gather

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// comes counts a pod without a node that is neither a lender's nor within a loan. The
// scheduler will place it within its tenant's nominal quota, and may have made room for
// it: what was freed for it is not lent to others, and its quota is not given to jobs.
func (c *count) comes(pod *corev1.Pod) {
	tenant := c.tenants.ofNamespace[pod.Namespace]
	if tenant == "" || pod.DeletionTimestamp != nil || pod.Spec.SchedulerName != v1alpha1.SchedulerName ||
		len(pod.Spec.SchedulingGates) > 0 || pod.Labels[v1alpha1.LabelQueue] != "" {
		return
	}
	if node := pod.Status.NominatedNodeName; node != "" {
		for resource, flavor := range c.flavors.nodes[node] {
			if n := jobs.UnitsOf(&pod.Spec, resource); n > 0 {
				c.units[place{node, flavor}].Promised += n
				c.use(c.waits, pod.Namespace, map[string]int64{flavor: n})
			}
		}
		return
	}
	// One that could be of several flavors, or of nodes that there are not, is not counted.
	flavor, _ := onlyFlavor(&corev1.PodTemplateSpec{Spec: pod.Spec}, c.tenants.own[tenant])
	if flavor == nil || !placeable(pod, c.targets[flavor.Name]) {
		return
	}
	if n := jobs.UnitsOf(&pod.Spec, flavor.Resource); n <= c.nominal[[2]string{tenant, flavor.Name}] {
		c.use(c.waits, pod.Namespace, map[string]int64{flavor.Name: n})
	}
}

// left is what of the tenant's nominal quota its services, its jobs and its other pods
// leave. Pods that wait for more than that do not count: they may wait for ever.
func (c *count) left(tenant string, q *lend.Quota) int64 {
	return max(q.Nominal-c.spoken[[2]string{tenant, q.Flavor}]-c.outside[tenant][q.Flavor], 0)
}

// spokenFor is what services own and jobs hold of each tenant's own quota, by tenant
// and flavor.
func spokenFor(lenders []*lender, loans []*loan) map[[2]string]int64 {
	spoken := map[[2]string]int64{}
	for _, l := range lenders {
		spoken[[2]string{l.Tenant, l.Flavor}] += l.Owned
	}
	for _, l := range loans {
		for _, g := range l.Grants {
			if g.Lender == "" {
				spoken[[2]string{l.Borrower, g.Flavor}] += g.Count
			}
		}
	}
	return spoken
}

// nominals are the nominal quotas, by tenant and flavor.
func nominals(tenants []lend.Tenant) map[[2]string]int64 {
	all := map[[2]string]int64{}
	for i := range tenants {
		for _, q := range tenants[i].Quotas {
			all[[2]string{tenants[i].Name, q.Flavor}] = q.Nominal
		}
	}
	return all
}
