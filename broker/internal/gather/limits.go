package gather

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// jobsLimit names a queue's limit of jobs; flavors have their own names.
const jobsLimit = "jobs"

// queueLimit names a limit of a queue.
func queueLimit(q *v1alpha1.TrainingQueue, what string) string {
	return fmt.Sprintf("queue %s/%s %s", q.Namespace, q.Name, what)
}

func unitsLimit(q *v1alpha1.TrainingQueue, flavor string) string {
	return queueLimit(q, "units of "+flavor)
}

// queueDraws is what a job uses of its queue's limits, and why it is too large for
// them whatever else runs.
func queueDraws(q *v1alpha1.TrainingQueue, w *lend.Job) (draws []lend.Draw, never string) {
	limits := q.Spec.Limits
	if limits == nil {
		return nil, ""
	}
	if limits.Jobs != nil {
		draws = append(draws, lend.Draw{Limit: queueLimit(q, jobsLimit), Amount: 1})
		if *limits.Jobs < 1 {
			never = fmt.Sprintf("queue %s admits no jobs: its limits.jobs is 0", q.Name)
		}
	}
	for _, f := range limits.Flavors {
		units := int64(quota.Amount(w.UnitsPerPod).Times(w.Pods))
		if f.Name != w.Flavor || units == 0 {
			continue
		}
		draws = append(draws, lend.Draw{Limit: unitsLimit(q, f.Name), Amount: units})
		if units > f.Units {
			never = fmt.Sprintf("the job needs %d units of %s, and queue %s allows %d", units, f.Name, q.Name, f.Units)
		}
	}
	return draws, never
}

// queueUse is what the open loans of a queue hold.
type queueUse struct {
	jobs  int64
	units map[string]int64 // by flavor
}

// limits are those of the queues, and of their namespaces' ResourceQuotas, by name.
// loans are all open ones.
func (r *rules) limits(v *View, loans []*loan) []lend.Limit {
	uses := map[string]*queueUse{}
	coming := map[string]map[string]int64{} // by namespace and limit
	for _, l := range loans {
		use := uses[l.Queue]
		if use == nil {
			use = &queueUse{units: map[string]int64{}}
			uses[l.Queue] = use
		}
		use.jobs++
		for _, g := range l.Grants {
			use.units[g.Flavor] += g.Count
		}
		namespace, job := l.object.Namespace, v.Job(l.object.Spec.Job.UID)
		if n := l.coming(); n > 0 && job != nil {
			draws, _ := r.namespaces[namespace].Draws(&job.Template, n)
			for _, d := range draws {
				if coming[namespace] == nil {
					coming[namespace] = map[string]int64{}
				}
				coming[namespace][d.Limit] += d.Amount
			}
		}
	}
	var limits []lend.Limit
	queued := map[string]bool{}
	for i := range r.made.queues.Items {
		q := &r.made.queues.Items[i]
		limits = append(limits, limitsOf(q, uses[q.Namespace+"/"+q.Name])...)
		if !queued[q.Namespace] {
			limits = append(limits, r.namespaces[q.Namespace].Limits(coming[q.Namespace])...)
		}
		queued[q.Namespace] = true
	}
	slices.SortFunc(limits, func(a, b lend.Limit) int { return cmp.Compare(a.Name, b.Name) })
	return limits
}

// limitsOf a queue, of which use may be nil.
func limitsOf(q *v1alpha1.TrainingQueue, use *queueUse) []lend.Limit {
	if q.Spec.Limits == nil {
		return nil
	}
	if use == nil {
		use = &queueUse{}
	}
	var limits []lend.Limit
	if most := q.Spec.Limits.Jobs; most != nil {
		limits = append(limits, lend.Limit{
			Name: queueLimit(q, jobsLimit), Left: max(0, int64(*most)-use.jobs), Most: int64(*most), Reason: lend.ReasonLimitReached,
			Message: fmt.Sprintf("queue %s admits %d jobs at once, and %d are", q.Name, *most, use.jobs),
		})
	}
	for _, f := range q.Spec.Limits.Flavors {
		limits = append(limits, lend.Limit{
			Name: unitsLimit(q, f.Name), Left: max(0, f.Units-use.units[f.Name]), Most: f.Units, Reason: lend.ReasonLimitReached,
			Message: fmt.Sprintf("queue %s allows %d units of %s at once, and %d are held", q.Name, f.Units, f.Name, use.units[f.Name]),
		})
	}
	return limits
}
