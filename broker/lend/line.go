package lend

import (
	"fmt"

	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/quota/queue"
)

// line is the crowd in one decision: who is considered, in what order, and what came of
// it. A job that is not considered has its place in its queue as well.
type line struct {
	*crowd
	queues []Queue // as they are now; the crowd's are as they were first seen
	// aged are tenants and flavors with a job that has waited for long, top their highest
	// priorities; all by tenant × flavor.
	aged []bool
	top  []int32
	// considered: jobs of theirs are.
	considered []bool
	// asks are the jobs that were looked at closely, by slot.
	asks map[int]*ask
	// mixed are, by queue, the shapes of which not all jobs draw the same.
	mixed map[int]map[shapeKey]bool
	// texts are the verdicts; said names them by their places. The first is none.
	texts []outcome
	// tried are the jobs that were tried and still wait, in this order.
	tried []int
	// behind are queues without backfill in which a job waits for what was asked back.
	behind []bool
	// behinds are the verdicts on those behind others, by queue.
	behinds []int32
}

// shapeKey is what jobs of one queue have in common that differ in nothing but age
// and priority.
type shapeKey struct {
	flavor       quota.FlavorID
	pods, perPod int64
}

func shapeOf(j *Job, f quota.FlavorID) shapeKey { return shapeKey{f, j.Pods, j.UnitsPerPod} }

// newLine finds out who is considered.
func newLine(a *admission) *line {
	n := len(a.crowd.briefs)
	l := &line{
		crowd: a.crowd, queues: make([]Queue, 0, len(a.crowd.queues)), behind: make([]bool, len(a.crowd.queues)),
		aged: make([]bool, len(a.books.lentOut)), top: make([]int32, len(a.books.lentOut)),
		considered: make([]bool, len(a.books.lentOut)),
		asks:       map[int]*ask{}, mixed: map[int]map[shapeKey]bool{}, texts: make([]outcome, 1),
	}
	for _, q := range a.in.Queues {
		if int(l.byQueue[q.Name]) == len(l.queues) {
			l.queues = append(l.queues, q)
		}
	}
	l.said, l.want, l.offered = zeroed(l.said, n), zeroed(l.want, n), zeroed(l.offered, n)
	l.setAside(a)
	l.read(a)
	return l
}

// zeroed is a list of n zeroes, in the old one's place if that is long enough.
func zeroed[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n, n+n/8)
	}
	list = list[:n]
	clear(list)
	return list
}

// setAside says why jobs are not considered that ran until now.
func (l *line) setAside(a *admission) {
	for uid, at := range a.stalls {
		if slot, ok := l.find(uid); ok && !l.briefs[slot].refused {
			l.tell(int(slot), outcome{ReasonNotStarted, fmt.Sprintf("its pods found no nodes when it was last admitted; admitted again %s after %s",
				a.pol.StartWithin, stamp(at))})
		}
	}
	holds := func(slot int32, loan string) {
		if !l.briefs[slot].refused {
			l.tell(int(slot), outcome{ReasonReclaiming, fmt.Sprintf("its loan %s is not returned yet", loan)})
		}
	}
	if len(l.byUID) > len(a.loans) {
		for _, loan := range a.loans { // of several of one job the last counts
			if slot, ok := l.find(loan.JobUID); ok {
				holds(slot, loan.Name)
			}
		}
		return
	}
	for _, slot := range l.byUID {
		if loan, ok := a.shelf.of(l.uids[slot]); ok {
			holds(slot, loan)
		}
	}
}

// read says of every job whether it is considered, or why not.
func (l *line) read(a *admission) {
	closed, over := l.closed(), l.overLimits(a)
	aged := momentOf(a.now.Add(-a.pol.ReserveAfter))
	for slot := range l.briefs {
		b := &l.briefs[slot]
		switch {
		case !l.alive[slot]:
		case b.refused:
			l.tell(slot, l.refusals[int32(slot)])
			if b.queue != nobody {
				l.want[slot] = listed
			}
		case l.said[slot] != 0:
			l.want[slot] = listed
		case closed[b.queue] != 0: // which keeps it from being offered
			l.said[slot], l.want[slot] = closed[b.queue], entered
		case over[b.draws] != 0 && l.queues[b.queue].Backfill:
			l.said[slot], l.want[slot] = over[b.draws], listed
		default:
			l.want[slot] = entered
			l.aged[b.of] = l.aged[b.of] || !b.since.after(aged) && a.ages(l.tenants[b.queue])
			if !l.considered[b.of] || l.top[b.of] < b.priority {
				l.top[b.of], l.considered[b.of] = b.priority, true
			}
		}
	}
}

// closed says, by queue, why nothing of it is considered.
func (l *line) closed() []int32 {
	out := make([]int32, len(l.queues))
	for i := range l.queues {
		switch q := &l.queues[i]; {
		case q.Drain:
			out[i] = l.text(outcome{ReasonQueueDraining, fmt.Sprintf("queue %s is being emptied", q.Name)})
		case q.Paused:
			out[i] = l.text(outcome{ReasonQueuePaused, fmt.Sprintf("queue %s is paused", q.Name)})
		}
	}
	return out
}

// overLimits says, by draws, which limit is exceeded.
func (l *line) overLimits(a *admission) []int32 {
	out := make([]int32, len(l.draws))
	for i, draws := range l.draws {
		if reason, message := a.overLimit(draws); reason != "" {
			out[i] = l.text(outcome{reason, message})
		}
	}
	return out
}

func (l *line) text(o outcome) int32 {
	l.texts = append(l.texts, o)
	return int32(len(l.texts) - 1)
}

// tell sets the verdict on a job.
func (l *line) tell(slot int, o outcome) { l.said[slot] = l.text(o) }

// considers: nothing was said of the job yet.
func (l *line) considers(slot int32) bool { return l.want[slot] == entered && l.said[slot] == 0 }

// ask is the job as it asks for units, the same for the whole decision. It must not be
// one that is refused.
func (l *line) ask(slot int) *ask {
	if k := l.asks[slot]; k != nil {
		return k
	}
	k := l.newAsk(slot)
	l.asks[slot] = &k
	return &k
}

func (l *line) newAsk(slot int) ask {
	j, b := l.job(slot), &l.briefs[slot]
	return ask{
		Job: j, tenant: l.tenants[b.queue], flavor: b.flavor, cohort: l.cohorts[b.queue],
		need: j.units(), queue: int(b.queue), slot: slot,
	}
}

// loanName is that of the job's next loan.
func (l *line) loanName(k *ask) string {
	name, known := l.loans[k.slot]
	if !known {
		name = loanName(k.Job)
		l.loans[k.slot] = name
	}
	return name
}

// mixes: of the jobs of the queue that have the job's shape and draw something, not all
// that are considered draw the same.
func (l *line) mixes(k *ask) bool {
	mixed, known := l.mixed[k.queue]
	if !known {
		mixed = map[shapeKey]bool{}
		first := map[shapeKey]int32{}
		for slot := range l.briefs {
			b := &l.briefs[slot]
			if int(b.queue) != k.queue || b.draws == 0 || l.want[slot] < entered {
				continue
			}
			shape := shapeOf(l.job(slot), b.flavor)
			if first[shape] == 0 {
				first[shape] = b.draws
			}
			mixed[shape] = mixed[shape] || first[shape] != b.draws
		}
		l.mixed[k.queue] = mixed
	}
	return mixed[shapeOf(k.Job, k.flavor)]
}

// ahead: both are of one queue, and the first is before the other.
func (l *line) ahead(j, other *ask) bool {
	if j.queue != other.queue {
		return false
	}
	if j.Priority != other.Priority && orderOf(&l.queues[j.queue]) != queue.FIFO {
		return j.Priority > other.Priority
	}
	return j.Created.Before(other.Created)
}

// isAged: the job has waited so long that what it needs is kept for it.
func (d *decision) isAged(j *ask) bool {
	return d.now.Sub(j.since()) >= d.pol.ReserveAfter && d.ages(j.tenant)
}

// ages: jobs of the tenant can come to be aged.
func (d *decision) ages(tenant quota.NodeID) bool {
	return d.pol.ReserveAfter > 0 && d.books.used.Weight(tenant) > 0
}
