package actuate

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// news are the verdicts that are not those of the last round: of very many jobs that
// wait, few wait for something else than before.
func (r *round) news(plan *lend.Plan) []*lend.Verdict {
	last := r.spoken
	r.spoken = plan.Verdicts
	var news []*lend.Verdict
	for i := range plan.Verdicts { // both are by subject
		v := &plan.Verdicts[i]
		for len(last) > 0 && compareVerdicts(&last[0], v) < 0 {
			last = last[1:]
		}
		if len(last) == 0 || last[0] != *v {
			news = append(news, v)
		}
	}
	return news
}

func compareVerdicts(a, b *lend.Verdict) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UID, b.UID))
}

// verdictOn is what a plan says about a waiting job, nil if nothing.
func verdictOn(plan *lend.Plan, job *lend.Job) *lend.Verdict {
	at, found := slices.BinarySearchFunc(plan.Verdicts, &lend.Verdict{Kind: lend.SubjectJob, Subject: job.Name, UID: job.UID},
		func(v lend.Verdict, want *lend.Verdict) int { return compareVerdicts(&v, want) })
	if !found {
		return nil
	}
	return &plan.Verdicts[at]
}
