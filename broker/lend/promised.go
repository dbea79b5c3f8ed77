package lend

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// promise is what is kept for a job for which units were asked back, and what comes back
// for it.
type promise struct {
	*ask
	// held: the quotas are kept from others; shaped: so is its shape, among its pool's
	// claims.
	held, shaped bool
	// back comes free for it.
	back []*loan
}

// keep enters a promise after those before it.
func (a *admission) keep(j *ask, back []*loan) {
	a.requests.kept = append(a.requests.kept, promise{ask: j, back: back})
	a.requests.awaited = a.requests.awaited || len(back) > 0
	a.requests.serving = len(a.requests.kept)
	j.promise = a.requests.serving
	a.keepAgain(a.requests.serving - 1)
}

// keepAgain keeps from others what the job with the n-th promise needs, in its quota and,
// where what comes free has it, in its shape.
func (a *admission) keepAgain(n int) {
	k := &a.requests.kept[n]
	k.held, k.shaped = true, false
	a.books.promise(k.ask, k.need, n+1)
	a.keepHome(k.ask, k.need)
	a.moved()
	p := a.pool(k.Flavor)
	claims := with(p.claims, shape{k.UnitsPerPod, k.Pods})
	if !p.soon.fits(claims) {
		return
	}
	k.shaped = true
	p.claims, p.promised = claims, true
	if i, known := slices.BinarySearchFunc(p.sizes, k.UnitsPerPod, func(a, b int64) int { return cmp.Compare(b, a) }); !known {
		p.sizes = slices.Insert(p.sizes, i, k.UnitsPerPod)
	}
}

// promised is the job's latest promise, which may have been let go; it is empty where none
// was made.
func (a *admission) promised(j *ask) (k promise) {
	if j.promise > 0 {
		k = a.requests.kept[j.promise-1]
	}
	return k
}

// letGo is the opposite of keepAgain.
func (a *admission) letGo(n int) {
	k := &a.requests.kept[n]
	a.books.promise(k.ask, -k.need, n+1)
	a.keepHome(k.ask, -k.need)
	a.moved()
	if k.shaped {
		p := a.pool(k.Flavor)
		p.claims = without(p.claims, shape{k.UnitsPerPod, k.Pods})
	}
	k.held, k.shaped = false, false
}

// coming lists the loans that were asked back for jobs and come free, by the job's UID.
func (d *decision) coming() map[string][]*loan {
	out := map[string][]*loan{}
	for _, l := range d.loans {
		if uid := l.ReclaimedFor; uid != "" && l.Reclaiming && l.comesFree() {
			out[uid] = append(out[uid], l)
		}
	}
	return out
}

// before goes back through the promises, the latest first, and has each forgotten: what
// is kept for it and what comes back for it. Where something comes back, check is asked
// next about those that are left: what is there and what comes for them must be enough
// for them, since what was asked back for a later job may come later. Who asked before
// the job that is served now is all that it has to heed.
func (r *requests) before(forget func(*promise), check func() bool) bool {
	came := false // something was to come back for those forgotten since check was asked
	for n := len(r.kept) - 1; n >= 0; n-- {
		forget(&r.kept[n])
		came = came || len(r.kept[n].back) > 0
		if n > r.serving || !came {
			continue
		}
		if came = false; !check() {
			return false
		}
	}
	return true
}

// unpromised is how much of the quota the job's tenant could have now without using in
// place of what others wait for what comes back later: at each stage, what was asked back
// for a later promise may come later.
func (d *decision) unpromised(j *ask) quota.Amount {
	least := d.books.soon.Available(j.tenant, j.flavor)
	if !d.requests.awaited {
		return least
	}
	top := min(d.requests.serving, len(d.requests.kept)-1)
	return min(least, d.leastUpTo(top, family{j.tenant, j.flavor}))
}

// inTime reports whether those for whom something comes back have room as soon as they
// had before a gang of this size took the spots. What they had no room for before, it
// does not delay.
func (a *admission) inTime(p *pool, spots []spot, size int64) bool {
	if !a.requests.awaited {
		return true
	}
	bins, claims := slices.Clone(p.soon), slices.Clone(p.claims)
	a.later = zeroed(a.later, len(p.rooms))
	later := a.later
	return a.requests.before(func(k *promise) {
		for _, l := range k.back {
			for n, g := range l.frees() {
				if i, ok := l.place(p, n, &g); ok && g.Flavor == p.flavor {
					soon := p.rooms[i].soon - later[i]
					bins.shift(soon, soon-g.Count, 1)
					later[i] += g.Count
				}
			}
		}
		if k.shaped && k.Flavor == p.flavor {
			claims = takenOut(claims, shape{k.UnitsPerPod, k.Pods})
		}
	}, func() bool {
		if bins.fits(claims) {
			return true
		}
		had := slices.Clone(bins)
		for _, s := range spots {
			soon := p.rooms[s.room].soon - later[s.room]
			had.shift(soon, soon+s.pods*size, 1)
		}
		return !had.fits(claims)
	})
}
