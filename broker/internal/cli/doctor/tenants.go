package doctor

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// belonging is unread's, of what it takes to know whose a namespace is.
func (w *world) belonging() (Finding, bool) {
	switch {
	case w.namespaces.err != nil:
		return unread("namespaces", w.namespaces.err), false
	case w.quotas.err != nil:
		return unread("tenantquotas", w.quotas.err), false
	}
	return Finding{}, true
}

// namespaces in which services lend or pods use GPUs must belong to one tenant each.
func (c *Cluster) namespaces(context.Context) Finding {
	w := &c.seen
	if f, known := w.belonging(); !known {
		return f
	}
	used := map[string]bool{}
	for i := range w.pods.items {
		used[w.pods.items[i].Namespace] = true
	}
	for i := range w.policies.items {
		used[w.policies.items[i].Namespace] = true
	}
	var none, several []string
	all := w.tenantsOf()
	for ns := range used {
		switch tenants := all[ns]; len(tenants) {
		case 0:
			none = append(none, ns)
		case 1:
		default:
			several = append(several, fmt.Sprintf("%s (%s and %s)", ns, tenants[0].Name, tenants[1].Name))
		}
	}
	switch {
	case len(several) > 0:
		return fail("change spec.namespaces so that one TenantQuota selects each", "belong to several tenants, and so to none: %s", some(several))
	case len(none) > 0:
		return warn("label them so that a TenantQuota's spec.namespaces selects them: what they use counts for nobody, and they neither lend nor borrow", "use GPUs or lend, and belong to no tenant: %s", some(none))
	case len(used) == 0 && w.pods.err != nil:
		return unread("pods", w.pods.err)
	}
	return ok("%s with GPUs, each of one tenant", count(len(used), "namespace"))
}

// queues admit nothing where nobody was promised anything.
func (c *Cluster) queues(context.Context) Finding {
	w := &c.seen
	if w.queues.err != nil {
		return unread("trainingqueues", w.queues.err)
	}
	if f, known := w.belonging(); !known {
		return f
	}
	var without, paused []string
	all := w.tenantsOf()
	for i := range w.queues.items {
		q := &w.queues.items[i]
		name := q.Namespace + "/" + q.Name
		if tenants := all[q.Namespace]; len(tenants) != 1 || len(tenants[0].Spec.Flavors) == 0 {
			without = append(without, name)
		}
		if q.Spec.Paused || q.Spec.Drain {
			paused = append(paused, name)
		}
	}
	switch {
	case len(without) > 0:
		return fail("give their namespaces a TenantQuota with flavors: nothing is admitted from them", "in namespaces without quota: %s", some(without))
	case len(paused) > 0:
		return warn("kubectl ebbtide resume queue/NAME, or unset spec.drain, when it is time", "paused or draining: %s", some(paused))
	case len(w.queues.items) == 0:
		return warn("create a TrainingQueue in each namespace that trains: docs/tasks/quickstart.md", "there is no queue: no job can be submitted")
	}
	return ok("%s", count(len(w.queues.items), "queue"))
}

// judged sorts objects by a condition of theirs: how many it holds of, those that it does not
// hold of, with why, and those without it, at which the broker has not looked yet.
type judged struct {
	yes          int
	no, unjudged []string
}

func (j *judged) add(name string, conditions []metav1.Condition, kind string) {
	switch c := meta.FindStatusCondition(conditions, kind); {
	case c == nil:
		j.unjudged = append(j.unjudged, name)
	case c.Status == metav1.ConditionTrue:
		j.yes++
	default:
		j.no = append(j.no, fmt.Sprintf("%s: %s", name, or(c.Message, c.Reason)))
	}
}

// lenders must be accepted by the broker.
func (c *Cluster) lenders(context.Context) Finding {
	w := &c.seen
	if w.policies.err != nil {
		return unread("lendingpolicies", w.policies.err)
	}
	var accepted judged
	var held []string
	advise := 0
	for i := range w.policies.items {
		p := &w.policies.items[i]
		name := p.Namespace + "/" + p.Name
		accepted.add(name, p.Status.Conditions, v1alpha1.ConditionAccepted)
		if w.advises || p.Spec.Mode == v1alpha1.ModeAdvise {
			advise++
		}
		if p.Spec.Paused || p.Spec.Recall != nil && p.Spec.Recall.Until.After(c.now) {
			held = append(held, name)
		}
	}
	switch {
	case len(accepted.no) > 0:
		return fail("change them as they say: kubectl ebbtide explain lender/NAME", "not accepted: %s", some(accepted.no))
	case len(accepted.unjudged) > 0:
		return warn("see the check broker", "not looked at by the broker yet: %s", some(accepted.unjudged))
	case len(held) > 0:
		return warn("kubectl ebbtide resume lender/NAME, or reclaim lender/NAME --cancel, when it is time", "paused or asked back by hand: %s", some(held))
	case len(w.policies.items) == 0:
		return warn("write a LendingPolicy beside a service, with mode Advise at first: docs/tasks/quickstart.md", "no service lends")
	}
	return ok("%s accepted, %d of them only advise", count(len(w.policies.items), "lender"), advise)
}

// load must be known, or nothing more is lent.
func (c *Cluster) load(context.Context) Finding {
	w := &c.seen
	if w.policies.err != nil {
		return unread("lendingpolicies", w.policies.err)
	}
	var known judged
	for i := range w.policies.items {
		p := &w.policies.items[i]
		known.add(p.Namespace+"/"+p.Name, p.Status.Conditions, v1alpha1.ConditionSignalsKnown)
	}
	switch {
	case len(known.no) > 0 && known.yes == 0:
		return fail("see whether Prometheus answers at the address in the broker's configuration, and has the engines' metrics: docs/reference/sources.md", "no service's load is known: %s", some(known.no))
	case len(known.no) > 0:
		return warn("see these services' metrics in Prometheus: docs/reference/sources.md; nothing more is lent by them", "not known: %s", some(known.no))
	case known.yes == 0:
		return unknown("see the checks lenders and broker", "no service's load has been looked at")
	}
	return ok("known of %s", count(known.yes, "service"))
}

// otherSchedulers place pods on GPUs past quotas and loans.
func (c *Cluster) otherSchedulers(context.Context) Finding {
	if c.seen.pods.err != nil {
		return unread("pods", c.seen.pods.err)
	}
	var other []string
	for i := range c.seen.pods.items {
		if p := &c.seen.pods.items[i]; p.Spec.SchedulerName != v1alpha1.SchedulerName {
			other = append(other, fmt.Sprintf("%s/%s (%s)", p.Namespace, p.Name, p.Spec.SchedulerName))
		}
	}
	if len(other) > 0 {
		return warn("set spec.schedulerName: ebbtide in their templates and let them be made anew: two schedulers on one node give a GPU away twice",
			"%s with GPUs under another scheduler: %s", count(len(other), "pod"), some(other))
	}
	return ok("all %s with GPUs name it", count(len(c.seen.pods.items), "pod"))
}
