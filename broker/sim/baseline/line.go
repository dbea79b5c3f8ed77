package baseline

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// lookahead is how many jobs are looked at in one decision. Who waits behind so many does
// not jump the line.
const lookahead = 2000

// line is what waiting jobs may have, in the order in which they arrived. Who does not fit
// does not hold up others: the line is backfilled, without promises to those who wait.
type line struct {
	// tiers are tried one after the other for each job. With quotas, the whole line is tried
	// on the first one before.
	tiers []tier
	// quotas of tenants count.
	quotas bool
	// elastic jobs start with what there is; those that have fewer pods than they could
	// grow.
	elastic, grows bool

	books books
	last  glance
}

// tier is where a job may go that fits its tenant's quota.
type tier struct {
	where  ground
	within claim
}

// claim is on what account a job is started.
type claim uint8

const (
	byNominal claim = iota // the tenant's nominal quota
	byCohort               // that, or what its cohort leaves unused
	byLoan                 // units of services'
	byBoth                 // what is in the pool as byCohort, and all of it as byLoan
)

// ownThenLoans is the pool, then loans, then both. With quotas, who is within the nominal one
// has the pool before anybody borrows.
func ownThenLoans() []tier {
	return []tier{{pool, byNominal}, {pool, byCohort}, {loaned, byLoan}, {anywhere, byBoth}}
}

// ownAlone fills the pool, and nothing else.
func ownAlone() []tier { return ownThenLoans()[:2] }

func (l *line) begin(w *sim.World) {
	l.books, l.last = books{}, glance{}
	if l.quotas {
		l.books = openBooks(w)
	}
}

// admit starts who fits into the holes.
func (l *line) admit(d *desk) {
	if !l.last.differs(d) {
		return
	}
	l.books.sweep()
	waiting := d.world.Waiting()
	jobs := slices.Clone(waiting[:min(len(waiting), lookahead)])
	if l.books.tree != nil {
		jobs = l.pass(d, jobs, l.tiers[:1])
		l.pass(d, jobs, l.tiers[1:])
	} else {
		l.pass(d, jobs, l.tiers)
	}
	if l.grows {
		l.grow(d)
	}
	l.last.keep(d)
}

// pass tries each job on the tiers, in the order of the line, and returns who waits on.
func (l *line) pass(d *desk, jobs []*sim.JobState, tiers []tier) []*sim.JobState {
	return slices.DeleteFunc(jobs, func(j *sim.JobState) bool { return d.holes.left > 0 && l.try(d, j, tiers) })
}

// try starts a job on the first tier that has room.
func (l *line) try(d *desk, j *sim.JobState, tiers []tier) bool {
	flavor, ok := d.world.Flavor(j.Flavor)
	if !ok || d.holes.largest(flavor, anywhere) < j.UnitsPerPod {
		return false
	}
	nominal, cohort, loans := l.books.room(j)
	for _, t := range tiers {
		most := [...]int64{nominal, cohort, loans, loans}[t.within] / j.UnitsPerPod
		pods, inPool := j.Pods, max(cohort, 0)/j.UnitsPerPod
		if l.elastic && j.MinPods > 0 {
			pods = min(pods, most, max(d.holes.within(inPool, flavor, j.UnitsPerPod, t.where), j.MinPods))
		}
		if pods > most || pods < max(j.MinPods, 1) {
			continue
		}
		if places, ok := d.holes.takeWithin(inPool, flavor, pods, j.UnitsPerPod, t.where); ok {
			d.world.Start(j, places)
			l.books.book(j, places, 1)
			return true
		}
	}
	return false
}

// grow gives elastic jobs more pods of what nobody waits for.
func (l *line) grow(d *desk) {
	for _, j := range d.world.Running() {
		if j.Phase != sim.Running || j.MinPods == 0 || j.Held == j.Pods || len(j.Going) > 0 {
			continue
		}
		flavor, _ := d.world.Flavor(j.Flavor)
		_, cohort, loans := l.books.room(j)
		for _, t := range []tier{{pool, byCohort}, {loaned, byLoan}} {
			most := [...]int64{0, cohort, loans}[t.within] / j.UnitsPerPod
			pods := min(j.Pods-j.Held, most, d.holes.slots(flavor, j.UnitsPerPod, t.where))
			if pods <= 0 {
				continue
			}
			if places, ok := d.holes.take(flavor, pods, j.UnitsPerPod, t.where); ok {
				d.world.Grow(j, places)
				l.books.book(j, places, 1)
			}
		}
	}
}

// glance is what there was when nobody more could start: as long as nobody came or went,
// no hole grew, and no job was in the midst of shrinking, nobody can.
type glance struct {
	waiting, running int
	shrinking        bool
	free             []int64
}

func (g *glance) differs(d *desk) bool {
	if g.free == nil || g.shrinking || d.shrinking() || g.waiting != len(d.world.Waiting()) || g.running != len(d.world.Running()) {
		return true
	}
	for i, n := range d.holes.free {
		if n > g.free[i] {
			return true
		}
	}
	return false
}

func (g *glance) keep(d *desk) {
	g.waiting, g.running = len(d.world.Waiting()), len(d.world.Running())
	g.shrinking = d.shrinking()
	g.free = append(g.free[:0], d.holes.free...)
}
