package lend

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// guard is one reservation: the job fits once all loans that were made before it
// have gone, and must still fit then after every admission.
type guard struct {
	*ask
	// borrows: even without other jobs it is beyond its tenant's nominal quota. It does
	// not delay other tenants' claims within theirs. One that does not borrow waits for
	// room in the nominal quota, whatever else it might have.
	borrows bool
	built   bool
	// dead: it would not fit with every loan gone, or it was refused although nothing
	// that it could wait for is in its way, so there is nothing to keep.
	dead, vain bool
	// gone are the loans that are counted as gone, by number.
	gone []bool
	// later is what the rooms then have, bins the same.
	later []int64
	bins  bins
	// owned: it cannot have but its tenant's own quota, so that it must leave owners
	// their shapes on what eviction would give back: backs by room, back the same as
	// bins. ownRoom is the quota it then has.
	owned   bool
	backs   []int64
	back    bins
	ownRoom int64
	// tree is the quotas then, with the first so many of the books' changes in it.
	tree *quota.Tree
	seen int
}

// build finds what the job waits for: the loans made before its reservation. Where
// later ones are in its way, it waits for as few of them as it takes, the oldest first:
// for those that were claims of other tenants to their own quota, which no reservation
// of a borrower delays, and then for any, as when one with a reservation before this
// one has started, or nodes or services changed.
func (r *guard) build(a *admission, g *guards) {
	r.built = true
	p := a.pool(r.Flavor)
	r.read(a, p)
	r.tree, r.seen = a.books.soon.Clone(), len(a.books.changes)
	r.borrows = r.need > a.promisedTo(r.ask)
	r.gone = make([]bool, len(a.scratch.loans))
	want := r.want(a, p)
	enough := func() bool { return r.spare(a) >= 0 && r.bins.fits(want) && r.leaves(p, r.back) }
	if r.vain && enough() {
		r.die(a, g)
		return
	}
	at := a.reservedAt(r.ask)
	oldest := g.oldest(a)
	n := g.common.resume(r, a, p, oldest, at)
	for ; n < len(oldest) && oldest[n].Since.Before(at); n++ {
		if l := oldest[n]; !l.ending { // else it was asked back since
			r.lift(a, p, l)
		}
	}
	g.common.note(r, a, p, n)
	if r.liftUntil(a, p, [2][]*loan{oldest[n:], a.fresh}, enough) || enough() {
		return
	}
	r.die(a, g)
}

// liftUntil counts later loans as gone until there is enough: claims of other tenants to
// their own quota first.
func (r *guard) liftUntil(a *admission, p *pool, waits [2][]*loan, enough func() bool) bool {
	for _, theirs := range []bool{true, false} {
		for _, list := range waits {
			for _, l := range list {
				if l.ending || (!l.lent && l.Borrower != r.Tenant) != theirs {
					continue
				}
				if enough() {
					return true
				}
				r.lift(a, p, l)
			}
		}
	}
	return false
}

// common is what reservations have in common: rooms and quotas with the oldest loans gone.
// As long as nothing moves, the next one goes on from there.
type common struct {
	pool           *pool
	moves, changes int
	upTo           int // of the oldest loans
	gone           []bool
	later          []int64
	bins           bins
	tree           *quota.Tree
}

// resume takes over what is known of loans made before a time, and returns how many that
// are. One that needs its tenant's own quota looks at more than is known here.
func (c *common) resume(r *guard, a *admission, p *pool, oldest []*loan, at time.Time) int {
	if r.owned || c.pool != p || c.moves != a.moves || c.changes != r.seen || c.upTo == 0 || !oldest[c.upTo-1].Since.Before(at) {
		return 0
	}
	copy(r.gone, c.gone)
	copy(r.later, c.later)
	r.bins, r.tree = append(r.bins[:0], c.bins...), c.tree.Clone()
	return c.upTo
}

// note remembers where a reservation has come to.
func (c *common) note(r *guard, a *admission, p *pool, upTo int) {
	if r.owned || c.pool == p && c.moves == a.moves && c.changes == r.seen && c.upTo >= upTo {
		return
	}
	c.pool, c.moves, c.changes, c.upTo = p, a.moves, r.seen, upTo
	c.gone, c.later, c.bins = append(c.gone[:0], r.gone...), append(c.later[:0], r.later...), append(c.bins[:0], r.bins...)
	c.tree = r.tree.Clone()
}

// oldest lists the loans that go on, oldest first.
func (g *guards) oldest(a *admission) []*loan {
	if g.byAge == nil {
		g.byAge = make([]*loan, 0, len(a.loans))
		for _, at := range a.shelf.oldest() {
			if l := &a.scratch.loans[at]; !l.ending {
				g.byAge = append(g.byAge, l)
			}
		}
	}
	return g.byAge
}

// read starts from the rooms and the services as they are.
func (r *guard) read(a *admission, p *pool) {
	r.bins = slices.Clone(p.soon)
	r.later = make([]int64, len(p.rooms))
	for i := range p.rooms {
		r.later[i] = p.rooms[i].soon
	}
	var lent int64
	for _, l := range p.lenders {
		if l.Tenant == r.Tenant && (l.open || l.relends) {
			lent = clamp(lent + clamp(l.lendable) + clamp(l.lent))
		}
	}
	r.ownRoom = a.ownRoom(r.ask)
	if r.owned = r.cohort == "" && lent < r.need; r.owned {
		r.back = slices.Clone(p.back)
		r.backs = make([]int64, len(p.rooms))
		for i := range p.rooms {
			r.backs[i] = p.rooms[i].back
		}
	}
}

// leaves reports whether owners could get back in their shapes beside the job, which
// only matters to one that nobody could take anything back from.
func (r *guard) leaves(p *pool, back bins) bool {
	return !r.owned || r.need > r.ownRoom || back.fits(with(p.rights, shape{r.UnitsPerPod, r.Pods}))
}

// die gives up the reservation: another job may have one in its place.
func (r *guard) die(a *admission, g *guards) {
	r.dead = true
	g.counts[a.family(r.ask)]--
	delete(g.queues, r.queue)
}

// promisedTo is what the job's tenant was promised, less what it uses besides its loans
// and what is kept for this job.
func (a *admission) promisedTo(j *ask) int64 {
	b := a.books
	room := b.soon.NominalRoom(j.tenant, j.flavor)
	over := b.soon.Borrowed(j.tenant, j.flavor)
	var gone quota.Amount
	if a.promised(j).held {
		gone = quota.Amount(j.need)
	}
	for _, list := range [2][]*loan{a.loans, a.fresh} {
		for _, l := range list {
			if l.Borrower != j.Tenant || l.ending {
				continue
			}
			for _, grants := range [2][]Grant{l.Grants, l.made} {
				for i := range grants {
					if f, ok := b.used.Flavor(grants[i].Flavor); ok && f == j.flavor {
						gone = gone.Add(quota.Amount(grants[i].Count))
					}
				}
			}
		}
	}
	return int64(min(room.Sub(over).Add(gone), quota.Amount(1<<50)))
}

// want is the claims to the pool and the job's own shape, which is among them where it
// was promised room.
func (r *guard) want(a *admission, p *pool) []shape {
	if a.promised(r.ask).shaped {
		return p.claims
	}
	return with(p.claims, shape{r.UnitsPerPod, r.Pods})
}

// spare is by how much the quota exceeds what the job needs. What was promised to it is
// not in its own way.
func (r *guard) spare(a *admission) int64 {
	if a.promised(r.ask).held {
		r.tree.Use(r.tenant, r.flavor, -quota.Amount(r.need))
		defer r.tree.Use(r.tenant, r.flavor, quota.Amount(r.need))
	}
	room := r.tree.Available(r.tenant, r.flavor)
	if !r.borrows {
		room = min(room, r.tree.NominalRoom(r.tenant, r.flavor))
	}
	return int64(min(room, quota.Amount(1<<50))) - r.need
}

// lift counts the loan as gone.
func (r *guard) lift(a *admission, p *pool, l *loan) {
	if l.number >= 0 {
		r.gone[l.number] = true
	}
	a.comesBack(r.tree, l, 1)
	for n, g := range l.frees() {
		if i, ok := l.place(p, n, &g); ok && g.Flavor == p.flavor {
			r.bins.shift(r.later[i], r.later[i]+g.Count, 1)
			r.later[i] += g.Count
			if r.owned && !l.lent {
				r.back.shift(r.backs[i], r.backs[i]+g.Count, 1)
				r.backs[i] += g.Count
			}
		}
		if !l.lent && g.Flavor == r.Flavor && l.Borrower == r.Tenant {
			r.ownRoom += g.Count
		}
	}
}

// catchUp books what was booked since.
func (r *guard) catchUp(a *admission) {
	for _, c := range a.books.changes[r.seen:] {
		if c.gone == nil || !r.gone[c.gone.number] {
			a.apply(r.tree, c)
		}
	}
	r.seen = len(a.books.changes)
}

// stands reports whether the reservation's job still fits beside the other one.
func (r *guard) stands(a *admission, e entry) bool {
	if r.Flavor == e.Flavor && !r.hasRoom(a, a.pool(r.Flavor), e) {
		return false
	}
	r.catchUp(a)
	r.tree.Use(e.tenant, e.flavor, quota.Amount(e.need))
	fits := r.spare(a) >= 0
	r.tree.Use(e.tenant, e.flavor, -quota.Amount(e.need))
	return fits
}

func (r *guard) hasRoom(a *admission, p *pool, e entry) bool {
	want := r.want(a, p)
	for _, c := range e.claim {
		want = with(want, c)
	}
	left, back := r.bins, r.back
	if len(e.spots) > 0 {
		left, back = slices.Clone(left), slices.Clone(back)
	}
	for _, s := range e.spots {
		n := s.pods * e.UnitsPerPod
		left.shift(r.later[s.room], r.later[s.room]-n, 1)
		if r.owned && e.own {
			back.shift(r.backs[s.room], r.backs[s.room]-n, 1)
		}
	}
	return left.fits(want) && r.leaves(p, back)
}

// admit counts the job's units as taken; its quota is among the books' changes.
func (r *guard) admit(e entry) {
	if r.Flavor != e.Flavor {
		return
	}
	for _, s := range e.spots {
		n := s.pods * e.UnitsPerPod
		r.bins.shift(r.later[s.room], r.later[s.room]-n, 1)
		r.later[s.room] -= n
		if r.owned && e.own {
			r.back.shift(r.backs[s.room], r.backs[s.room]-n, 1)
			r.backs[s.room] -= n
		}
	}
	if e.own && e.tenant == r.tenant {
		r.ownRoom -= e.need
	}
}
