package lend

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/quota/queue"
)

// nobody is no queue, tenant or flavor.
const nobody = -1

// crowd is the waiting jobs and what of them stays the same from decision to decision,
// by slot: a job has one for as long as it waits. Of jobs with one UID only the first
// is in it.
type crowd struct {
	setting setting
	queues  []Queue // each name once
	byQueue map[string]int32
	tenants []quota.NodeID // of the queues
	cohorts []string       // of the tenants of the queues

	// given are the jobs of the present snapshot by UID, at says by slot where in it.
	given []Job
	at    []int32
	// facts are what is compared, so that no snapshot need be kept. They hold the snapshot's
	// own names, which are quick to compare with themselves, the briefs no pointers: with as
	// many jobs those are what collecting garbage takes.
	facts       []facts
	briefs      []brief
	problems    map[int32]Problem
	alive       []bool
	uids, names []string
	// refusals say why jobs are not considered, whatever is free; they are few.
	refusals map[int32]outcome
	// loans are the names of next loans, of jobs that were tried.
	loans map[int]string
	free  []int32 // slots
	// byUID and byName are all jobs, in order.
	byUID  []int32 // slots
	byName []named
	// twins: there are, or were, several jobs of one name.
	twins bool

	// kinds numbers the names of flavors, drawns what jobs draw; draws are those by number.
	kinds  map[string]int32
	draws  [][]Draw
	drawns map[string]int32

	index *queue.Index
	// entered is how each job is in the index, want how it is to be.
	entered, want []presence
	// lines are those in the index, by queue and position; stale are queues of which that
	// is not so any more. position is that of a job in its line, from 1.
	lines    [][]stander
	stale    []bool
	position []int32
	// For one decision: the text about each job, and if it was offered.
	said    []int32
	offered []bool
	// What the last plan said.
	placed told[Place]
	judged told[Verdict]
}

// named is a job by its name.
type named struct {
	name string
	slot int32
}

// brief is what every decision looks at of every job.
type brief struct {
	since moment // the job waits without a break
	units int64
	grace time.Duration
	queue int32 // nobody: no such queue
	// of is tenant × flavor, kind the flavor's name, draws what is drawn; 0 is nothing.
	of          int
	flavor      quota.FlavorID
	kind, draws int32
	priority    int32
	refused     bool // whatever is free
}

// newCrowd has no jobs yet.
func newCrowd(in *Snapshot, b *books) *crowd {
	c := &crowd{
		setting: newSetting(in), byQueue: map[string]int32{},
		kinds: map[string]int32{}, drawns: map[string]int32{"": 0}, draws: [][]Draw{nil},
		problems: map[int32]Problem{}, refusals: map[int32]outcome{}, loans: map[int]string{},
	}
	cohorts := map[string]string{}
	for i := len(in.Tenants) - 1; i >= 0; i-- {
		cohorts[in.Tenants[i].Name] = in.Tenants[i].Cohort
	}
	for _, q := range in.Queues {
		if _, twice := c.byQueue[q.Name]; twice {
			continue
		}
		c.byQueue[q.Name] = int32(len(c.queues))
		c.queues, c.cohorts = append(c.queues, q), append(c.cohorts, cohorts[q.Tenant])
		id, ok := b.used.Tenant(q.Tenant)
		if !ok {
			id = quota.None
		}
		c.tenants = append(c.tenants, id)
	}
	c.newIndex(len(in.Jobs))
	n := len(in.Jobs)
	c.facts, c.briefs, c.alive = make([]facts, 0, n), make([]brief, 0, n), make([]bool, 0, n)
	c.uids, c.names = make([]string, 0, n), make([]string, 0, n)
	return c
}

// wasteful: much that is kept belongs to no job any more.
func (c *crowd) wasteful() bool {
	const spare = 1000
	return len(c.draws)+len(c.kinds) > 2*len(c.byUID)+spare || len(c.briefs) > 4*len(c.byUID)+spare
}

// follow takes over the jobs, which are looked at once each.
func (c *crowd) follow(jobs []Job, b *books) {
	n, ok := c.compare(jobs)
	if !ok {
		jobs = slices.Clone(jobs)
		slices.SortStableFunc(jobs, func(a, b Job) int { return strings.Compare(a.UID, b.UID) })
		jobs = slices.CompactFunc(jobs, func(a, b Job) bool { return a.UID == b.UID })
		n, _ = c.compare(jobs)
	}
	c.given = jobs
	for _, slot := range n.gone {
		c.leave(slot)
		c.alive[slot] = false
	}
	if len(n.gone) > 0 {
		dead := func(slot int32) bool { return !c.alive[slot] }
		c.byUID = slices.DeleteFunc(c.byUID, dead)
		c.byName = slices.DeleteFunc(c.byName, func(n named) bool { return dead(n.slot) })
	}
	for _, slot := range n.gone {
		c.uids[slot], c.names[slot] = "", ""
		delete(c.refusals, slot)
		delete(c.problems, slot)
		delete(c.loans, int(slot))
		c.free = append(c.free, slot)
	}
	for _, i := range n.changed {
		slot, _ := c.find(jobs[i].UID)
		c.leave(slot)
		c.read(slot, i, b)
	}
	added, names := make([]int32, 0, len(n.fresh)), make([]named, 0, len(n.fresh))
	for _, i := range n.fresh {
		slot := c.slot()
		c.read(slot, i, b)
		added, names = append(added, slot), append(names, named{jobs[i].Name, slot})
	}
	c.byUID = insert(c.byUID, added, func(x, y int32) int { return strings.Compare(c.uids[x], c.uids[y]) })
	byName := func(x, y named) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(c.uids[x.slot], c.uids[y.slot]))
	}
	slices.SortFunc(names, byName)
	c.byName = insert(c.byName, names, byName)
	c.twins = c.twins || c.hasTwins(names)
}

// hasTwins reports whether a job that was added has a namesake.
func (c *crowd) hasTwins(added []named) bool {
	at := 0
	for _, n := range added { // both are by name
		from, _ := slices.BinarySearchFunc(c.byName[at:], n.name, func(n named, name string) int { return strings.Compare(n.name, name) })
		if at += from; at+1 < len(c.byName) && c.byName[at+1].name == n.name {
			return true
		}
	}
	return false
}

// insert merges what is sorted into a sorted list; no two may compare as equal.
func insert[T any](list, added []T, compare func(x, y T) int) []T {
	end := len(list)
	list = append(list, added...)
	for k := len(added) - 1; k >= 0; k-- {
		at, _ := slices.BinarySearchFunc(list[:end], added[k], compare)
		copy(list[at+k+1:], list[at:end])
		list[at+k] = added[k]
		end = at
	}
	return list
}

// find returns the slot of the job of that UID.
func (c *crowd) find(uid string) (slot int32, ok bool) {
	at, ok := slices.BinarySearchFunc(c.byUID, uid, func(slot int32, uid string) int { return strings.Compare(c.uids[slot], uid) })
	if !ok {
		return 0, false
	}
	return c.byUID[at], true
}

// slot returns one that is not used.
func (c *crowd) slot() int32 {
	if n := len(c.free); n > 0 {
		slot := c.free[n-1]
		c.free = c.free[:n-1]
		return slot
	}
	c.facts, c.briefs, c.alive = append(c.facts, facts{}), append(c.briefs, brief{}), append(c.alive, false)
	c.uids, c.names = append(c.uids, ""), append(c.names, "")
	c.entered, c.position, c.at = append(c.entered, absent), append(c.position, 0), append(c.at, 0)
	return int32(len(c.briefs) - 1)
}

// leave takes the job out of the index.
func (c *crowd) leave(slot int32) {
	if c.entered[slot] != absent {
		c.index.Remove(c.uids[slot])
		c.entered[slot] = absent
		c.stale[c.briefs[slot].queue] = true
	}
}

// job is the one in the slot, as it was given now.
func (c *crowd) job(slot int) *Job { return &c.given[c.at[slot]] }
