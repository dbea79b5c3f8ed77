package lend

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/quota/queue"
)

// line is the waiting jobs in their queues. A job that is not considered has its
// place there as well.
type line struct {
	index  *queue.Index
	queues []Queue // each name once
	byName map[string]int
	// tenants of the queues, and their cohorts.
	tenants []quota.NodeID
	cohorts map[string]string
	// asks are the jobs in the order of the snapshot; Job is nil for one that is not
	// considered.
	asks []ask
	// listed: the job is in the index.
	listed []bool
	// aged are tenants and flavors with a job that has waited for long, top their highest
	// priorities; both by tenant × flavor.
	aged []bool
	top  []int32
	// drawn has the draws of the first job of each shape, mixed those shapes of which
	// not all jobs draw the same.
	drawn map[shapeKey][]Draw
	mixed map[shapeKey]bool
	// considered are the jobs that still wait; the first were tried, in this order.
	considered []int32
	tried      int
	// behind are queues without backfill in which a job waits for what was asked back.
	behind []bool
}

// shapeKey is what jobs of one queue have in common that differ in nothing but age
// and priority.
type shapeKey struct {
	queue        int
	flavor       quota.FlavorID
	pods, perPod int64
}

func shapeOf(j *ask) shapeKey { return shapeKey{j.queue, j.flavor, j.Pods, j.UnitsPerPod} }

// newLine looks at every job once.
func newLine(a *admission) *line {
	l := &line{
		byName: map[string]int{}, cohorts: map[string]string{},
		aged: make([]bool, len(a.books.lentOut)), top: make([]int32, len(a.books.lentOut)),
		drawn: map[shapeKey][]Draw{}, mixed: map[shapeKey]bool{},
		asks: make([]ask, len(a.in.Jobs)), listed: make([]bool, len(a.in.Jobs)),
	}
	for i := len(a.in.Tenants) - 1; i >= 0; i-- {
		l.cohorts[a.in.Tenants[i].Name] = a.in.Tenants[i].Cohort
	}
	for _, q := range a.in.Queues {
		if _, twice := l.byName[q.Name]; !twice {
			l.byName[q.Name] = len(l.queues)
			l.queues = append(l.queues, q)
			id, ok := a.books.used.Tenant(q.Tenant)
			if !ok {
				id = quota.None
			}
			l.tenants = append(l.tenants, id)
		}
	}
	l.behind = make([]bool, len(l.queues))
	for i := range a.in.Jobs {
		l.read(a, i)
	}
	return l
}

// read makes an ask of the job, or says why it is not considered.
func (l *line) read(a *admission, i int) {
	j := &a.in.Jobs[i]
	at, known := l.byName[j.Queue]
	var q *Queue
	if known {
		q = &l.queues[at]
	}
	k := &l.asks[i]
	k.queue = -1
	if known {
		k.queue = at
	}
	if reason, message := a.refusal(j, q); reason != "" {
		a.outcomes[i] = outcome{reason, message}
		return
	}
	if reason, message := a.overLimit(j); reason != "" && q.Backfill {
		a.outcomes[i] = outcome{reason, message}
		return
	}
	flavor, _ := a.books.used.Flavor(j.Flavor)
	*k = ask{Job: j, tenant: l.tenants[at], flavor: flavor, cohort: l.cohorts[j.Tenant], need: j.units(), queue: at}
	if len(j.Draws) > 0 {
		l.readDraws(k)
	}
	of := a.books.at(k.tenant, flavor)
	l.aged[of] = l.aged[of] || a.isAged(k)
	l.top[of] = max(l.top[of], k.Priority)
}

func (l *line) readDraws(k *ask) {
	shape := shapeOf(k)
	first, ok := l.drawn[shape]
	if !ok {
		l.drawn[shape] = k.Draws
		return
	}
	same := len(first) == len(k.Draws)
	for i := 0; same && i < len(first); i++ {
		same = first[i] == k.Draws[i]
	}
	if !same {
		l.mixed[shape] = true
	}
}

// isAged: the job has waited so long that what it needs is kept for it.
func (d *decision) isAged(j *ask) bool {
	return d.pol.ReserveAfter > 0 && d.now.Sub(j.since()) >= d.pol.ReserveAfter && d.books.used.Weight(j.tenant) > 0
}

// pass tries the jobs, first things first.
func (l *line) pass(a *admission) {
	l.fill(a)
	pass := l.index.Begin(a.books.used, a.now, a.pol.ReserveAfter, queue.CouldTake(func(tenant quota.NodeID, f quota.FlavorID) bool {
		return l.aged[a.books.at(tenant, f)] && !a.guards.full(a, tenant, f) || a.fairness.could(tenant, f)
	}))
	for job, ok := pass.Next(); ok; job, ok = pass.Next() {
		k := &l.asks[job.Ref]
		v, reason, message := a.consider(k)
		a.outcomes[job.Ref] = outcome{reason, message}
		if v != admitted {
			l.considered = append(l.considered, int32(job.Ref))
		}
		switch v {
		case admitted:
			pass.Admitted()
		case alike:
			pass.Refused(true)
		case alikeInQueue:
			pass.RefusedInQueue()
		default:
			pass.Refused(false)
		}
	}
	l.tried = len(l.considered)
	l.considered = slices.Grow(l.considered, len(l.asks))
	l.passed(a, pass)
}

// fill puts every job into the index once, and says nothing of its doubles.
func (l *line) fill(a *admission) {
	queues := make([]queue.Queue, len(l.queues))
	for i, q := range l.queues {
		queues[i] = queue.Queue{
			Name: q.Name, Tenant: l.tenants[i], Weight: q.Weight, Used: q.Used, Backfill: q.Backfill,
			Closed: q.Paused || q.Drain || l.behind[i],
		}
		switch {
		case q.FairShare:
			queues[i].Order = queue.FairShare
		case q.FIFO:
			queues[i].Order = queue.FIFO
		}
	}
	l.index = queue.New(queues)
	l.index.Grow(len(l.asks))
	for i := range l.asks {
		k, j := &l.asks[i], &a.in.Jobs[i]
		if k.queue < 0 {
			continue
		}
		job := queue.Job{
			Ref: i, Queue: k.queue, Flavor: quota.None, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod,
			Priority: j.Priority, Created: j.Created, Queued: j.Queued, Name: j.Name, UID: j.UID,
		}
		if k.Job != nil && a.outcomes[i].reason == "" {
			job.Flavor = k.flavor
		}
		n := l.index.Len()
		l.index.Add(job)
		l.listed[i] = l.index.Len() > n
	}
}

// passed gives the jobs that were not tried the verdict of those that stand for them.
func (l *line) passed(a *admission, pass *queue.Pass) {
	var same shapeKey
	var tooMuch outcome
	behind := -1
	var message string
	pass.Passed(func(job queue.Job, because queue.Because) {
		l.considered = append(l.considered, int32(job.Ref))
		o := &a.outcomes[job.Ref]
		if o.reason != "" {
			return
		}
		k := &l.asks[job.Ref]
		switch because.Kind {
		case queue.Alike:
			*o = a.outcomes[because.Job.Ref]
		case queue.NoQuota:
			if shape := shapeOf(k); tooMuch.reason == "" || shape != same {
				same = shape
				tooMuch.reason, tooMuch.message = a.tooMuch(k)
			}
			*o = tooMuch
		default:
			if k.queue != behind {
				behind = k.queue
				message = fmt.Sprintf("waits behind an earlier job of queue %s, which allows no backfill", k.Queue)
			}
			*o = outcome{ReasonBehindInQueue, message}
		}
	})
}

// places is the order in which jobs were considered, with their places in their
// queues. Jobs of no queue have none.
func (l *line) places(a *admission) []Place {
	position := make([]int32, len(l.asks))
	l.index.Positions(func(j queue.Job, at int) { position[j.Ref] = int32(at) })
	byPosition(l.considered[l.tried:], position)
	ahead := map[string]int64{}
	out := make([]Place, 0, len(l.considered))
	for _, i := range l.considered {
		j := &a.in.Jobs[i]
		n := clamp(ahead[j.Flavor] + clamp(j.units()))
		ahead[j.Flavor] = n
		out = append(out, Place{UID: j.UID, Position: position[i], Ahead: n})
	}
	return out
}

// byPosition sorts what was not tried, which is queue by queue: the first of each queue
// before the second.
func byPosition(jobs []int32, position []int32) {
	starts := make([]int, len(position)+2)
	for _, i := range jobs {
		starts[position[i]+1]++
	}
	for at := 1; at < len(starts); at++ {
		starts[at] += starts[at-1]
	}
	for _, i := range slices.Clone(jobs) {
		jobs[starts[position[i]]] = i
		starts[position[i]]++
	}
}

// explainJobs gives every job its verdict. Of jobs with one UID the first has it.
func (a *admission) explainJobs() {
	seen := map[string]bool{}
	a.verdicts = slices.Grow(a.verdicts, len(a.in.Jobs))
	for i := range a.in.Jobs {
		j := &a.in.Jobs[i]
		if !a.line.listed[i] {
			if a.outcomes[i].reason == "" || seen[j.UID] {
				continue
			}
			seen[j.UID] = true
		}
		o := &a.outcomes[i]
		a.verdicts = append(a.verdicts, Verdict{Kind: SubjectJob, Subject: j.Name, Reason: o.reason, Message: o.message})
	}
	a.waiting = a.line.places(a)
}
