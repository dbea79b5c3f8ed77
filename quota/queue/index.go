package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// Order is how a queue's jobs follow each other.
type Order int8

// The orders. The zero value is Priority.
const (
	// Priority: the higher priority first, then the older.
	Priority Order = iota
	// FIFO: the older first.
	FIFO
	// FairShare is Priority inside the queue; the tenant's FairShare queues take turns.
	FairShare
)

// Queue is where jobs of one tenant wait.
type Queue struct {
	Name string
	// Tenant is a node of the tree that passes are made with; quota.None is nobody's,
	// and what waits there is not offered.
	Tenant quota.NodeID
	Order  Order
	// Weight of a FairShare queue against others of the tenant; less than 1 is 1.
	Weight int64
	// Used is what the queue's jobs held lately, in thousandths of units, over all flavors.
	Used int64
	// Backfill: jobs behind one that was refused are offered.
	Backfill bool
	// Closed queues list their jobs and offer none.
	Closed bool
}

// Job waits to be admitted.
type Job struct {
	// Ref is the caller's own; nothing is read from it.
	Ref int
	// Queue is an index into the queues that New was given.
	Queue int
	// Flavor and the gang's shape. A job of quota.None is not offered, and holds up
	// nobody.
	Flavor            quota.FlavorID
	Pods, UnitsPerPod int64
	Priority          int32
	// Created decides about the age in the queue. Queued is since when the job waits
	// without a break, which decides when it is aged; zero is Created.
	Created, Queued time.Time
	Name, UID       string
}

// Units is what the whole gang takes.
func (j *Job) Units() quota.Amount { return quota.Amount(j.Pods).Times(j.UnitsPerPod) }

// Index holds the waiting jobs so that a pass need not look at each. One that is kept
// and changed gives the same answers as one that is made anew. It is not safe for
// concurrent use.
type Index struct {
	queues  []line
	roster  roster
	classes []class
	unused  []int32
	classOf map[key]int32
	shapes  map[shape]int32
	// Classes and queues that are to be put in order before they are read.
	untidy []int32
	dirty  []int32
}

// New returns an Index of no jobs. Jobs name the queues by their place in the slice.
func New(queues []Queue) *Index {
	x := &Index{classOf: map[key]int32{}, shapes: map[shape]int32{}, queues: make([]line, len(queues))}
	for i, q := range queues {
		q.Weight = max(q.Weight, 1)
		x.queues[i].Queue = q
	}
	return x
}

// Set changes what is said of a queue; its name, tenant and order must stay the same.
func (x *Index) Set(queue int, q Queue) {
	q.Weight = max(q.Weight, 1)
	x.queues[queue].Queue = q
}

// Len is the number of jobs.
func (x *Index) Len() int { return x.roster.len() }

// Grow makes room for that many more jobs, so that adding them is quicker.
func (x *Index) Grow(jobs int) { x.roster.grow(jobs) }

// Add adds a job. If there is one of its UID already, that one stays and nothing is
// added. The job's queue must be one of the Index's.
func (x *Index) Add(j Job) {
	if j.Queued.IsZero() {
		j.Queued = j.Created
	}
	slot, ok := x.roster.add(&j)
	if !ok {
		return
	}
	if q := &x.queues[j.Queue]; q.ranked {
		q.ranks.add(slot)
	}
	id := x.class(&x.roster.records[slot])
	c := &x.classes[id]
	c.jobs.add(slot)
	if !c.untidy {
		c.untidy = true
		x.untidy = append(x.untidy, id)
	}
	x.touch(int32(j.Queue))
}

// Remove removes the job of that UID, and reports whether there was one.
func (x *Index) Remove(uid string) bool {
	slot, ok := x.roster.find(uid)
	if !ok {
		return false
	}
	x.tidy()
	r := &x.roster.records[slot]
	id := x.classOf[r.key]
	c := &x.classes[id]
	c.jobs.remove(slot, x.older)
	if q := &x.queues[r.queue]; q.ranked {
		q.ranks.tidy(x.ranking(q))
		q.ranks.remove(slot, x.ranking(q))
	}
	x.touch(r.queue)
	if len(c.jobs.ids) == 0 {
		x.queues[r.queue].classes.remove(id, x.classBefore)
		delete(x.classOf, c.key)
		x.unused = append(x.unused, id)
	}
	x.roster.remove(slot)
	return true
}

func (x *Index) touch(queue int32) {
	if q := &x.queues[queue]; !q.dirty {
		q.dirty = true
		x.dirty = append(x.dirty, queue)
	}
}

// Positions tells every job's place in its queue, from 1, queue by queue. In a FIFO
// queue that is the order of age, else of priority, then age; turns between queues
// are not part of it. Times are told in UTC.
func (x *Index) Positions(tell func(j Job, position int)) {
	for i := range x.queues {
		for n, slot := range x.rank(i) {
			tell(x.roster.job(slot), n+1)
		}
	}
}

// Line appends the Refs of the queue's jobs to refs, in the order of their positions.
func (x *Index) Line(queue int, refs []int) []int {
	ranks := x.rank(queue)
	refs = slices.Grow(refs, len(ranks))
	for _, slot := range ranks {
		refs = append(refs, x.roster.refs[slot])
	}
	return refs
}

// rank lists the queue's jobs by position. That is kept up to date only once it was
// asked for: a pass does not need it.
func (x *Index) rank(queue int) []int32 {
	q := &x.queues[queue]
	if !q.ranked {
		q.ranked = true
		for _, id := range q.classes.ids {
			q.ranks.ids = append(q.ranks.ids, x.classes[id].jobs.ids...)
		}
	}
	q.ranks.tidy(x.ranking(q))
	return q.ranks.ids
}

func (x *Index) ranking(q *line) func(a, b int32) int {
	if q.Order == FIFO {
		return x.older
	}
	return func(a, b int32) int {
		if c := cmp.Compare(x.roster.records[b].priority, x.roster.records[a].priority); c != 0 {
			return c
		}
		return x.older(a, b)
	}
}
