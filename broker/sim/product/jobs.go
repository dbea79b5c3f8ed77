package product

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// queued is a job that waits, and how often it had been started.
type queued struct {
	job     *sim.JobState
	attempt int32
}

// lookAtJobs lists the jobs that wait, those without an open loan, in the order in which
// they arrived, which is that of their UIDs. All before the first difference stays where it
// is, and of the rest those are taken over that waited before.
func (p *policy) lookAtJobs() {
	waiting := p.world.Waiting()
	same := p.sameJobs(waiting)
	if same == len(waiting) && same == len(p.queued) {
		return
	}
	p.changed = true
	p.spare.queued = append(p.spare.queued[:0], p.queued[same:]...)
	p.spare.jobs = append(p.spare.jobs[:0], p.snapshot.Jobs[same:]...)
	was, at := p.spare.queued, 0
	p.queued, p.snapshot.Jobs = p.queued[:same], p.snapshot.Jobs[:same]
	for _, j := range waiting[same:] {
		if p.ending > 0 && p.open[j] != "" {
			continue
		}
		want := queued{j, j.Attempt}
		for at < len(was) && was[at].job.Order < j.Order {
			at++
		}
		if at < len(was) && was[at] == want {
			p.snapshot.Jobs = append(p.snapshot.Jobs, p.spare.jobs[at])
		} else {
			p.snapshot.Jobs = append(p.snapshot.Jobs, p.describe(j))
		}
		p.queued = append(p.queued, want)
	}
}

// sameJobs is how many of those that wait are listed already, from the first on.
func (p *policy) sameJobs(waiting []*sim.JobState) int {
	n := min(len(waiting), len(p.queued))
	for i, j := range waiting[:n] {
		if p.queued[i].job != j || p.queued[i].attempt != j.Attempt {
			return i
		}
	}
	return n
}

func (p *policy) describe(j *sim.JobState) lend.Job {
	return lend.Job{
		Name: j.Name, UID: fmt.Sprintf("%010d", j.Order), Tenant: j.Tenant, Queue: j.Queue, Priority: j.Priority,
		Created: p.time(j.Submit), Queued: p.time(j.Queued),
		Flavor: j.Flavor, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod, MinPods: j.MinPods, Grace: j.Grace, Attempt: j.Attempt,
	}
}
