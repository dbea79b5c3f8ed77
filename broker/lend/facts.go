package lend

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// facts are a job but for its name, UID and problem.
type facts struct {
	created, queued       moment
	pods, perPod          int64
	grace                 time.Duration
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
		f.priority == j.Priority && f.attempt == j.Attempt && f.grace == j.Grace &&
		f.tenant == j.Tenant && f.queue == j.Queue && f.flavor == j.Flavor &&
		(f.draws == 0 && len(j.Draws) == 0 || slices.Equal(c.draws[f.draws], j.Draws))
}

func (c *crowd) sameProblem(slot int32, j *Job) bool {
	if !c.facts[slot].troubled || j.Problem == nil {
		return !c.facts[slot].troubled && j.Problem == nil
	}
	return *j.Problem == c.problems[slot]
}

// read takes over a job that was given.
func (c *crowd) read(slot int32, i int, b *books) {
	j := &c.given[i]
	c.at[slot], c.uids[slot], c.names[slot], c.alive[slot] = int32(i), j.UID, j.Name, true
	delete(c.loans, int(slot))
	delete(c.problems, slot)
	delete(c.refusals, slot)
	if j.Problem != nil {
		c.problems[slot] = *j.Problem
	}
	f := facts{
		created: momentOf(j.Created), queued: momentOf(j.Queued), pods: j.Pods, perPod: j.UnitsPerPod, grace: j.Grace,
		tenant: j.Tenant, queue: j.Queue, flavor: j.Flavor, draws: c.drawing(j.Draws),
		priority: j.Priority, attempt: j.Attempt, troubled: j.Problem != nil,
	}
	c.facts[slot] = f
	k := brief{
		since: momentOf(j.since()), units: clamp(j.units()), queue: nobody, of: nobody, flavor: quota.None,
		kind: c.kind(j.Flavor), draws: f.draws, priority: j.Priority, grace: j.Grace,
	}
	var q *Queue
	if at, known := c.byQueue[j.Queue]; known {
		k.queue, q = at, &c.queues[at]
	}
	if reason, message := unusableJob(b, j, q); reason != "" {
		k.refused = true
		c.refusals[slot] = outcome{reason, message}
	} else {
		k.flavor, _ = b.used.Flavor(j.Flavor)
		k.of = b.at(c.tenants[k.queue], k.flavor)
	}
	c.briefs[slot] = k
}

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
