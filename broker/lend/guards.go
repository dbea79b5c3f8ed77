package lend

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// mostGuards is how many reservations of one flavor in one tree of cohorts are
// guarded at a time, those that come first. A later one is guarded once those before
// it have started, which its bound allows for.
const mostGuards = 8

// mostBuilt is how many are looked at for that: those that could never start do not
// count among the guarded.
const mostBuilt = 64

// guards are the reservations of jobs that have waited for long.
type guards struct {
	list []*guard
	// counts are per flavor in a tree: of those that are guarded, and of all. Where a
	// guard is not built yet it counts as if it were alive.
	counts, made map[family]int
	queues       map[int]bool
	// byAge are the loans that go on, oldest first.
	byAge  []*loan
	common common
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
	of := family{a.books.used.Root(tenant), f}
	if g.counts[of] >= mostGuards {
		g.settle(a, func(r *guard) bool { return a.family(r.ask) == of })
	}
	return g.counts[of] >= mostGuards || g.made[of] >= mostBuilt
}

// taken: another job of the queue has its reservation.
func (g *guards) taken(a *admission, queue int) bool {
	if g.queues[queue] {
		g.settle(a, func(r *guard) bool { return r.queue == queue })
	}
	return g.queues[queue]
}

// settle finds out which of the reservations are dead.
func (g *guards) settle(a *admission, which func(*guard) bool) {
	for _, r := range g.list {
		if !r.built && !r.dead && which(r) {
			r.build(a, g)
		}
	}
}

// add makes a reservation for a job that was refused, if it has waited for long and is
// the first such of its queue that could start.
func (g *guards) add(a *admission, j *ask) {
	if !a.isAged(j) || g.taken(a, j.queue) || g.full(a, j.tenant, j.flavor) {
		return
	}
	if g.queues == nil {
		g.queues, g.counts, g.made = map[int]bool{}, map[family]int{}, map[family]int{}
	}
	of := a.family(j)
	g.queues[j.queue] = true
	g.counts[of]++
	g.made[of]++
	g.list = append(g.list, &guard{ask: j, vain: a.waitsInVain(j)})
}

// waitsInVain: the job was refused, and neither is its quota in use, nor is anything of
// its flavor coming free, nor is what it could use kept for a job before it.
func (a *admission) waitsInVain(j *ask) bool {
	return !j.blocked && a.available(j) >= j.need && !slices.ContainsFunc(a.pool(j.Flavor).rooms, room.comesFree)
}

func (d *decision) family(j *ask) family { return family{d.books.used.Root(j.tenant), j.flavor} }

// leave ends the reservation of a job that starts.
func (g *guards) leave(a *admission, j *ask) {
	for _, r := range g.list {
		if r.ask == j && !r.dead {
			r.die(a, g)
		}
	}
}

// concern lists the reservations that the job must leave room for: not its own, and not
// that of who comes after it in its queue and was only tried before it since units were
// asked back. It is asked before the job takes any.
func (g *guards) concern(a *admission, j *ask) []*guard {
	if len(g.list) == 0 {
		return nil
	}
	within := a.within(j)
	var out []*guard
	for _, r := range g.list {
		if r.dead || r.ask == j || !a.sharesQuota(r.ask, j) || a.line.ahead(j, r.ask) {
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

// entry is a job that is to be admitted on some spots, own as in pool.take. One for
// which units are to be asked back has a claim to room instead, and no spots yet.
type entry struct {
	*ask
	spots []spot
	own   bool
	claim []shape
}

// stand reports whether the reservations stand with the job, and if so counts it as
// there.
func stand(a *admission, reservations []*guard, e entry) bool {
	if !standing(a, reservations, e) {
		return false
	}
	for _, r := range reservations {
		r.admit(e)
	}
	return true
}

// standing reports whether the reservations would stand with the job.
func standing(a *admission, reservations []*guard, e entry) bool {
	for _, r := range reservations {
		if !r.stands(a, e) {
			return false
		}
	}
	return true
}

func (d *decision) sharesQuota(a, b *ask) bool {
	return d.books.base[a.flavor] == d.books.base[b.flavor] && d.books.used.Root(a.tenant) == d.books.used.Root(b.tenant)
}
