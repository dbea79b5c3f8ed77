package lend

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// takeBackFor asks back what the job needs, if it may.
func (a *admission) takeBackFor(j *ask) (asked bool, reason, message string) {
	f := a.fairness
	if !a.mayAsk(j.UID) {
		return false, "", ""
	}
	h := f.of(j.tenant, j.flavor)
	own := newHome(a.decision, j, h)
	if !own.could() {
		return false, "", ""
	}
	awaits := quota.Amount(j.need) <= a.books.soon.NominalRoom(j.tenant, j.flavor) && a.comesFree(j)
	grounds := none
	if !awaits {
		grounds = f.chance(j.tenant, j.flavor, j.need, j.Priority)
		if grounds == none || !h.couldHold(a.decision, j) || !a.turn(j.UID, grounds) {
			return false, "", ""
		}
	}
	if !stand(a, a.guards.concern(a, j), entry{ask: j, claim: []shape{{j.UnitsPerPod, j.Pods}}}) {
		return false, "", ""
	}
	// An attempt stands for having been taken back. It also counts admissions that came to
	// nothing and runs on own quota that their owner stopped, since nothing tells them
	// apart here: such a job takes nothing in order to borrow either.
	rooms := newRoomSearch(a.decision, j, h)
	victims, causes, ok := a.books.soon.TakeBack(quota.Claim{
		Tenant: j.tenant, Flavor: j.flavor, Units: quota.Amount(j.need), Priority: j.Priority, TakenBack: j.Attempt > 0,
	}, h.held, a.pol.FairPreemption, func(victims []int) bool { return own.fits(victims) && rooms.fits(victims) })
	if !ok || len(victims) == 0 && !awaits {
		a.foundNothing(grounds)
		return false, "", ""
	}
	var back []*loan
	if len(victims) > 0 {
		back = a.askBack(j, h, victims, causes)
	}
	a.guards.add(a, j)
	a.keep(j, back)
	reason, message = waitsForReturn(j)
	if len(victims) == 0 {
		message = fmt.Sprintf("%s; what it waits for is coming free", j.wish())
	}
	return true, reason, message
}

// couldHold reports whether the nodes had room for the gang if all were taken back. It
// may say yes where some has been asked back since it first looked.
func (h *holdings) couldHold(d *decision, j *ask) bool {
	p := d.pool(j.Flavor)
	most, known := h.most[j.Flavor]
	if !known {
		r := newRoomSearch(d, j, h)
		all := make([]int, 0, len(h.loans))
		for i := range h.loans {
			if h.held[i].Units > 0 {
				all = append(all, i)
			}
		}
		r.fits(all)
		most = r.bins
		h.most[j.Flavor] = most
	}
	return most.fits(with(p.claims, shape{j.UnitsPerPod, j.Pods}))
}

// comesFree: the job fits once what ends has gone, and something that it could use
// still has to.
func (a *admission) comesFree(j *ask) bool {
	b, p := a.books, a.pool(j.Flavor)
	need := quota.Amount(j.need)
	ends := b.used.Available(j.tenant, j.flavor) < need || slices.ContainsFunc(p.rooms, room.comesFree)
	return ends && b.soon.Available(j.tenant, j.flavor) >= need && p.soon.fits(with(p.claims, shape{j.UnitsPerPod, j.Pods}))
}

var quotaReasons = map[quota.Cause][2]string{
	quota.OwnerWants: {ReasonOwnerWants, "units within another tenant's nominal quota are wanted back"},
	quota.FairShare:  {ReasonFairShare, "a tenant with a smaller share wants the units"},
	quota.Outranked:  {ReasonOutranked, "a job of the same tenant with a higher priority wants its quota"},
}

// askBack asks for the victims on behalf of the job, and counts them as coming free.
func (a *admission) askBack(j *ask, h *holdings, victims []int, causes []quota.Cause) (back []*loan) {
	a.requests.made++
	a.requests.at[j.UID], a.requests.pending[j.UID] = a.now, true
	id := fmt.Sprintf("r-%d-%d-q%d", a.in.Epoch, a.number, a.requests.made)
	for n, i := range victims {
		l, why := h.loans[i], quotaReasons[causes[n]]
		a.takeBack(l, &Action{
			ReclaimBy: a.now.Add(min(a.graceOf(l, nil), max(a.pol.QuotaGrace, 0))),
			ReclaimID: id, ReclaimedFor: j.UID, Reason: why[0], Message: why[1],
		})
		a.history.add(l.JobUID, l.Since, a.now)
		a.giveBack(l)
		a.comesBack(a.books.soon, l, 1)
		a.books.changes = append(a.books.changes, change{gone: l, stage: len(a.requests.kept) + 1})
		h.held[i].Units = 0
		back = append(back, l)
	}
	a.books.version++
	a.moved()
	return back
}

// roomSearch answers whether the gang has room once some loans are gone.
type roomSearch struct {
	*decision
	pool  *pool
	loans []*loan
	want  []shape
	bins  bins
	soon  []int64 // by room
	out   []bool  // by loan: gone
	mark  []int   // by loan: the question in which it was last named
	asked int
}

func newRoomSearch(d *decision, j *ask, h *holdings) *roomSearch {
	p := d.pool(j.Flavor)
	r := &roomSearch{
		decision: d, pool: p, loans: h.loans, want: with(p.claims, shape{j.UnitsPerPod, j.Pods}),
		bins: slices.Clone(p.soon), soon: make([]int64, len(p.rooms)),
		out: make([]bool, len(h.loans)), mark: make([]int, len(h.loans)),
	}
	for i := range p.rooms {
		r.soon[i] = p.rooms[i].soon
	}
	return r
}

// fits moves only the loans that changed sides since the last question.
func (r *roomSearch) fits(victims []int) bool {
	r.asked++
	for _, v := range victims {
		r.mark[v] = r.asked
		if !r.out[v] {
			r.move(v, 1)
		}
	}
	for v, out := range r.out {
		if out && r.mark[v] != r.asked {
			r.move(v, -1)
		}
	}
	return r.bins.fits(r.want)
}

func (r *roomSearch) move(v int, sign int64) {
	r.out[v] = sign > 0
	for n, g := range r.loans[v].frees() {
		if g.Flavor != r.pool.flavor {
			continue
		}
		if i, ok := r.loans[v].place(r.pool, n, &g); ok {
			r.bins.shift(r.soon[i], r.soon[i]+sign*g.Count, 1)
			r.soon[i] += sign * g.Count
		}
	}
}
