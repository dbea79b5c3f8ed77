package product

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/grants"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// enact carries a plan out, and reports whether a loan was returned: its units may be lent
// from now on.
func (p *policy) enact(plan *lend.Plan) (returned bool) {
	p.reshape(plan, lend.ReshapeUndo)
	returned = p.act(plan)
	p.fileLoans()
	p.reshape(plan, lend.ReshapeMake)
	return returned
}

func (p *policy) act(plan *lend.Plan) (returned bool) {
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Kind == lend.ActionLend {
			p.lend(a)
			continue
		}
		at, ok := p.findLoan(a.Loan)
		if !ok {
			continue // nothing that was shown to the core
		}
		switch a.Kind {
		case lend.ActionReturn:
			returned = true
			p.giveBack(at, a)
		case lend.ActionReclaim:
			p.reclaim(at, a)
		case lend.ActionEvict:
			p.evict(at, a)
		}
	}
	return returned
}

// lend starts a job.
func (p *policy) lend(a *lend.Action) {
	if j, ok := p.world.Job(a.Job); ok {
		p.world.Start(j, p.places(j, a.Grants))
		p.openLoan(j, a)
	}
}

// lender is the index of a service; sim.Nobody for a tenant's or a cohort's own quota.
func (p *policy) lender(name string) int32 {
	if i, ok := p.services[name]; ok {
		return i
	}
	return sim.Nobody
}

// reclaim asks a loan back, or a part of it.
func (p *policy) reclaim(at int, a *lend.Action) {
	l, h := &p.snapshot.Loans[at], &p.held[at]
	grace := a.ReclaimBy.Sub(p.snapshot.Now)
	if len(a.Shed) > 0 {
		p.shed(l, h, a, grace)
		return
	}
	l.Reclaiming, l.ReclaimBy, l.ReclaimID, l.ReclaimedFor = true, a.ReclaimBy, a.ReclaimID, a.ReclaimedFor
	p.world.Stop(h.job, grace)
}

// shed asks for some pods. What was asked for before is part of it.
func (p *policy) shed(l *lend.Loan, h *held, a *lend.Action, grace time.Duration) {
	fresh := grants.Without(a.Shed, l.Shedding)
	l.Shedding, l.ReclaimBy, l.ReclaimID, l.ReclaimedFor = slices.Clone(a.Shed), a.ReclaimBy, a.ReclaimID, a.ReclaimedFor
	going := p.shedPlaces(h.job, fresh)
	l.Pods -= pods(going)
	l.Bound = l.Pods
	p.world.Shed(h.job, going, grace)
	l.ShedLive = pods(h.job.Going)
}

// shedPlaces are pods on the grants' nodes that stay until now, those first that are held of
// the grants' lenders.
func (p *policy) shedPlaces(j *sim.JobState, fresh []lend.Grant) []sim.Place {
	stays := slices.Clone(j.Places)
	for _, g := range j.Going {
		for i := range stays {
			if stays[i].Spot == g.Spot && stays[i].Lender == g.Lender {
				stays[i].Pods -= g.Pods
			}
		}
	}
	units := map[int32]int64{}
	for _, g := range fresh {
		units[p.spotOf(g.Node, g.Flavor)] += g.Count
	}
	var out []sim.Place
	take := func(spot, lender int32, any bool) {
		for i := range stays {
			s := &stays[i]
			n := min(s.Pods, units[spot]/j.UnitsPerPod)
			if s.Spot != spot || n <= 0 || !any && s.Lender != lender {
				continue
			}
			s.Pods -= n
			units[spot] -= n * j.UnitsPerPod
			out = append(out, sim.Place{Spot: s.Spot, Lender: s.Lender, Pods: n})
		}
	}
	for _, any := range []bool{false, true} {
		for _, g := range fresh {
			take(p.spotOf(g.Node, g.Flavor), p.lender(g.Lender), any)
		}
	}
	return out
}

// evict kills what is left of a loan, or of what it gives up.
func (p *policy) evict(at int, a *lend.Action) {
	l, h := &p.snapshot.Loans[at], &p.held[at]
	if len(a.Shed) > 0 {
		l.ShedKilled = true
		return // the world has them killed in time
	}
	l.Killed = true
	p.world.Stop(h.job, 0)
}

// giveBack closes a loan, or ends what it gave up.
func (p *policy) giveBack(at int, a *lend.Action) {
	l := &p.snapshot.Loans[at]
	if len(a.Shed) == 0 {
		p.closeLoan(at)
		return
	}
	p.countLent(l.Shedding, -1)
	p.freed = true
	l.Grants = grants.Without(l.Grants, l.Shedding)
	l.Shedding, l.ShedLive, l.ShedKilled = nil, 0, false
}
