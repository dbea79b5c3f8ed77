package lend

import (
	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/quota/queue"
)

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

func orderOf(q *Queue) queue.Order {
	switch {
	case q.FairShare:
		return queue.FairShare
	case q.FIFO:
		return queue.FIFO
	}
	return queue.Priority
}

// enter brings the index to what is wanted.
func (c *crowd) enter() {
	var changed []int32
	var leaving int
	for slot, want := range c.want {
		if is := c.entered[slot]; is != want.index() {
			changed = append(changed, int32(slot))
			if is != absent {
				leaving++
			}
		}
	}
	if leaving > c.index.Len()/2 {
		c.newIndex(len(c.byUID))
		changed = changed[:0]
		for slot, want := range c.want {
			if want.index() != absent {
				changed = append(changed, int32(slot))
			}
		}
	}
	for _, slot := range changed {
		c.leave(slot)
	}
	for _, slot := range changed {
		c.list(slot, c.want[slot].index())
	}
}

// list puts a job into the index that is not in it.
func (c *crowd) list(slot int32, want presence) {
	if want == absent {
		return
	}
	j, k := c.job(int(slot)), &c.briefs[slot]
	job := queue.Job{
		Ref: int(slot), Queue: int(k.queue), Flavor: quota.None, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod,
		Priority: j.Priority, Created: j.Created, Queued: j.Queued, Name: j.Name, UID: j.UID,
	}
	if want == entered {
		job.Flavor = k.flavor
	}
	c.index.Add(job)
	c.stale[k.queue] = true
	c.entered[slot] = want
}
