package lend

import (
	"fmt"

	"github.com/ebbtide/ebbtide/quota"
	"github.com/ebbtide/ebbtide/quota/queue"
)

// pass tries the jobs, first things first.
func (l *line) pass(a *admission) {
	l.enter()
	for i, q := range l.queues {
		l.index.Set(i, queue.Queue{
			Name: q.Name, Tenant: l.tenants[i], Weight: q.Weight, Used: q.Used, Backfill: q.Backfill,
			Closed: q.Paused || q.Drain || l.behind[i], Order: orderOf(&q),
		})
	}
	pass := l.index.Begin(a.books.used, a.now, a.pol.ReserveAfter, queue.CouldTake(func(tenant quota.NodeID, f quota.FlavorID) bool {
		at := a.books.at(tenant, f)
		if l.aged[at] && !a.guards.full(a, tenant, f) {
			return true
		}
		return a.fairness.wanted(tenant, f)
	}))
	for job, ok := pass.Next(); ok; job, ok = pass.Next() {
		v, reason, message := a.consider(l.ask(job.Ref))
		l.tell(job.Ref, outcome{reason, message})
		l.offered[job.Ref] = true
		if v != admitted {
			l.tried = append(l.tried, job.Ref)
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
	if !a.brief || a.reshapes != nil { // which goes by why jobs wait
		l.passed(a, pass)
	}
}

// passed gives the jobs that were not tried the verdict of those that stand for them.
func (l *line) passed(a *admission, pass *queue.Pass) {
	var same ask
	var tooMuch int32
	pass.Passed(func(refs []int, because queue.Because) {
		var text int32
		for _, slot := range refs {
			if l.said[slot] != 0 {
				continue
			}
			if text == 0 {
				switch because.Kind {
				case queue.Alike:
					text = l.said[because.Ref]
				case queue.NoQuota:
					if k := l.newAsk(slot); tooMuch == 0 || k.queue != same.queue || shapeOf(k.Job, k.flavor) != shapeOf(same.Job, same.flavor) {
						reason, message := a.tooMuch(&k)
						same, tooMuch = k, l.text(outcome{reason, message})
					}
					text = tooMuch
				default:
					text = l.behindInQueue(l.briefs[slot].queue)
				}
			}
			l.said[slot] = text
		}
	})
}

// behindInQueue is the verdict on who must wait for the others of its queue.
func (l *line) behindInQueue(queue int32) int32 {
	if l.behinds == nil {
		l.behinds = make([]int32, len(l.queues))
	}
	if l.behinds[queue] == 0 {
		l.behinds[queue] = l.text(outcome{
			ReasonBehindInQueue, fmt.Sprintf("waits behind an earlier job of queue %s, which allows no backfill", l.queues[queue].Name),
		})
	}
	return l.behinds[queue]
}
