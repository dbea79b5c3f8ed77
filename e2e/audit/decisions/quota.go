package decisions

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// takeForQuota holds a loan that is taken back for a waiting job, or because its
// queue is emptied, against the facts: there must be such a job, which fits no node
// as things are or no quota, and nobody loses what is his own.
func (r *reclaim) takeForQuota(rec *record, a *lend.Action, l *lend.Loan) {
	in := &rec.Snapshot
	r.broken = append(r.broken, l.Name) // its units come free for whoever else is owed
	if a.ReclaimedFor == "" {
		i := slices.IndexFunc(in.Queues, func(q lend.Queue) bool { return q.Name == l.Queue })
		if i < 0 || !in.Queues[i].Drain {
			r.blame("%s is asked back because its queue %s is emptied, which it is not", l.Name, l.Queue)
		}
		return
	}
	i := slices.IndexFunc(in.Jobs, func(j lend.Job) bool { return j.UID == a.ReclaimedFor })
	if i < 0 {
		r.blame("%s is asked back for a job that does not wait", l.Name)
		return
	}
	j := &in.Jobs[i]
	if !slices.ContainsFunc(l.Grants, func(g lend.Grant) bool { return sameCard(in, g.Flavor, j.Flavor) }) {
		r.blame("%s is asked back for %s and holds nothing of %s", l.Name, j.Name, j.Flavor)
	}
	switch {
	case l.Borrower == j.Tenant && l.Priority >= j.Priority:
		r.blame("%s is asked back for %s of the same tenant, which has no higher priority", l.Name, j.Name)
	case l.Borrower != j.Tenant && len(lendersOf(l.Grants)) == 0:
		r.blame("%s is asked back for %s of another tenant and is use of its own quota", l.Name, j.Name)
	}
}

// sameCard: one flavor is the other, or a slice of the same GPUs.
func sameCard(in *lend.Snapshot, a, b string) bool {
	base := func(name string) string {
		for _, f := range in.Flavors {
			if f.Name == name {
				return f.SliceOf
			}
		}
		return name
	}
	return base(a) == base(b)
}

// twice blames a plan that takes back for a job whose earlier victims have not gone.
func (r *reclaim) twice(in *lend.Snapshot, plan *lend.Plan) {
	for _, a := range plan.Actions {
		if a.Kind != lend.ActionReclaim || a.ReclaimedFor == "" {
			continue
		}
		if slices.ContainsFunc(in.Loans, func(l lend.Loan) bool { return l.Reclaiming && l.ReclaimedFor == a.ReclaimedFor }) {
			r.blame("%s is asked back for a job that others were asked back for already, and they have not gone", a.Loan)
		}
	}
}
