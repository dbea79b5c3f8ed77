package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// admission goes through the waiting jobs.
type admission struct {
	*decision
	queues map[string]Queue
	// holding are the UIDs of jobs that have an open loan, or get one now, by the
	// loan's name.
	holding map[string]string
	names   map[string]bool // of open loans
	// waiting are queues without backfill in which a job waits.
	waiting map[string]bool
}

// mostPods bounds a gang, and with it the time that one decision takes.
const mostPods = 10000

// mostGrants is how many grants one Loan can have.
const mostGrants = 1024

// take is what one lender gives to a job.
type take struct {
	lender *lender
	units  int64
}

// admit admits jobs in order, whole gangs only: on their tenant's own nominal
// quota if they fit there, as a loan otherwise.
func (d *decision) admit() {
	a := &admission{
		decision: d, queues: map[string]Queue{}, holding: map[string]string{},
		names: map[string]bool{}, waiting: map[string]bool{},
	}
	for _, q := range d.in.Queues {
		a.queues[q.Name] = q
	}
	for _, l := range d.loans {
		a.holding[l.JobUID] = l.Name
		a.names[l.Name] = true
	}
	seen := map[string]bool{}
	for _, j := range InOrder(d.in.Jobs, d.in.Queues) {
		if seen[j.UID] {
			continue
		}
		seen[j.UID] = true
		a.consider(&j)
	}
}

// InOrder returns the jobs in the order in which they are considered: by priority,
// then age, then name, then UID. In a FIFO queue a job's priority counts for no
// more than that of those ahead of it, so that it passes none of them. A queue that
// is not listed goes by priority. The arguments are not changed.
func InOrder(jobs []Job, queues []Queue) []Job {
	fifo := map[string]bool{}
	for _, q := range queues {
		fifo[q.Name] = q.FIFO
	}
	out := slices.Clone(jobs)
	slices.SortStableFunc(out, byAge)
	lowest := map[string]int32{}
	rank := make(map[string]int32, len(out))
	for _, j := range out {
		rank[j.UID] = j.Priority
		if !fifo[j.Queue] {
			continue
		}
		if low, ok := lowest[j.Queue]; ok {
			rank[j.UID] = min(j.Priority, low)
		}
		lowest[j.Queue] = rank[j.UID]
	}
	slices.SortStableFunc(out, func(a, b Job) int { return cmp.Compare(rank[b.UID], rank[a.UID]) })
	return out
}

func byAge(a, b Job) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
}

// consider admits one job or says why not.
func (a *admission) consider(j *Job) {
	if reason, message := a.refusal(j); reason != "" {
		a.say(SubjectJob, j.Name, reason, "%s", message)
		return
	}
	queue := a.queues[j.Queue]
	if !queue.Backfill && a.waiting[j.Queue] {
		a.say(SubjectJob, j.Name, ReasonBehindInQueue, "waits behind an earlier job of queue %s, which allows no backfill", j.Queue)
		return
	}
	reason, message := a.try(j)
	a.say(SubjectJob, j.Name, reason, "%s", message)
	if reason != ReasonLent && reason != ReasonWithinNominal {
		a.waiting[j.Queue] = true
	}
}

// refusal says why a job is not considered at all, whatever is free. Such a job
// holds up nobody behind it.
func (a *admission) refusal(j *Job) (reason, message string) {
	queue, known := a.queues[j.Queue]
	loan := a.holding[j.UID]
	switch {
	case j.Problem != nil:
		return cmp.Or(j.Problem.Reason, ReasonNoRoomForGang), j.Problem.Message
	case !a.book.Known(j.Tenant):
		return ReasonUnknownTenant, "its namespace belongs to no tenant"
	case !known:
		return ReasonUnknownQueue, fmt.Sprintf("there is no queue %s", j.Queue)
	case queue.Tenant != j.Tenant:
		return ReasonUnknownQueue, fmt.Sprintf("queue %s does not belong to its tenant", j.Queue)
	case !a.book.Lists(j.Tenant, j.Flavor):
		return ReasonUnknownFlavor, fmt.Sprintf("its tenant's quota has no flavor %q", j.Flavor)
	case j.Pods <= 0 || j.UnitsPerPod <= 0 || j.Pods > mostPods:
		return ReasonNoRoomForGang, fmt.Sprintf("asks for %d pods of %d units; admitted are 1 to %d pods of at least 1 unit",
			j.Pods, j.UnitsPerPod, mostPods)
	case loan != "":
		return ReasonReclaiming, fmt.Sprintf("its loan %s is not returned yet", loan)
	case a.names[loanName(j)]:
		return ReasonReclaiming, fmt.Sprintf("a loan %s is not returned yet", loanName(j))
	case !a.stalls[j.UID].IsZero():
		return ReasonNotStarted, fmt.Sprintf("its pods found no nodes when it was last admitted; admitted again %s after %s",
			a.pol.StartWithin, stamp(a.stalls[j.UID]))
	case queue.Paused:
		return ReasonQueuePaused, fmt.Sprintf("queue %s is paused", j.Queue)
	}
	return "", ""
}

// units is what the whole gang needs.
func (j *Job) units() int64 { return int64(quota.Amount(j.Pods).Times(j.UnitsPerPod)) }

// try admits the job on its tenant's own quota, or else as a loan.
func (a *admission) try(j *Job) (reason, message string) {
	p := a.pool(j.Flavor)
	room := a.book.NominalRoom(j.Tenant, j.Flavor)
	if quota.Amount(j.units()) <= room {
		spots, spread := p.place(j.Pods, j.UnitsPerPod, true, mostGrants)
		if spots != nil {
			return a.grantOwn(j, p, spots)
		}
		if spread > mostGrants {
			return tooSpread(j, spread)
		}
	}
	if until, spent := a.history.spent(j.UID, a.pol); spent {
		return ReasonEvictionBudget, fmt.Sprintf("was taken back %d times within %s; lent to again at %s",
			a.pol.EvictionBudget, a.pol.EvictionWindow, stamp(until))
	}
	takes, reason, message := a.collect(j, p)
	if takes == nil {
		return reason, message
	}
	// Where one lender's units end and the next one's begin, a node has two grants.
	most := mostGrants - (len(takes) - 1)
	spots, spread := p.place(j.Pods, j.UnitsPerPod, false, most)
	switch {
	case spread > most:
		return tooSpread(j, spread+len(takes)-1)
	case spots == nil:
		return a.noRoom(j, p)
	}
	return a.grantLoan(j, p, spots, takes)
}

// tooSpread: the API server would refuse the Loan.
func tooSpread(j *Job, grants int) (reason, message string) {
	return ReasonNoRoomForGang, fmt.Sprintf("%s; with what is free now that would take %d grants by node and lender, and a loan can have %d",
		j.wish(), grants, mostGrants)
}

// noRoom tells apart what does not fit the nodes and what lenders are owed.
func (a *admission) noRoom(j *Job, p *pool) (reason, message string) {
	if slots := p.freeSlots(j.UnitsPerPod); slots < j.Pods {
		return ReasonNoRoomForGang, fmt.Sprintf("%s; nodes have room for %s of that size", j.wish(), plural(slots, "pod"))
	}
	return ReasonNoRoomForGang, fmt.Sprintf("%s; the nodes where they fit are kept for online pods", j.wish())
}

func (j *Job) wish() string {
	return fmt.Sprintf("needs %s of %s (%s of %d)", plural(j.units(), "unit"), j.Flavor, plural(j.Pods, "pod"), j.UnitsPerPod)
}

func are(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// collect says which lenders give how many units. The tenant's own services come
// first, since that counts against no limit but its nominal quota, then who can
// lend most.
func (a *admission) collect(j *Job, p *pool) (takes []take, reason, message string) {
	lenders, inside, all := a.eligible(j, p)
	borrow := a.book.BorrowingRoom(j.Tenant, j.Flavor)
	need := j.units()
	if quota.Amount(need) > borrow.Add(quota.Amount(inside)) && a.book.FitsBorrowing(j.Tenant, j.Flavor, quota.Amount(need)) == quota.OverBorrowingLimit {
		return nil, ReasonOverBorrowingLimit, fmt.Sprintf("%s; its tenant may borrow %d more", j.wish(), borrow)
	}
	if inside < need && a.book.FitsBorrowing(j.Tenant, j.Flavor, quota.Amount(need)) == quota.NoCohort {
		return nil, ReasonNoLendableUnits, j.wish() + "; its tenant is in no cohort, so it cannot borrow"
	}
	if all < need {
		return nil, ReasonNoLendableUnits, fmt.Sprintf("%s; %d %s lendable now", j.wish(), all, are(all))
	}
	lent := map[string]quota.Amount{} // by tenant
	missing := need
	for _, l := range lenders {
		n := min(missing, l.lendable)
		if l.Tenant == j.Tenant {
			n = min(n, inside)
			inside -= n
		} else {
			room := a.book.LendingRoom(l.Tenant, j.Flavor).Sub(lent[l.Tenant])
			n = int64(min(quota.Amount(n), room, borrow))
			lent[l.Tenant] = lent[l.Tenant].Add(quota.Amount(n))
			borrow = borrow.Sub(quota.Amount(n))
		}
		if n > 0 {
			takes = append(takes, take{l, n})
			missing -= n
		}
	}
	if missing > 0 {
		return nil, ReasonLendingLimitReached, fmt.Sprintf("%s; the lending limits of its cohort allow %d more", j.wish(), need-missing)
	}
	return takes, "", ""
}

// eligible lists the lenders that may lend to the job now, and how much its own
// tenant's, within its nominal quota, and all of them could.
func (a *admission) eligible(j *Job, p *pool) (lenders []*lender, inside, all int64) {
	for _, l := range p.lenders {
		if !l.open || l.lendable == 0 || !a.book.MayLend(l.Tenant, j.Tenant) {
			continue
		}
		lenders = append(lenders, l)
		if l.Tenant == j.Tenant {
			inside += l.lendable
		} else {
			all += l.lendable
		}
	}
	inside = min(inside, int64(a.book.InsideRoom(j.Tenant, j.Flavor)))
	all += inside
	slices.SortStableFunc(lenders, func(x, y *lender) int {
		if own := x.Tenant == j.Tenant; own != (y.Tenant == j.Tenant) {
			if own {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.lendable, x.lendable)
	})
	return lenders, inside, all
}

func (a *admission) grantOwn(j *Job, p *pool, spots []spot) (reason, message string) {
	grants := make([]Grant, 0, len(spots))
	for _, s := range spots {
		grants = append(grants, Grant{Node: p.rooms[s.room].node, Flavor: p.flavor, Count: s.pods * j.UnitsPerPod})
	}
	a.book.UseOwn(j.Tenant, j.Flavor, quota.Amount(j.units()))
	message = got(j, spots) + ", within its tenant's own quota"
	a.lend(j, Action{Grants: grants, Reason: ReasonWithinNominal, Message: message})
	return ReasonWithinNominal, message
}

// grantLoan splits the units among the lenders, node by node.
func (a *admission) grantLoan(j *Job, p *pool, spots []spot, takes []take) (reason, message string) {
	act := Action{Reason: ReasonLent, MaxGrace: math.MaxInt64}
	for _, t := range takes {
		t.lender.lendable -= t.units
		t.lender.lent += t.units
		a.book.Lend(t.lender.Tenant, j.Tenant, j.Flavor, quota.Amount(t.units))
		act.MaxGrace = min(act.MaxGrace, t.lender.MaxGrace)
	}
	act.Message = got(j, spots) + ", lent by " + names(takes)
	left := takes
	for _, s := range spots {
		for units := s.pods * j.UnitsPerPod; units > 0; {
			n := min(units, left[0].units)
			act.Grants = append(act.Grants, Grant{
				Lender: left[0].lender.Name, Node: p.rooms[s.room].node, Flavor: p.flavor, Count: n,
			})
			units -= n
			left[0].units -= n
			if left[0].units == 0 {
				left = left[1:]
			}
		}
	}
	slices.SortStableFunc(act.Grants, func(x, y Grant) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Lender, y.Lender))
	})
	a.lend(j, act)
	return ReasonLent, act.Message
}

func got(j *Job, spots []spot) string {
	return fmt.Sprintf("%s of %s on %s", plural(j.units(), "unit"), j.Flavor, plural(int64(len(spots)), "node"))
}

func names(takes []take) string {
	if len(takes) == 1 {
		return takes[0].lender.Name
	}
	return fmt.Sprintf("%s and %d more", takes[0].lender.Name, len(takes)-1)
}

func (a *admission) lend(j *Job, act Action) {
	act.Kind, act.Loan, act.Job, act.JobUID = ActionLend, loanName(j), j.Name, j.UID
	act.Attempt = attempt(j)
	a.names[act.Loan] = true
	a.holding[j.UID] = act.Loan
	a.lends = append(a.lends, act)
}
