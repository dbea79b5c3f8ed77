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
	// borrows: even without other jobs it is beyond its tenant's nominal quota. It does
	// not delay other tenants' claims within theirs. One that does not borrow waits for
	// room in the nominal quota, whatever else it might have.
	borrows bool
	built   bool
	// dead: it would not fit with every loan gone, so there is nothing to keep.
	dead bool
	// gone are the loans that are counted as gone.
	gone map[*loan]bool
	// later is what the rooms then have, bins the same.
	later []int64
	bins  bins
	// tree is the quotas then, with the first so many of the books' changes in it.
	tree *quota.Tree
	seen int
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
	g.list = append(g.list, &guard{ask: j})
}

// concern lists the reservations that the job must leave room for. It is asked before
// the job takes any.
func (g *guards) concern(a *admission, j *ask) []*guard {
	if len(g.list) == 0 {
		return nil
	}
	within := a.within(j)
	var out []*guard
	for _, r := range g.list {
		if !a.sharesQuota(r.ask, j) {
			continue
		}
		if !r.built {
			r.build(a, g)
		}
		if !r.dead && !(r.borrows && within && r.tenant != j.tenant) {
			out = append(out, r)
		}
	}
	return out
}

// stand reports whether the reservations stand with the job on the spots, and if so
// counts it as there. A job for which units are to be asked back has a claim to room
// instead, and no spots yet.
func stand(a *admission, reservations []*guard, j *ask, spots []spot, claim []shape) bool {
	for _, r := range reservations {
		if !r.stands(a, j, spots, claim) {
			return false
		}
	}
	for _, r := range reservations {
		r.admit(j, spots)
	}
	return true
}

func (d *decision) sharesQuota(a, b *ask) bool {
	return d.books.base[a.flavor] == d.books.base[b.flavor] && d.books.used.Root(a.tenant) == d.books.used.Root(b.tenant)
}

// build finds what the job waits for: the loans made before its reservation. Where
// later ones are in its way, it waits for as few of them as it takes, the oldest first:
// for those that were claims of other tenants to their own quota, which no reservation
// of a borrower delays, and then for any, as when one with a reservation before this
// one has started, or nodes or services changed.
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
	r.tree, r.seen = a.books.soon.Clone(), len(a.books.changes)
	r.borrows = r.need > a.promisedTo(r.ask)
	r.gone = map[*loan]bool{}
	want := with(p.claims, shape{r.UnitsPerPod, r.Pods})
	enough := func() bool { return r.spare() >= 0 && r.bins.fits(want) }
	at := a.reservedAt(r.ask)
	var theirs, rest []*loan
	for _, l := range slices.Concat(g.byAge, a.fresh) {
		switch {
		case l.ending: // asked back since
		case l.Since.Before(at):
			r.lift(a, p, l)
		case !l.lent && l.Borrower != r.Tenant:
			theirs = append(theirs, l)
		default:
			rest = append(rest, l)
		}
	}
	for _, l := range slices.Concat(theirs, rest) {
		if enough() {
			break
		}
		r.lift(a, p, l)
	}
	r.dead = !enough()
}

// promisedTo is what the job's tenant was promised, less what it uses besides its loans.
func (a *admission) promisedTo(j *ask) int64 {
	b := a.books
	room := b.soon.NominalRoom(j.tenant, j.flavor)
	over := b.soon.Borrowed(j.tenant, j.flavor)
	var loans quota.Amount
	for _, l := range slices.Concat(a.loans, a.fresh) {
		if l.Borrower != j.Tenant || l.ending {
			continue
		}
		for _, g := range l.Grants {
			if f, ok := b.used.Flavor(g.Flavor); ok && f == j.flavor {
				loans = loans.Add(quota.Amount(g.Count))
			}
		}
	}
	return int64(min(room.Sub(over).Add(loans), quota.Amount(1<<50)))
}

// spare is by how much the quota exceeds what the job needs.
func (r *guard) spare() int64 {
	room := r.tree.Available(r.tenant, r.flavor)
	if !r.borrows {
		room = min(room, r.tree.NominalRoom(r.tenant, r.flavor))
	}
	return int64(min(room, quota.Amount(1<<50))) - r.need
}

// lift counts the loan as gone.
func (r *guard) lift(a *admission, p *pool, l *loan) {
	r.gone[l] = true
	a.comesBack(r.tree, l, 1)
	for _, g := range l.Grants {
		if i, ok := p.index[g.Node]; ok && g.Flavor == p.flavor {
			r.bins.shift(r.later[i], r.later[i]+g.Count, 1)
			r.later[i] += g.Count
		}
	}
}

// catchUp books what was booked since.
func (r *guard) catchUp(a *admission) {
	for _, c := range a.books.changes[r.seen:] {
		switch {
		case c.gone == nil:
			r.tree.Use(c.tenant, c.flavor, c.units)
		case !r.gone[c.gone]:
			a.comesBack(r.tree, c.gone, 1)
		}
	}
	r.seen = len(a.books.changes)
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
	r.catchUp(a)
	r.tree.Use(j.tenant, j.flavor, quota.Amount(j.need))
	fits := r.spare() >= 0
	r.tree.Use(j.tenant, j.flavor, -quota.Amount(j.need))
	return fits
}

// admit counts the job's units as taken; its quota is among the books' changes.
func (r *guard) admit(j *ask, spots []spot) {
	if r.Flavor == j.Flavor {
		for _, s := range spots {
			n := s.pods * j.UnitsPerPod
			r.bins.shift(r.later[s.room], r.later[s.room]-n, 1)
			r.later[s.room] -= n
		}
	}
}
