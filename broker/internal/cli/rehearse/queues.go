package rehearse

import (
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// queues are those of the rules, and one for each tenant with jobs that has none. A job goes
// to the one that it names, or else to its tenant's first that is open.
func (b *builder) queues(r *gather.Resting) []lend.Queue {
	all := slices.Clone(r.Queues)
	b.jobs.queues, b.jobs.owners = map[string]string{}, map[string]string{}
	closed := map[string]bool{}
	for _, q := range all {
		b.jobs.owners[q.Name] = q.Tenant
		closed[q.Name] = q.Paused || q.Drain
	}
	for _, name := range sorted(b.jobs.tenants) {
		tenant := b.jobs.tenants[name]
		if b.jobs.queues[tenant] == "" {
			b.jobs.queues[tenant] = b.first(all, tenant, closed)
		}
		if q := b.jobs.queues[tenant]; b.jobs.owners[q] == "" {
			all = append(all, lend.Queue{Name: q, Tenant: tenant, Backfill: true})
			b.jobs.owners[q] = tenant
		}
		b.queuesTold(name, closed)
	}
	slices.SortFunc(all, func(a, b lend.Queue) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// first is the queue of a tenant's jobs that name none: where they went before a change, the
// first that is open, the first, or one that is made.
func (b *builder) first(all []lend.Queue, tenant string, closed map[string]bool) string {
	first := ""
	for _, q := range all {
		switch {
		case q.Tenant != tenant:
		case b.in.Like != nil && b.in.Like.jobs.queues[tenant] == q.Name:
			return q.Name
		case first == "" || closed[first] && !closed[q.Name]:
			first = q.Name
		}
	}
	if first != "" {
		return first
	}
	return gang.Queue(tenant)
}

// queuesTold says which jobs are not in the queue that they name, and which will not start.
func (b *builder) queuesTold(name string, closed map[string]bool) {
	tenant := b.jobs.tenants[name]
	demand := b.demand[slices.IndexFunc(b.demand, func(d Demand) bool { return d.Tenant == name })]
	waiting, unnamed := map[string]int64{}, demand.Jobs
	for _, queue := range sorted(b.jobs.asked[name]) {
		n := b.jobs.asked[name][queue]
		if b.jobs.owners[queue] != tenant {
			b.note("%d jobs of %s name the queue %s, which is none of its TrainingQueues, and go to %s", n, name, queue, b.jobs.queues[tenant])
			continue
		}
		unnamed -= n
		waiting[queue] += n
	}
	waiting[b.jobs.queues[tenant]] += unnamed
	for _, queue := range sorted(waiting) {
		if waiting[queue] > 0 && closed[queue] {
			b.missing("TrainingQueue %s is paused or drained: %d jobs of %s never start", queue, waiting[queue], name)
		}
	}
}
