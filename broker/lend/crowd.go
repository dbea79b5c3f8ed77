package lend

import (
	"cmp"
	"encoding/binary"
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
	// facts are what is compared, so that no snapshot need be kept. They hold few pointers,
	// the briefs none: with as many jobs those are what collecting garbage takes.
	facts       []facts
	briefs      []brief
	problems    map[int32]Problem
	alive       []bool
	uids, names []string
	// refusals say why jobs are not considered, whatever is free.
	refusals []outcome
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
}

// named is a job by its name.
type named struct {
	name string
	slot int32
}

// stander is a job in its queue's line, and what its place is told with.
type stander struct {
	uid        string
	units      int64
	slot, kind int32
}

// facts are a job but for its name, UID and problem.
type facts struct {
	created, queued       moment
	pods, perPod          int64
	tenant, queue, flavor string
	draws                 int32
	priority, attempt     int32
	troubled              bool // it has a problem
}

// moment is a time without its place.
type moment struct {
	sec  int64
	nsec int32
}

func momentOf(t time.Time) moment { return moment{t.Unix(), int32(t.Nanosecond())} }

func (m moment) after(other moment) bool {
	return m.sec > other.sec || m.sec == other.sec && m.nsec > other.nsec
}

// brief is what every decision looks at of every job.
type brief struct {
	since moment // the job waits without a break
	units int64
	queue int32 // nobody: no such queue
	// of is tenant × flavor, kind the flavor's name, draws what is drawn; 0 is nothing.
	of          int
	flavor      quota.FlavorID
	kind, draws int32
	priority    int32
	refused     bool // whatever is free
}

// presence is how a job is in the index.
type presence int8

const (
	absent presence = iota
	listed          // has its position
	entered
	// waits is listed, since units were asked back for the job; served is absent, since
	// they came. Both had been read as entered.
	waits
	served
)

// index is what of it concerns the index.
func (p presence) index() presence {
	switch p {
	case waits:
		return listed
	case served:
		return absent
	}
	return p
}

// newCrowd has no jobs yet.
func newCrowd(in *Snapshot, b *books) *crowd {
	c := &crowd{
		setting: newSetting(in), byQueue: map[string]int32{},
		kinds: map[string]int32{}, drawns: map[string]int32{"": 0}, draws: [][]Draw{nil},
		problems: map[int32]Problem{}, loans: map[int]string{},
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
	c.uids, c.names, c.refusals = make([]string, 0, n), make([]string, 0, n), make([]outcome, 0, n)
	return c
}

func (c *crowd) newIndex(jobs int) {
	queues := make([]queue.Queue, len(c.queues))
	for i := range c.queues {
		queues[i] = queue.Queue{Name: c.queues[i].Name, Tenant: c.tenants[i], Order: orderOf(&c.queues[i])}
	}
	c.index = queue.New(queues)
	c.index.Grow(jobs)
	clear(c.entered)
	c.lines, c.stale = make([][]stander, len(queues)), make([]bool, len(queues))
	for i := range c.stale {
		c.stale[i] = true
	}
}

// standing brings the lines up to date.
func (c *crowd) standing() [][]stander {
	var refs []int
	for i := range c.lines {
		if !c.stale[i] {
			continue
		}
		refs = c.index.Line(i, refs[:0])
		line := c.lines[i][:0]
		for at, slot := range refs {
			b := &c.briefs[slot]
			line = append(line, stander{c.uids[slot], b.units, int32(slot), b.kind})
			c.position[slot] = int32(at + 1)
		}
		c.lines[i], c.stale[i] = line, false
	}
	return c.lines
}

func orderOf(q *Queue) queue.Order {
	switch {
	case q.FairShare:
		return queue.FairShare
	case q.FIFO:
		return queue.FIFO
	}
	return queue.Priority
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
		c.uids[slot], c.names[slot], c.refusals[slot] = "", "", outcome{}
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

// news is how jobs differ from those that are known: slots of those that are gone, and
// places in the snapshot of the others.
type news struct {
	gone           []int32
	changed, fresh []int
}

// compare goes through both by UID; false where the jobs are not in that order.
func (c *crowd) compare(jobs []Job) (n news, ok bool) {
	known := c.byUID
	for i := range jobs {
		j := &jobs[i]
		for len(known) > 0 && c.uids[known[0]] != j.UID && c.uids[known[0]] < j.UID {
			n.gone = append(n.gone, known[0])
			known = known[1:]
		}
		switch {
		case len(known) > 0 && c.uids[known[0]] == j.UID:
			slot := known[0]
			known = known[1:]
			c.at[slot] = int32(i)
			switch {
			case j.Name != c.names[slot]:
				n.gone, n.fresh = append(n.gone, slot), append(n.fresh, i)
			case !c.same(slot, j):
				n.changed = append(n.changed, i)
			}
		case i > 0 && j.UID <= jobs[i-1].UID:
			return news{}, false
		default:
			n.fresh = append(n.fresh, i)
		}
	}
	n.gone = append(n.gone, known...)
	return n, true
}

// same reports whether a job of the same UID and name is as it was.
func (c *crowd) same(slot int32, j *Job) bool {
	f := &c.facts[slot]
	return c.sameProblem(slot, j) && f.created == momentOf(j.Created) && f.queued == momentOf(j.Queued) && f.pods == j.Pods && f.perPod == j.UnitsPerPod &&
		f.priority == j.Priority && f.attempt == j.Attempt &&
		f.tenant == j.Tenant && f.queue == j.Queue && f.flavor == j.Flavor &&
		(f.draws == 0 && len(j.Draws) == 0 || slices.Equal(c.draws[f.draws], j.Draws))
}

func (c *crowd) sameProblem(slot int32, j *Job) bool {
	if !c.facts[slot].troubled || j.Problem == nil {
		return !c.facts[slot].troubled && j.Problem == nil
	}
	return *j.Problem == c.problems[slot]
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
	c.uids, c.names, c.refusals = append(c.uids, ""), append(c.names, ""), append(c.refusals, outcome{})
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

// read takes over a job that was given.
func (c *crowd) read(slot int32, i int, b *books) {
	j := &c.given[i]
	c.at[slot], c.uids[slot], c.names[slot], c.alive[slot] = int32(i), j.UID, j.Name, true
	delete(c.loans, int(slot))
	delete(c.problems, slot)
	if j.Problem != nil {
		c.problems[slot] = *j.Problem
	}
	f := facts{
		created: momentOf(j.Created), queued: momentOf(j.Queued), pods: j.Pods, perPod: j.UnitsPerPod,
		tenant: j.Tenant, queue: j.Queue, flavor: j.Flavor, draws: c.drawing(j.Draws),
		priority: j.Priority, attempt: j.Attempt, troubled: j.Problem != nil,
	}
	c.facts[slot] = f
	k := brief{
		since: momentOf(j.since()), units: clamp(j.units()), queue: nobody, of: nobody, flavor: quota.None,
		kind: c.kind(j.Flavor), draws: f.draws, priority: j.Priority,
	}
	var q *Queue
	if at, known := c.byQueue[j.Queue]; known {
		k.queue, q = at, &c.queues[at]
	}
	reason, message := unusableJob(b, j, q)
	k.refused = reason != ""
	c.refusals[slot] = outcome{reason, message}
	if !k.refused {
		k.flavor, _ = b.used.Flavor(j.Flavor)
		k.of = b.at(c.tenants[k.queue], k.flavor)
	}
	c.briefs[slot] = k
}

// job is the one in the slot, as it was given now.
func (c *crowd) job(slot int) *Job { return &c.given[c.at[slot]] }

// kind numbers the names of flavors, from 0.
func (c *crowd) kind(flavor string) int32 {
	n, ok := c.kinds[flavor]
	if !ok {
		n = int32(len(c.kinds))
		c.kinds[flavor] = n
	}
	return n
}

// drawing numbers what a job draws; nothing is 0.
func (c *crowd) drawing(draws []Draw) int32 {
	key := drawsKey(draws)
	n, ok := c.drawns[key]
	if !ok {
		n = int32(len(c.draws))
		c.drawns[key] = n
		c.draws = append(c.draws, slices.Clone(draws))
	}
	return n
}

func drawsKey(draws []Draw) string {
	var key []byte
	for _, d := range draws {
		key = binary.AppendVarint(key, int64(len(d.Limit)))
		key = append(key, d.Limit...)
		key = binary.AppendVarint(key, d.Amount)
	}
	return string(key)
}

// enter brings the index to what is wanted.
func (c *crowd) enter() {
	var leaving int
	for slot, want := range c.want {
		if is := c.entered[slot]; is != absent && is != want.index() {
			leaving++
		}
	}
	if leaving > c.index.Len()/2 {
		c.newIndex(len(c.byUID))
	}
	for slot, want := range c.want {
		if c.entered[slot] != want.index() {
			c.leave(int32(slot))
		}
	}
	for slot, want := range c.want {
		if want = want.index(); c.entered[slot] == want {
			continue
		}
		j, k := c.job(slot), &c.briefs[slot]
		job := queue.Job{
			Ref: slot, Queue: int(k.queue), Flavor: quota.None, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod,
			Priority: j.Priority, Created: j.Created, Queued: j.Queued, Name: j.Name, UID: j.UID,
		}
		if want == entered {
			job.Flavor = k.flavor
		}
		c.index.Add(job)
		c.stale[k.queue] = true
		c.entered[slot] = want
	}
}
