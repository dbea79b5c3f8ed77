package lend

import (
	"cmp"
	"fmt"

	"github.com/ebbtide/ebbtide/quota"
)

// mostPods bounds a gang, and with it the time that one decision takes.
const mostPods = 10000

// admission goes through the waiting jobs.
type admission struct {
	*decision
	line *line
	// holding are the UIDs of jobs that have an open loan, or get one now, by the
	// loan's name.
	holding map[string]string
	names   map[string]bool // of open loans
	limits  map[string]*Limit
	// outcomes are the verdicts on jobs, by their place in the snapshot.
	outcomes []outcome
	guards   guards
	// fresh are the loans that this decision makes.
	fresh    []*loan
	fairness *fairness
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
	a := &admission{
		decision: d, holding: map[string]string{}, names: map[string]bool{}, limits: map[string]*Limit{},
		outcomes: make([]outcome, len(d.in.Jobs)),
	}
	for _, l := range d.loans {
		a.holding[l.JobUID] = l.Name
		a.names[l.Name] = true
	}
	for i := len(d.in.Limits) - 1; i >= 0; i-- {
		l := d.in.Limits[i]
		a.limits[l.Name] = &l
	}
	a.fairness = newFairness(a)
	a.line = newLine(a)
	a.serveAsked()
	a.line.pass(a)
	a.explainJobs()
}

// refusal says why a job is not considered at all, whatever is free. Such a job
// holds up nobody behind it.
func (a *admission) refusal(j *Job, queue *Queue) (reason, message string) {
	switch {
	case j.Problem != nil:
		return cmp.Or(j.Problem.Reason, ReasonNoRoomForGang), j.Problem.Message
	case !a.books.known(j.Tenant):
		return ReasonUnknownTenant, "its namespace belongs to no tenant"
	case queue == nil:
		return ReasonUnknownQueue, fmt.Sprintf("there is no queue %s", j.Queue)
	case queue.Tenant != j.Tenant:
		return ReasonUnknownQueue, fmt.Sprintf("queue %s does not belong to its tenant", j.Queue)
	case !a.books.lists(j.Tenant, j.Flavor):
		return ReasonUnknownFlavor, fmt.Sprintf("its tenant's quota has no flavor %q", j.Flavor)
	case j.Pods <= 0 || j.UnitsPerPod <= 0 || j.Pods > mostPods:
		return ReasonNoRoomForGang, fmt.Sprintf("asks for %d pods of %d units; admitted are 1 to %d pods of at least 1 unit",
			j.Pods, j.UnitsPerPod, mostPods)
	}
	if loan := a.holding[j.UID]; loan != "" {
		return ReasonReclaiming, fmt.Sprintf("its loan %s is not returned yet", loan)
	}
	switch at := a.stalls[j.UID]; {
	case !at.IsZero():
		return ReasonNotStarted, fmt.Sprintf("its pods found no nodes when it was last admitted; admitted again %s after %s",
			a.pol.StartWithin, stamp(at))
	case queue.Drain:
		return ReasonQueueDraining, fmt.Sprintf("queue %s is being emptied", j.Queue)
	case queue.Paused:
		return ReasonQueuePaused, fmt.Sprintf("queue %s is paused", j.Queue)
	}
	return "", ""
}

// units is what the whole gang needs.
func (j *Job) units() int64 { return int64(quota.Amount(j.Pods).Times(j.UnitsPerPod)) }

func (j *Job) wish() string {
	return fmt.Sprintf("needs %s of %s (%s of %d)", plural(j.units(), "unit"), j.Flavor, plural(j.Pods, "pod"), j.UnitsPerPod)
}

// consider admits the job, asks units back for it, or says why not.
func (a *admission) consider(j *ask) (v verdict, reason, message string) {
	if reason, message := a.overLimit(j.Job); reason != "" {
		if a.line.mixed[shapeOf(j)] {
			return mine, reason, message
		}
		return alikeInQueue, reason, message
	}
	if loan := loanName(j.Job); a.names[loan] {
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

// overLimit says which limit the job does not fit into.
func (a *admission) overLimit(j *Job) (reason, message string) {
	for _, d := range j.Draws {
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
	if until, spent := a.history.spent(j.UID, a.pol); spent {
		return mine, ReasonEvictionBudget, fmt.Sprintf("was taken back %d times within %s; lent to again at %s",
			a.pol.EvictionBudget, a.pol.EvictionWindow, stamp(until))
	}
	takes := a.sources(j, p, max(own, 0))
	switch {
	case takes == nil && j.need <= a.ownRoom(j):
		return t.noRoom() // Its own quota is enough, and it can have no other.
	case takes == nil:
		return alike, ReasonNoLendableUnits, fmt.Sprintf("%s; services lend too little of it now", j.wish())
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

func (t *trial) place(own bool, most int) []spot {
	var spots []spot
	spots, t.spread = t.pool.place(t.Pods, t.UnitsPerPod, own, most, func(spots []spot) bool {
		if stand(t.admission, t.before, entry{ask: t.ask, spots: spots, own: own}) {
			return true
		}
		t.blocked = true
		return false
	})
	return spots
}

// tooSpread: the API server would refuse the Loan.
func (t *trial) tooSpread(grants int) (v verdict, reason, message string) {
	return alike, ReasonNoRoomForGang, fmt.Sprintf("%s; with what is free now that would take %d grants by node and lender, and a loan can have %d",
		t.wish(), grants, mostGrants)
}

// noRoom tells apart what does not fit the nodes, what lenders are owed and what is
// kept for other jobs.
func (t *trial) noRoom() (v verdict, reason, message string) {
	switch slots := t.pool.freeSlots(t.UnitsPerPod); {
	case t.blocked:
		return alike, ReasonReservedForEarlier, fmt.Sprintf("%s; what it could use is kept for a job that has waited longer", t.wish())
	case slots < t.Pods:
		return alike, ReasonNoRoomForGang, fmt.Sprintf("%s; nodes have room for %s of that size", t.wish(), plural(slots, "pod"))
	case t.pool.promised:
		return alike, ReasonNoRoomForGang, fmt.Sprintf("%s; the nodes where they fit are kept for online pods or for jobs that units were asked back for", t.wish())
	}
	return alike, ReasonNoRoomForGang, fmt.Sprintf("%s; the nodes where they fit are kept for online pods", t.wish())
}
