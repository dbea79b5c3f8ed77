package lend

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/ebbtide/ebbtide/quota"
)

// mostPods bounds a gang, and with it the time that one decision takes.
const mostPods = 10000

// admission goes through the waiting jobs.
type admission struct {
	*decision
	line   *line
	limits map[string]*Limit
	guards guards
	// fresh are the loans that this decision makes.
	fresh    []*loan
	fairness *fairness
	// placed is what was found of gangs that did not start, since something last moved.
	placed map[gang]placing
	// moves counts how often something did.
	moves int
	slots map[gang]int64
	// later is what rooms get back later, by room, while promises are gone through.
	later []int64
}

// outcome is what the pass made of a job.
type outcome struct {
	reason, message string
}

// verdict is what becomes of the jobs that are like one that was refused.
type verdict int8

const (
	admitted verdict = iota
	// mine: the refusal says nothing about other jobs.
	mine
	// alike: nothing like it in its tenant, or in its queue, can be admitted either.
	alike
	alikeInQueue
)

// admit admits jobs in order, whole gangs only. Those for which units were asked
// back go first: what comes free is theirs.
func (d *decision) admit() {
	a := d.beginAdmission()
	a.serveAsked()
	a.serveReshaped()
	a.line.pass(a)
	a.reshape()
	a.decision.line = a.line
	if !a.brief {
		a.line.tellGrace(a)
		a.waiting = a.line.places()
	}
}

func (d *decision) beginAdmission() *admission {
	a := &admission{
		decision: d, limits: map[string]*Limit{}, placed: map[gang]placing{}, slots: map[gang]int64{},
	}
	for i := len(d.in.Limits) - 1; i >= 0; i-- {
		l := d.in.Limits[i]
		a.limits[l.Name] = &l
	}
	a.fairness = newFairness(a)
	a.line = newLine(a)
	return a
}

// unusableJob says why a job is not considered, whatever is free and whoever runs. Such
// a job holds up nobody behind it.
func unusableJob(b *books, j *Job, queue *Queue) (reason, message string) {
	switch {
	case j.Problem != nil:
		return cmp.Or(j.Problem.Reason, ReasonNoRoomForGang), j.Problem.Message
	case !b.known(j.Tenant):
		return ReasonUnknownTenant, "its namespace belongs to no tenant"
	case queue == nil:
		return ReasonUnknownQueue, fmt.Sprintf("there is no queue %s", j.Queue)
	case queue.Tenant != j.Tenant:
		return ReasonUnknownQueue, fmt.Sprintf("queue %s does not belong to its tenant", j.Queue)
	case !b.lists(j.Tenant, j.Flavor):
		return ReasonUnknownFlavor, fmt.Sprintf("its tenant's quota has no flavor %q", j.Flavor)
	case j.Pods <= 0 || j.UnitsPerPod <= 0 || j.Pods > mostPods:
		return ReasonNoRoomForGang, fmt.Sprintf("asks for %d pods of %d units; admitted are 1 to %d pods of at least 1 unit",
			j.Pods, j.UnitsPerPod, mostPods)
	case j.UnitsPerPod > 1 && b.slices[j.Flavor]:
		return ReasonSeveralSlices, fmt.Sprintf("asks for %d units of %s in each pod, which are slices of GPUs: several in one pod do not make a larger GPU; ask for one of a larger profile, or for more pods of one each",
			j.UnitsPerPod, j.Flavor)
	}
	return "", ""
}

// units is what the whole gang needs.
func (j *Job) units() int64 { return int64(quota.Amount(j.Pods).Times(j.UnitsPerPod)) }

func (j *Job) wish() string {
	return "needs " + plural(j.units(), "unit") + " of " + j.Flavor + " (" + plural(j.Pods, "pod") + " of " + strconv.FormatInt(j.UnitsPerPod, 10) + ")"
}

// consider admits the job, asks units back for it, or says why not.
func (a *admission) consider(j *ask) (v verdict, reason, message string) {
	if reason, message := a.overLimit(j.Draws); reason != "" {
		if a.line.mixes(j) {
			return mine, reason, message
		}
		return alikeInQueue, reason, message
	}
	if loan := a.line.loanName(j); a.isLent(loan) {
		return mine, ReasonReclaiming, fmt.Sprintf("a loan %s is not returned yet", loan)
	}
	v, reason, message = a.try(j)
	if v != alike {
		return v, reason, message
	}
	if asked, why, text := a.takeBackFor(j); asked {
		return mine, why, text
	}
	a.guards.add(a, j)
	return v, reason, message
}

// isLent: there is a loan of that name, or there will be.
func (a *admission) isLent(name string) bool {
	return a.shelf.has(name) || slices.ContainsFunc(a.fresh, func(l *loan) bool { return l.Name == name })
}

// overLimit says which limit has less left than is drawn.
func (a *admission) overLimit(draws []Draw) (reason, message string) {
	for _, d := range draws {
		if l := a.limits[d.Limit]; l != nil && d.Amount > l.Left {
			return cmp.Or(l.Reason, ReasonLimitReached), l.Message
		}
	}
	return "", ""
}

func (a *admission) draw(d Draw) {
	if l := a.limits[d.Limit]; l != nil {
		l.Left = int64(quota.Amount(l.Left).Sub(quota.Amount(max(d.Amount, 0))))
	}
}

// try admits the job if it fits now.
func (a *admission) try(j *ask) (v verdict, reason, message string) {
	if a.available(j) < j.need {
		reason, message = a.tooMuch(j)
		return alike, reason, message
	}
	p := a.pool(j.Flavor)
	t := &trial{admission: a, ask: j, pool: p, before: a.guards.concern(a, j)}
	j.blocked = false
	own := a.ownRoom(j)
	if j.need <= own {
		if spots := t.place(true, mostGrants); spots != nil {
			reason, message = a.grantOwn(j, p, spots)
			return admitted, reason, message
		}
		if t.spread > mostGrants {
			return t.tooSpread(t.spread)
		}
		// Where owners could not get back in their shape, it may still run on what
		// can be taken from it.
		own = 0
	}
	if until, spent := a.history.spent(j.UID, a.now, a.pol); spent {
		return mine, ReasonEvictionBudget, fmt.Sprintf("was taken back %d times within %s; lent to again at %s",
			a.pol.EvictionBudget, a.pol.EvictionWindow, stamp(until))
	}
	if reason, message := a.lendMade(t); reason != "" {
		return admitted, reason, message
	}
	takes := a.sources(j, p, max(own, 0))
	switch {
	case takes == nil && j.need <= a.ownRoom(j):
		return t.noRoom() // Its own quota is enough, and it can have no other.
	case takes == nil:
		return alike, ReasonNoLendableUnits, j.wish() + "; services lend too little of it now"
	}
	// Where one source's units end and the next one's begin, a node has two grants.
	most := mostGrants - (len(takes) - 1)
	spots := t.place(false, most)
	if spots != nil {
		reason, message = a.grantLoan(j, p, spots, takes)
		return admitted, reason, message
	}
	if t.spread > most {
		return t.tooSpread(t.spread + len(takes) - 1)
	}
	return t.noRoom()
}

// trial is a search for nodes.
type trial struct {
	*admission
	*ask
	pool *pool
	// before are the reservations that it must leave room for.
	before []*guard
	// spread is over how many nodes the gang would be.
	spread int
}

// place finds nodes for the gang. What others like it would get, or why they got
// nothing, is remembered until something moves: then only the reservations differ.
func (t *trial) place(own bool, most int) []spot {
	of := gang{t.pool, t.Pods, t.UnitsPerPod, own}
	if like, known := t.placed[of]; known {
		t.spread = like.spread
		if like.spots == nil || like.spread > most {
			return nil
		}
		if !standing(t.admission, t.before, entry{ask: t.ask, spots: like.spots, own: own}) {
			t.blocked = true
			return nil
		}
	}
	var like placing
	var spots []spot
	spots, t.spread = t.pool.place(t.Pods, t.UnitsPerPod, own, most, func(spots []spot) bool {
		like.spots = slices.Clone(spots)
		if !t.inTime(t.pool, spots, t.UnitsPerPod) {
			return false
		}
		if stand(t.admission, t.before, entry{ask: t.ask, spots: spots, own: own}) {
			return true
		}
		t.blocked = true
		return false
	})
	if spots == nil && t.spread <= most {
		like.spread = t.spread
		t.placed[of] = like
	}
	return spots
}

// gang is what the room that a job can have depends on, besides reservations.
type gang struct {
	pool       *pool
	pods, size int64
	own        bool
}

// placing is where a gang would go, nil where owners' claims leave no place for it.
type placing struct {
	spots  []spot
	spread int
}

// freeSlots is the pool's, remembered until something moves.
func (a *admission) freeSlots(p *pool, size int64) int64 {
	of := gang{pool: p, size: size}
	slots, known := a.slots[of]
	if !known {
		slots = p.freeSlots(size)
		a.slots[of] = slots
	}
	return slots
}

// moved forgets what would be placed where: rooms or claims to them changed.
func (a *admission) moved() {
	a.moves++
	clear(a.placed)
	clear(a.slots)
}

// tooSpread: the API server would refuse the Loan.
func (t *trial) tooSpread(grants int) (v verdict, reason, message string) {
	return alike, ReasonNoRoomForGang, fmt.Sprintf("%s; with what is free now that would take %d grants by node and lender, and a loan can have %d",
		t.wish(), grants, mostGrants)
}

// noRoom tells apart what does not fit the nodes, what lenders are owed and what is
// kept for other jobs.
func (t *trial) noRoom() (v verdict, reason, message string) {
	switch slots := t.freeSlots(t.pool, t.UnitsPerPod); {
	case t.blocked:
		return alike, ReasonReservedForEarlier, t.wish() + "; what it could use is kept for a job that has waited longer"
	case slots < t.Pods && t.pool.barredSlots(t.UnitsPerPod) >= t.Pods:
		return alike, ReasonNoRoomForGang, t.wish() + "; nodes have room for " + plural(slots, "pod") + " of that size, " + t.pool.barredText()
	case slots < t.Pods:
		return alike, ReasonNoRoomForGang, t.wish() + "; nodes have room for " + plural(slots, "pod") + " of that size"
	case t.pool.promised:
		return alike, ReasonNoRoomForGang, t.wish() + "; the nodes where they fit are kept for online pods or for jobs that units were asked back for"
	}
	return alike, ReasonNoRoomForGang, t.wish() + "; the nodes where they fit are kept for online pods"
}
