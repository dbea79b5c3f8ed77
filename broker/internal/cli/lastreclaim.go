package cli

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
)

// mostWindows bounds how far back the ledger is searched: so many times lookBack entries.
const mostWindows = 40

// last finds the newest taking back: by the job's Loans, which are there for a while, or else
// by searching the ledger from its end. earlier is one from another job of the same name, if
// there is none from this one.
func (o *whyEvictedOptions) last(ctx context.Context) (found *eviction, earlier *course.Reclaim, err error) {
	if found, err = o.lastOfLoans(ctx); found != nil || err != nil {
		return found, nil, err
	}
	page, err := o.ask.Ledger(ctx, access.LedgerQuery{Limit: 1})
	if err != nil {
		return nil, nil, err
	}
	end := page.Head.Seq + 1
	for window := 0; end > 1 && window < mostWindows; window++ {
		from := end - min(end-1, lookBack)
		page, err := o.ask.Reclaims(ctx, access.LedgerQuery{From: from, Limit: lookBack})
		if err != nil {
			return nil, nil, err
		}
		for i := len(page.Reclaims) - 1; i >= 0; i-- {
			r := &page.Reclaims[i]
			switch {
			case r.Job != o.job.Key.String():
			case o.isOfJob(r):
				return &eviction{Reclaim: *r}, nil, nil
			case earlier == nil:
				earlier = r
			}
		}
		end = from
	}
	return nil, earlier, nil
}

// lastOfLoans is the newest from the Loans of the job that are still there; nil if there is none,
// or they may not be listed.
func (o *whyEvictedOptions) lastOfLoans(ctx context.Context) (*eviction, error) {
	loans, err := listLoans(ctx, o.api, o.job.Key.Namespace, false)
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := len(loans.Items) - 1; i >= 0; i-- {
		if loans.Items[i].Spec.Job.UID != o.job.UID {
			continue
		}
		page, err := o.ask.Reclaims(ctx, access.LedgerQuery{Loan: loans.Items[i].Namespace + "/" + loans.Items[i].Name})
		if err != nil && !errors.Is(err, access.ErrUnknownSubject) {
			return nil, err
		}
		if n := len(page.Reclaims); n > 0 {
			return &eviction{Reclaim: page.Reclaims[n-1]}, nil
		}
	}
	return nil, nil
}

// isOfJob tells the job from others that had its name. A group of pods is told by its name
// alone, as its pods come and go; and so is any job by a broker that does not say which it was.
func (o *whyEvictedOptions) isOfJob(r *course.Reclaim) bool {
	return r.JobUID == string(o.job.UID) || r.JobUID == "" || o.job.PodGroup != ""
}
