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
// they arrived, which is that of their UIDs. Those that waited before are taken over.
func (p *policy) lookAtJobs() {
	waiting := p.world.Waiting()
	if p.sameJobs(waiting) {
		return
	}
	was, known := p.queued, p.snapshot.Jobs
	now, jobs := p.spare.queued[:0], p.spare.jobs[:0]
	at := 0
	for _, j := range waiting {
		if p.ending > 0 && p.open[j] != "" {
			continue
		}
		want := queued{j, j.Attempt}
		for at < len(was) && was[at].job.Order < j.Order {
			at++
		}
		if at < len(was) && was[at] == want {
			jobs = append(jobs, known[at])
		} else {
			jobs = append(jobs, p.describe(j))
		}
		now = append(now, want)
	}
	p.changed = true
	p.spare.queued, p.spare.jobs = was, known
	p.queued, p.snapshot.Jobs = now, jobs
}

// sameJobs reports whether those that are listed are those that wait.
func (p *policy) sameJobs(waiting []*sim.JobState) bool {
	if len(waiting) != len(p.queued) {
		return false
	}
	for i, j := range waiting {
		if p.queued[i].job != j || p.queued[i].attempt != j.Attempt {
			return false
		}
	}
	return true
}

func (p *policy) describe(j *sim.JobState) lend.Job {
	return lend.Job{
		Name: j.Name, UID: fmt.Sprintf("%010d", j.Order), Tenant: j.Tenant, Queue: j.Queue, Priority: j.Priority,
		Created: p.time(j.Submit), Queued: p.time(j.Queued),
		Flavor: j.Flavor, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod, MinPods: j.MinPods, Grace: j.Grace, Attempt: j.Attempt,
	}
}
