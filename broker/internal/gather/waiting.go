package gather

import (
	"cmp"
	"fmt"
	"slices"

	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// ReasonPriorityClassTooHigh of a job: its pods would be refused.
const ReasonPriorityClassTooHigh = "PriorityClassTooHigh"

// queues returns the TrainingQueues, by name.
func queues(list []v1alpha1.TrainingQueue, t *tenancy) []lend.Queue {
	queues := make([]lend.Queue, 0, len(list))
	for i := range list {
		q := &list[i]
		queues = append(queues, lend.Queue{
			Name:     q.Namespace + "/" + q.Name,
			Tenant:   t.ofNamespace[q.Namespace],
			FIFO:     q.Spec.Order == v1alpha1.OrderFIFO,
			Backfill: q.Spec.Backfill == nil || *q.Spec.Backfill,
			Paused:   q.Spec.Paused,
		})
	}
	slices.SortFunc(queues, func(a, b lend.Queue) int { return cmp.Compare(a.Name, b.Name) })
	return queues
}

// waiting describes a suspended job that no loan covers.
func waiting(job *jobs.Job, known map[string]bool, t *tenancy, p priorities) lend.Job {
	w := lend.Job{
		Name:     job.Key.String(),
		UID:      string(job.UID),
		Tenant:   t.ofNamespace[job.Key.Namespace],
		Queue:    job.Key.Namespace + "/" + job.Queue,
		Priority: p.of(job.Template.Spec.PriorityClassName),
		Created:  job.Created,
		Pods:     job.Pods,
		Attempt:  job.Attempt,
	}
	problem := func(reason, format string, args ...any) {
		if w.Problem == nil {
			w.Problem = &lend.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
		}
	}
	if !known[w.Queue] {
		problem(lend.ReasonUnknownQueue, "label %s: namespace %s has no TrainingQueue %s", v1alpha1.LabelQueue, job.Key.Namespace, job.Queue)
	}
	if w.Tenant == "" {
		problem(lend.ReasonUnknownTenant, "namespace %s belongs to no single TenantQuota", job.Key.Namespace)
	}
	if why := p.tooHigh(job.Template.Spec.PriorityClassName, w.Tenant, t.highest[w.Tenant]); why != "" {
		problem(ReasonPriorityClassTooHigh, "%s", why)
	}
	if job.Pods < 1 {
		problem(ReasonNoUnits, "the job runs no pods: spec.parallelism is 0")
	}
	flavor, why := onlyFlavor(&job.Template, t.own[w.Tenant])
	switch {
	case flavor != nil:
		w.Flavor, w.UnitsPerPod = flavor.Name, unitsOf(&job.Template.Spec, flavor.Resource)
	case asksNothing(job, t):
		problem(ReasonNoUnits, "the job's pods ask for no resource of any flavor")
	default:
		problem(lend.ReasonUnknownFlavor, "the job's pods %s", why)
	}
	return w
}

func asksNothing(job *jobs.Job, t *tenancy) bool {
	for _, f := range t.flavors {
		if unitsOf(&job.Template.Spec, f.Resource) > 0 {
			return false
		}
	}
	return true
}

// priorities are the values of the PriorityClasses; the empty name is the default.
type priorities map[string]int32

func newPriorities(list []schedulingv1.PriorityClass) priorities {
	p := priorities{}
	for i := range list {
		p[list[i].Name] = list[i].Value
		if list[i].GlobalDefault {
			p[""] = list[i].Value
		}
	}
	return p
}

func (p priorities) of(name string) int32 { return p[name] }

// tooHigh says why pods of a class may not use the tenant's quota, whose highest
// class is named: the scheduler would not let them in. It is empty if they may.
func (p priorities) tooHigh(class, tenant, highest string) string {
	if tenant == "" {
		return ""
	}
	highest = cmp.Or(highest, v1alpha1.PriorityClassOnline)
	most, exists := p[highest]
	if !exists && highest == v1alpha1.PriorityClassOnline {
		most, exists = v1alpha1.PriorityOnline, true
	}
	switch {
	case !exists:
		return fmt.Sprintf("the highest priority class of tenant %s, %s, does not exist", tenant, highest)
	case p.of(class) > most:
		return fmt.Sprintf("priority class %q (%d) is above %s (%d), the highest that tenant %s may use", class, p.of(class), highest, most, tenant)
	}
	return ""
}
