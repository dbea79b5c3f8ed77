package lend

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// mostGuards is how many reservations of one flavor in one tree of cohorts are
// guarded at a time, those that come first. A later one is guarded once those before
// it have started, which its bound allows for.
const mostGuards = 8

// guards are the reservations of jobs that have waited for long.
type guards struct {
	list []*guard
	// counts are per flavor in a tree.
	counts map[family]int
	queues map[int]bool
	// byAge are the loans that go on, oldest first.
	byAge []*loan
}

// guard is one reservation: the job fits once all loans that were made before it
// have gone, and must still fit then after every admission.
type guard struct {
	*ask
	// borrows: beyond its tenant's nominal quota. It does not delay who is within.
	borrows bool
	built   bool
	// dead: it would not fit with every loan gone, so there is nothing to keep.
	dead bool
	// gone are the loans that are counted as gone.
	gone []*loan
	// later is what the rooms then have, bins the same.
	later []int64
	bins  bins
	// slack is by how much at least the quota then exceeds what the job needs, counted in
	// units of its flavor; 0 if it is to be counted anew.
	slack int64
}

// since is when the job began to wait without a break.
func (j *Job) since() time.Time {
	if j.Queued.IsZero() {
		return j.Created
	}
	return j.Queued
}

// reservedAt is when the job's reservation began.
func (d *decision) reservedAt(j *ask) time.Time { return j.since().Add(d.pol.ReserveAfter) }

// full: no more reservations of the flavor are guarded.
func (g *guards) full(a *admission, tenant quota.NodeID, f quota.FlavorID) bool {
	return g.counts[family{a.books.used.Root(tenant), f}] >= mostGuards
}

// add makes a reservation for a job that was refused, if it has waited for long and is
// the first such of its queue.
func (g *guards) add(a *admission, j *ask) {
	if !a.isAged(j) || g.queues[j.queue] || g.full(a, j.tenant, j.flavor) {
		return
	}
	if g.queues == nil {
		g.queues, g.counts = map[int]bool{}, map[family]int{}
	}
	g.queues[j.queue] = true
	g.counts[family{a.books.used.Root(j.tenant), j.flavor}]++
	g.list = append(g.list, &guard{ask: j, borrows: !a.within(j)})
}

// clear reports whether all reservations stand with the job on the spots, and if so
// counts it as there.
func (g *guards) clear(a *admission, j *ask, spots []spot) bool {
	return g.check(a, j, spots, nil)
}

// clearAsked is clear for a job for which units are to be asked back: it has a claim
// and no spots yet.
func (g *guards) clearAsked(a *admission, j *ask) bool {
	return g.check(a, j, nil, []shape{{j.UnitsPerPod, j.Pods}})
}

func (g *guards) check(a *admission, j *ask, spots []spot, claim []shape) bool {
	if len(g.list) == 0 {
		return true
	}
	within := a.within(j)
	var pass []*guard
	for _, r := range g.list {
		if r.borrows && within || !a.sharesQuota(r.ask, j) {
			continue
		}
		if !r.built {
			r.build(a, g)
		}
		if r.dead {
			continue
		}
		if !r.stands(a, j, spots, claim) {
			return false
		}
		pass = append(pass, r)
	}
	for _, r := range pass {
		r.admit(j, spots)
	}
	return true
}

func (d *decision) sharesQuota(a, b *ask) bool {
	return d.books.base[a.flavor] == d.books.base[b.flavor] && d.books.used.Root(a.tenant) == d.books.used.Root(b.tenant)
}

// build finds what the job waits for: the loans made before its reservation, and as
// many later ones as it takes, the oldest first. Those can be there because they were
// claims to nominal quota, or because nodes or services changed since.
func (r *guard) build(a *admission, g *guards) {
	r.built = true
	if g.byAge == nil {
		for _, l := range a.loans {
			if !l.ending {
				g.byAge = append(g.byAge, l)
			}
		}
		slices.SortStableFunc(g.byAge, func(x, y *loan) int {
			return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Name, y.Name))
		})
	}
	p := a.pool(r.Flavor)
	r.bins = slices.Clone(p.soon)
	r.later = make([]int64, len(p.rooms))
	for i := range p.rooms {
		r.later[i] = p.rooms[i].soon
	}
	soon, at := a.books.soon, a.reservedAt(r.ask)
	want := with(p.claims, shape{r.UnitsPerPod, r.Pods})
	enough := func() bool {
		return int64(soon.Available(r.tenant, r.flavor)) >= r.need && r.bins.fits(want)
	}
	for _, l := range g.byAge {
		if l.ending {
			continue // asked back since
		}
		if !l.Since.Before(at) && enough() {
			break
		}
		a.comesBack(soon, l, 1)
		r.lift(p, l)
		r.gone = append(r.gone, l)
	}
	r.dead = !enough()
	r.slack = int64(soon.Available(r.tenant, r.flavor)) - r.need
	for i := len(r.gone) - 1; i >= 0; i-- {
		a.comesBack(soon, r.gone[i], -1)
	}
}

func (r *guard) lift(p *pool, l *loan) {
	for _, g := range l.Grants {
		if i, ok := p.index[g.Node]; ok && g.Flavor == p.flavor {
			r.bins.shift(r.later[i], r.later[i]+g.Count, 1)
			r.later[i] += g.Count
		}
	}
}

// stands reports whether the reservation's job still fits beside the other one.
func (r *guard) stands(a *admission, j *ask, spots []spot, claim []shape) bool {
	if r.Flavor == j.Flavor {
		p := a.pool(r.Flavor)
		want := with(p.claims, shape{r.UnitsPerPod, r.Pods})
		for _, c := range claim {
			want = with(want, c)
		}
		left := r.bins
		if len(spots) > 0 {
			left = slices.Clone(r.bins)
			for _, s := range spots {
				left.shift(r.later[s.room], r.later[s.room]-s.pods*j.UnitsPerPod, 1)
			}
		}
		if !left.fits(want) {
			return false
		}
	}
	if r.flavor == j.flavor && j.need <= r.slack && len(spots) > 0 {
		return true
	}
	return r.recount(a, j) >= 0
}

// recount is by how much the quota exceeds what the reservation's job needs, once what
// it waits for has gone and the other job is there. Lenders that get units back and
// lend nothing new are counted as in build.
func (r *guard) recount(a *admission, j *ask) int64 {
	soon := a.books.soon
	for _, l := range r.gone {
		if !l.ending {
			a.comesBack(soon, l, 1)
		}
	}
	soon.Use(j.tenant, j.flavor, quota.Amount(j.need))
	slack := int64(soon.Available(r.tenant, r.flavor)) - r.need
	soon.Use(j.tenant, j.flavor, -quota.Amount(j.need))
	for i := len(r.gone) - 1; i >= 0; i-- {
		if l := r.gone[i]; !l.ending {
			a.comesBack(soon, l, -1)
		}
	}
	return slack
}

// admit counts the job as there.
func (r *guard) admit(j *ask, spots []spot) {
	if r.Flavor == j.Flavor {
		for _, s := range spots {
			n := s.pods * j.UnitsPerPod
			r.bins.shift(r.later[s.room], r.later[s.room]-n, 1)
			r.later[s.room] -= n
		}
	}
	if r.slack -= j.need; r.flavor != j.flavor || len(spots) == 0 {
		r.slack = 0
	}
}
