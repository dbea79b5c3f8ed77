package actuate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/history"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// mostShown is how many waiting jobs a queue's status has.
const mostShown = 16

// queues writes how many jobs wait and run in each queue, and which come first.
func (r *round) queues(ctx context.Context, plan *lend.Plan) {
	s := &r.view.Snapshot
	pending, admitted := map[string]int32{}, map[string]int32{}
	for i := range s.Jobs {
		pending[s.Jobs[i].Queue]++
	}
	for i := range s.Loans {
		admitted[s.Loans[i].Queue]++
	}
	tenant := map[string]string{}
	for _, q := range s.Queues {
		tenant[q.Name] = q.Tenant
	}
	first, heads := r.first(plan), r.heads(plan)
	for i := range r.view.Queues {
		old := &r.view.Queues[i]
		name := old.Namespace + "/" + old.Name
		next := old.DeepCopy()
		next.Status.ObservedGeneration = old.Generation
		next.Status.Pending, next.Status.Admitted = pending[name], admitted[name]
		next.Status.Waiting = first[name]
		for _, c := range queueConditions(old, tenant[name], admitted[name]) {
			meta.SetStatusCondition(&next.Status.Conditions, c)
		}
		meta.SetStatusCondition(&next.Status.Conditions, r.waitingCondition(old, pending[name], heads[name]))
		if apiequality.Semantic.DeepEqual(old.Status, next.Status) {
			continue
		}
		every := numbersEvery
		if samePlaces(&old.Status, &next.Status) {
			every = placesEvery
		}
		r.show(ctx, "queue "+name, next, every)
	}
}

// first are the first waiting jobs of each queue.
func (r *round) first(plan *lend.Plan) map[string][]v1alpha1.QueuedJob {
	outlook := view.NewOutlook(r.view.Snapshot.Now, plan, r.view.Freed, history.Lately)
	first := map[string][]v1alpha1.QueuedJob{}
	for i := range plan.Waiting {
		place := &plan.Waiting[i]
		if place.Position > mostShown {
			continue
		}
		j := r.waiting(place.UID)
		job := r.view.Job(types.UID(place.UID))
		if j == nil || job == nil {
			continue
		}
		shown := v1alpha1.QueuedJob{Name: job.Key.Name, Position: place.Position}
		if v := verdictOn(plan, j); v != nil {
			shown.Reason = v.Reason
			if at := outlook.Start(j, *place, v.Reason); !at.IsZero() {
				shown.EstimatedStart = &metav1.Time{Time: at}
			}
		}
		first[j.Queue] = append(first[j.Queue], shown)
	}
	for _, jobs := range first {
		slices.SortFunc(jobs, func(a, b v1alpha1.QueuedJob) int { return cmp.Compare(a.Position, b.Position) })
	}
	return first
}

// samePlaces tells whether only places and estimates of the same jobs differ.
func samePlaces(a, b *v1alpha1.TrainingQueueStatus) bool {
	plain := func(s *v1alpha1.TrainingQueueStatus) v1alpha1.TrainingQueueStatus {
		p := *s
		p.Waiting = slices.Clone(s.Waiting)
		for i := range p.Waiting {
			p.Waiting[i].Position, p.Waiting[i].EstimatedStart = 0, nil
		}
		slices.SortFunc(p.Waiting, func(a, b v1alpha1.QueuedJob) int { return cmp.Compare(a.Name, b.Name) })
		return p
	}
	return apiequality.Semantic.DeepEqual(plain(a), plain(b))
}

func queueConditions(q *v1alpha1.TrainingQueue, tenant string, admitted int32) []metav1.Condition {
	accepted := metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, ObservedGeneration: q.Generation,
		Reason: "Accepted", Message: "the namespace belongs to tenant " + tenant,
	}
	if tenant == "" {
		accepted.Status, accepted.Reason = metav1.ConditionFalse, lend.ReasonUnknownTenant
		accepted.Message = fmt.Sprintf("namespace %s belongs to no single TenantQuota", q.Namespace)
	}
	draining := metav1.Condition{
		Type: conditionDraining, Status: metav1.ConditionFalse, ObservedGeneration: q.Generation,
		Reason: "NotDraining", Message: "spec.drain is not set",
	}
	switch {
	case q.Spec.Drain && admitted > 0:
		draining.Status, draining.Reason = metav1.ConditionTrue, "Draining"
		draining.Message = "the units of its jobs are asked back, and nothing is admitted"
	case q.Spec.Drain:
		draining.Reason, draining.Message = "Drained", "none of its jobs holds units, and nothing is admitted"
	}
	return []metav1.Condition{accepted, draining}
}

// conditionDraining of a TrainingQueue: its jobs still hold units that are asked back.
const conditionDraining = "Draining"

// tenants writes what every tenant and cohort uses, borrows and has lent.
func (r *round) tenants(ctx context.Context, plan *lend.Plan) {
	borrowed, lent := r.borrowings()
	views := map[string]map[string]*lend.TenantView{}
	for i := range plan.Tenants {
		v := &plan.Tenants[i]
		if views[v.Name] == nil {
			views[v.Name] = map[string]*lend.TenantView{}
		}
		views[v.Name][v.Flavor] = v
	}
	for i := range r.view.Quotas {
		old := &r.view.Quotas[i]
		name := old.Name
		if old.Spec.Namespaces == nil {
			name = lend.CohortLender(old.Name)
		}
		next := old.DeepCopy()
		next.Status.ObservedGeneration = old.Generation
		next.Status.Flavors, next.Status.WeightedShare = nil, 0
		for _, f := range old.Spec.Flavors {
			usage := v1alpha1.FlavorUsage{
				Name: f.Name, Used: r.view.Used[name][f.Name], Borrowed: borrowed[name][f.Name], Lent: lent[name][f.Name],
			}
			if v := views[name][f.Name]; v != nil {
				usage.Used, usage.Available = v.Used, v.Available
				next.Status.WeightedShare = v.Share
			}
			if old.Spec.Namespaces == nil {
				usage.Borrowed = max(0, usage.Used-r.view.Subtrees[old.Name][f.Name])
			}
			next.Status.Flavors = append(next.Status.Flavors, usage)
		}
		meta.SetStatusCondition(&next.Status.Conditions, r.acceptance(old))
		if apiequality.Semantic.DeepEqual(old.Status, next.Status) {
			continue
		}
		every := numbersEvery
		if sameButShare(&old.Status, &next.Status) {
			every = placesEvery
		}
		r.show(ctx, "tenant "+old.Name, next, every)
	}
}

// sameButShare: a share changes with every sample of history.
func sameButShare(a, b *v1alpha1.TenantQuotaStatus) bool {
	x, y := *a, *b
	x.WeightedShare, y.WeightedShare = 0, 0
	return apiequality.Semantic.DeepEqual(x, y)
}

// borrowings are the units that each tenant holds on loan from others, and that each
// has lent to others, by flavor. A cohort has lent what nobody in it uses.
func (r *round) borrowings() (borrowed, lent map[string]map[string]int64) {
	borrowed, lent = map[string]map[string]int64{}, map[string]map[string]int64{}
	owner := map[string]string{}
	for i := range r.view.Snapshot.Lenders {
		owner[r.view.Snapshot.Lenders[i].Name] = r.view.Snapshot.Lenders[i].Tenant
	}
	for i := range r.view.Snapshot.Loans {
		l := &r.view.Snapshot.Loans[i]
		for _, g := range l.Grants {
			from := owner[g.Lender]
			if !counts(g.Lender) {
				from = g.Lender
			}
			if g.Lender != "" && from != l.Borrower {
				add(borrowed, l.Borrower, g.Flavor, g.Count)
				add(lent, from, g.Flavor, g.Count)
			}
		}
	}
	return borrowed, lent
}

func (r *round) acceptance(q *v1alpha1.TenantQuota) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, ObservedGeneration: q.Generation,
		Reason: "Accepted", Message: "namespaces and flavors agree with all other TenantQuotas",
	}
	if note := r.view.QuotaNotes[q.Name]; note != "" {
		c.Reason, c.Message = "FlavorOverlap", note
	}
	if p := r.view.QuotaProblems[q.Name]; p != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, p.Reason, p.Message
	}
	return c
}

func add(to map[string]map[string]int64, tenant, flavor string, n int64) {
	if to[tenant] == nil {
		to[tenant] = map[string]int64{}
	}
	to[tenant][flavor] += n
}
