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
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind))
}

// verdictOn is what a plan says about one subject, nil if nothing.
func verdictOn(plan *lend.Plan, kind lend.SubjectKind, subject string) *lend.Verdict {
	at, found := slices.BinarySearchFunc(plan.Verdicts, &lend.Verdict{Kind: kind, Subject: subject},
		func(v lend.Verdict, want *lend.Verdict) int { return compareVerdicts(&v, want) })
	if !found {
		return nil
	}
	return &plan.Verdicts[at]
}
