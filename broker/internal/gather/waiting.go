package gather

import (
	"cmp"
	"fmt"
	"slices"

	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// ReasonPriorityClassTooHigh of a job: its pods would be refused.
const ReasonPriorityClassTooHigh = "PriorityClassTooHigh"

// ReasonUnfitJob of a job: it cannot be admitted as it is written.
const ReasonUnfitJob = "UnfitJob"

// queues returns the TrainingQueues, by name.
func queues(list []v1alpha1.TrainingQueue, t *tenancy, used map[string]int64) []lend.Queue {
	queues := make([]lend.Queue, 0, len(list))
	for i := range list {
		q := &list[i]
		name := q.Namespace + "/" + q.Name
		queue := lend.Queue{
			Name:      name,
			Tenant:    t.ofNamespace[q.Namespace],
			FIFO:      q.Spec.Order == v1alpha1.OrderFIFO,
			FairShare: q.Spec.Order == v1alpha1.OrderFairShare,
			Backfill:  q.Spec.Backfill == nil || *q.Spec.Backfill,
			Paused:    q.Spec.Paused,
			Drain:     q.Spec.Drain,
		}
		if queue.FairShare {
			queue.Weight, queue.Used = ptr.Deref(q.Spec.Weight, 1), used[name]
		}
		queues = append(queues, queue)
	}
	slices.SortFunc(queues, func(a, b lend.Queue) int { return cmp.Compare(a.Name, b.Name) })
	return queues
}

// waiting describes a suspended job that no loan covers.
func (r *rules) waiting(job *jobs.Job) lend.Job {
	t := r.tenants
	w := lend.Job{
		Name:     job.Key.String(),
		UID:      string(job.UID),
		Tenant:   t.ofNamespace[job.Key.Namespace],
		Queue:    job.Key.Namespace + "/" + job.Queue,
		Priority: r.classes.of(job.Template.Spec.PriorityClassName),
		Created:  job.Created,
		Pods:     job.Pods,
		MinPods:  job.MinPods,
		Grace:    job.Grace(),
		Attempt:  job.Attempt,
	}
	if job.Attempt > 0 {
		w.Queued = job.Waits // one that was never admitted waits since it exists
	}
	problem := func(reason, format string, args ...any) {
		if w.Problem == nil {
			w.Problem = &lend.Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
		}
	}
	queue := r.queues[w.Queue]
	if queue == nil {
		problem(lend.ReasonUnknownQueue, "label %s: namespace %s has no TrainingQueue %s", v1alpha1.LabelQueue, job.Key.Namespace, job.Queue)
	}
	if w.Tenant == "" {
		problem(lend.ReasonUnknownTenant, "namespace %s belongs to no single TenantQuota", job.Key.Namespace)
	}
	if t.circular[w.Tenant] {
		problem(ReasonCohortCycle, "the cohorts above tenant %s form a circle of parents", w.Tenant)
	}
	if why := r.classes.tooHigh(job.Template.Spec.PriorityClassName, w.Tenant, t.highest[w.Tenant]); why != "" {
		problem(ReasonPriorityClassTooHigh, "%s", why)
	}
	if job.Problem != "" {
		problem(ReasonUnfitJob, "%s", job.Problem)
	}
	if job.Pods < 1 {
		problem(ReasonNoUnits, "the job runs no pods: the numbers of its pods are 0")
	}
	flavor, why := onlyFlavor(&job.Template, t.own[w.Tenant])
	switch {
	case flavor != nil:
		w.Flavor, w.UnitsPerPod = flavor.Name, jobs.UnitsOf(&job.Template.Spec, flavor.Resource)
	case asksNothing(job, t):
		problem(ReasonNoUnits, "the job's pods ask for no resource of any flavor")
	default:
		problem(lend.ReasonUnknownFlavor, "the job's pods %s", why)
	}
	var drawn []lend.Draw
	if !exists(job) {
		var refused string
		if drawn, refused = r.namespaces[job.Key.Namespace].Draws(&job.Template, job.Pods); refused != "" {
			problem(lend.ReasonResourceQuota, "%s", refused)
		}
	}
	if queue != nil {
		limited, never := queueDraws(queue, &w)
		if never != "" {
			problem(lend.ReasonLimitReached, "%s", never)
		}
		drawn = append(drawn, limited...)
	}
	slices.SortFunc(drawn, func(a, b lend.Draw) int { return cmp.Compare(a.Limit, b.Limit) })
	w.Draws = drawn
	return w
}

// exists: the job's pods are there already, and counted in ResourceQuotas.
func exists(job *jobs.Job) bool { return job.Kind.Kind == "Pod" && job.Kind.Group == "" }

func asksNothing(job *jobs.Job, t *tenancy) bool {
	for _, f := range t.flavors {
		if jobs.UnitsOf(&job.Template.Spec, f.Resource) > 0 {
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
