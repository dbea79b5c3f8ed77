package queue

import (
	"cmp"
	"slices"
	"sort"

	"github.com/ebbtide/ebbtide/quota"
)

// line is a queue and its classes.
type line struct {
	Queue
	classes pile // by flavor, then units
	// heads are the first jobs of classes, in their order, runs those of one flavor.
	heads []head
	runs  []run
	// lows are the jobs that have a lower priority than all before them, by age; of a
	// FIFO queue only.
	lows  []head
	dirty bool
	// ranks are all jobs by position, where somebody asked for that.
	ranks  pile
	ranked bool
}

// run is the part of a queue's classes that is of one flavor.
type run struct {
	flavor   quota.FlavorID
	from, to int32
}

// head is a class's first job that is still to come, with all that its place in the
// queue depends on.
type head struct {
	units       quota.Amount
	created     instant
	slot, class int32
	shape       int32
	flavor      quota.FlavorID
	priority    int32
	rank        int32 // the priority where that decides about the place, else 0
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
	shape  int32
	jobs   pile // by age
	untidy bool
}

// shape is what a refusal for all that are alike names, in a tenant.
type shape struct {
	tenant       quota.NodeID
	flavor       quota.FlavorID
	pods, perPod int64
}

func keyOf(j *Job) key {
	return key{int32(j.Queue), j.Priority, j.Flavor, j.Pods, j.UnitsPerPod}
}

func (k *key) units() quota.Amount { return quota.Amount(k.pods).Times(k.perPod) }

// shape numbers the job's shape. Those that no job has any more keep their numbers:
// they are as few as the sizes of jobs that there ever were.
func (x *Index) shape(of *key) int32 {
	k := shape{x.queues[of.queue].Tenant, of.flavor, of.pods, of.perPod}
	n, ok := x.shapes[k]
	if !ok {
		n = int32(len(x.shapes))
		x.shapes[k] = n
	}
	return n
}

// class finds the job's class, or makes it.
func (x *Index) class(r *record) int32 {
	k := r.key
	if id, ok := x.classOf[k]; ok {
		return id
	}
	c := class{key: k, units: k.units(), shape: x.shape(&k)}
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
	x.queues[k.queue].classes.add(id)
	return id
}

func (x *Index) older(a, b int32) int {
	if a == b {
		return 0
	}
	if x.roster.before(a, b) {
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
	q.runs, q.heads = q.runs[:0], q.heads[:0]
	for i, id := range q.classes.ids {
		c := &x.classes[id]
		if n := len(q.runs); n == 0 || q.runs[n-1].flavor != c.flavor {
			q.runs = append(q.runs, run{flavor: c.flavor, from: int32(i)})
		}
		q.runs[len(q.runs)-1].to = int32(i + 1)
		q.heads = append(q.heads, x.head(q, id, c.jobs.ids[0]))
	}
}

func (x *Index) head(q *line, class, slot int32) head {
	c := &x.classes[class]
	h := head{
		units: c.units, created: x.roster.records[slot].created, slot: slot, class: class,
		shape: c.shape, flavor: c.flavor, priority: c.priority,
	}
	if q.Order != FIFO {
		h.rank = c.priority
	}
	return h
}

// ahead is the order of the heads of a queue.
func (x *Index) ahead(a, b *head) bool {
	if a.rank != b.rank {
		return a.rank > b.rank
	}
	return x.senior(a, b)
}

// senior is the order of age.
func (x *Index) senior(a, b *head) bool {
	if a.created != b.created {
		return b.created.after(a.created)
	}
	return x.roster.before(a.slot, b.slot)
}

// findLows looks at the oldest job of every class only: a class has one priority.
func (x *Index) findLows(q *line) {
	q.lows = append(q.lows, q.heads...)
	slices.SortFunc(q.lows, func(a, b head) int {
		switch {
		case a.slot == b.slot:
			return 0
		case x.senior(&a, &b):
			return -1
		}
		return 1
	})
	kept := q.lows[:0]
	for _, l := range q.lows {
		if n := len(kept); n == 0 || l.priority < kept[n-1].priority {
			kept = append(kept, l)
		}
	}
	q.lows = kept
}

// rankOf is the priority that counts for a first job of the queue.
func (x *Index) rankOf(q *line, h *head) int32 {
	if q.Order != FIFO {
		return h.priority
	}
	older := sort.Search(len(q.lows), func(i int) bool { return !x.senior(&q.lows[i], h) })
	if older == 0 {
		return h.priority
	}
	return min(h.priority, q.lows[older-1].priority)
}
