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

// before is the order by age.
func (j *Job) before(other *Job) bool {
	if c := j.Created.Compare(other.Created); c != 0 {
		return c < 0
	}
	return cmp.Or(cmp.Compare(j.Name, other.Name), cmp.Compare(j.UID, other.UID)) < 0
}

// Index holds the waiting jobs so that a pass need not look at each. One that is kept
// and changed gives the same answers as one that is made anew. It is not safe for
// concurrent use.
type Index struct {
	queues  []line
	jobs    []Job // by slot
	free    []int32
	slots   map[string]int32 // by UID
	classes []class
	unused  []int32
	classOf map[key]int32
	// Classes and queues that are to be put in order before they are read.
	untidy []int32
	dirty  []int32
}

// line is a queue and its classes.
type line struct {
	Queue
	classes pile // by flavor, then units
	runs    []run
	// lows are the jobs that have a lower priority than all before them, by age; of a
	// FIFO queue only.
	lows  []low
	dirty bool
}

// run is the part of a queue's classes that is of one flavor.
type run struct {
	flavor   quota.FlavorID
	from, to int32
	least    quota.Amount
}

type low struct {
	priority int32
	slot     int32
}

// key is what the jobs of a class have in common.
type key struct {
	queue        int32
	priority     int32
	flavor       quota.FlavorID
	pods, perPod int64
}

// class is jobs of which one stands for all.
type class struct {
	key
	units  quota.Amount
	jobs   pile // by age
	untidy bool
}

// New returns an Index of no jobs. Jobs name the queues by their place in the slice.
func New(queues []Queue) *Index {
	x := &Index{slots: map[string]int32{}, classOf: map[key]int32{}, queues: make([]line, len(queues))}
	for i, q := range queues {
		q.Weight = max(q.Weight, 1)
		x.queues[i].Queue = q
	}
	return x
}

// Len is the number of jobs.
func (x *Index) Len() int { return len(x.slots) }

// Add adds a job. If there is one of its UID already, that one stays and nothing is
// added. The job's queue must be one of the Index's.
func (x *Index) Add(j Job) {
	if _, twice := x.slots[j.UID]; twice {
		return
	}
	if j.Queued.IsZero() {
		j.Queued = j.Created
	}
	var slot int32
	if n := len(x.free); n > 0 {
		slot, x.free = x.free[n-1], x.free[:n-1]
		x.jobs[slot] = j
	} else {
		slot = int32(len(x.jobs))
		x.jobs = append(x.jobs, j)
	}
	x.slots[j.UID] = slot
	id := x.class(&j)
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
	slot, ok := x.slots[uid]
	if !ok {
		return false
	}
	x.tidy()
	j := &x.jobs[slot]
	id := x.classOf[keyOf(j)]
	c := &x.classes[id]
	c.jobs.remove(slot, x.older)
	x.touch(int32(j.Queue))
	if len(c.jobs.ids) == 0 {
		x.queues[j.Queue].classes.remove(id, x.classBefore)
		delete(x.classOf, c.key)
		x.unused = append(x.unused, id)
	}
	delete(x.slots, uid)
	*j = Job{}
	x.free = append(x.free, slot)
	return true
}

func keyOf(j *Job) key {
	return key{int32(j.Queue), j.Priority, j.Flavor, j.Pods, j.UnitsPerPod}
}

// class finds the job's class, or makes it.
func (x *Index) class(j *Job) int32 {
	k := keyOf(j)
	if id, ok := x.classOf[k]; ok {
		return id
	}
	c := class{key: k, units: j.Units()}
	var id int32
	if n := len(x.unused); n > 0 {
		id, x.unused = x.unused[n-1], x.unused[:n-1]
		c.jobs.ids = x.classes[id].jobs.ids[:0]
		x.classes[id] = c
	} else {
		id = int32(len(x.classes))
		x.classes = append(x.classes, c)
	}
	x.classOf[k] = id
	x.queues[j.Queue].classes.add(id)
	return id
}

func (x *Index) touch(queue int32) {
	if q := &x.queues[queue]; !q.dirty {
		q.dirty = true
		x.dirty = append(x.dirty, queue)
	}
}

func (x *Index) older(a, b int32) int {
	if a == b {
		return 0
	}
	if x.jobs[a].before(&x.jobs[b]) {
		return -1
	}
	return 1
}

func (x *Index) classBefore(a, b int32) int {
	k, l := &x.classes[a], &x.classes[b]
	return cmp.Or(cmp.Compare(k.flavor, l.flavor), cmp.Compare(k.units, l.units),
		cmp.Compare(k.pods, l.pods), cmp.Compare(k.perPod, l.perPod), cmp.Compare(l.priority, k.priority))
}

// tidy puts in order what changed.
func (x *Index) tidy() {
	for _, id := range x.untidy {
		c := &x.classes[id]
		c.jobs.tidy(x.older)
		c.untidy = false
	}
	x.untidy = x.untidy[:0]
	for _, i := range x.dirty {
		q := &x.queues[i]
		q.classes.tidy(x.classBefore)
		x.findRuns(q)
		q.lows = q.lows[:0]
		if q.Order == FIFO {
			x.findLows(q)
		}
		q.dirty = false
	}
	x.dirty = x.dirty[:0]
}

func (x *Index) findRuns(q *line) {
	q.runs = q.runs[:0]
	for i, id := range q.classes.ids {
		c := &x.classes[id]
		if n := len(q.runs); n == 0 || q.runs[n-1].flavor != c.flavor {
			q.runs = append(q.runs, run{flavor: c.flavor, from: int32(i), least: c.units})
		}
		q.runs[len(q.runs)-1].to = int32(i + 1)
	}
}

// findLows looks at the oldest job of every class only: a class has one priority.
func (x *Index) findLows(q *line) {
	for _, id := range q.classes.ids {
		c := &x.classes[id]
		q.lows = append(q.lows, low{c.priority, c.jobs.ids[0]})
	}
	slices.SortFunc(q.lows, func(a, b low) int { return x.older(a.slot, b.slot) })
	kept := q.lows[:0]
	for _, l := range q.lows {
		if n := len(kept); n == 0 || l.priority < kept[n-1].priority {
			kept = append(kept, l)
		}
	}
	q.lows = kept
}

// rank is the priority that counts for a job of the queue.
func (x *Index) rank(q *line, slot int32) int32 {
	p := x.jobs[slot].Priority
	if q.Order != FIFO {
		return p
	}
	n, same := slices.BinarySearchFunc(q.lows, slot, func(l low, slot int32) int { return x.older(l.slot, slot) })
	if same {
		n++
	}
	if n > 0 {
		p = min(p, q.lows[n-1].priority)
	}
	return p
}

// Positions tells every job's place in its queue, from 1, queue by queue. In a FIFO
// queue that is the order of age, else of priority, then age; turns between queues
// are not part of it.
func (x *Index) Positions(tell func(j Job, position int)) {
	x.tidy()
	var slots []int32
	for i := range x.queues {
		q := &x.queues[i]
		slots = slots[:0]
		for _, id := range q.classes.ids {
			slots = append(slots, x.classes[id].jobs.ids...)
		}
		slices.SortFunc(slots, func(a, b int32) int {
			if x.ahead(q, a, b) {
				return -1
			}
			return 1
		})
		for n, slot := range slots {
			tell(x.jobs[slot], n+1)
		}
	}
}

// ahead is the order within a queue.
func (x *Index) ahead(q *line, a, b int32) bool {
	j, k := &x.jobs[a], &x.jobs[b]
	if q.Order != FIFO && j.Priority != k.Priority {
		return j.Priority > k.Priority
	}
	return j.before(k)
}
