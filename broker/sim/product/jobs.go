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
	was, known := p.queued, p.snapshot.Jobs
	now, jobs := p.spare.queued[:0], p.spare.jobs[:0]
	at := 0
	for _, j := range p.world.Waiting() {
		if p.open[j] {
			continue
		}
		want := queued{j, j.Attempt}
		for at < len(was) && was[at].job.Order < j.Order {
			at++
		}
		if at < len(was) && was[at] == want {
			jobs = append(jobs, known[at])
		} else {
			jobs, p.changed = append(jobs, p.describe(j)), true
		}
		now = append(now, want)
	}
	p.changed = p.changed || len(now) != len(was)
	p.spare.queued, p.spare.jobs = was, known
	p.queued, p.snapshot.Jobs = now, jobs
}

func (p *policy) describe(j *sim.JobState) lend.Job {
	return lend.Job{
		Name: j.Name, UID: fmt.Sprintf("%010d", j.Order), Tenant: j.Tenant, Queue: j.Queue, Priority: j.Priority,
		Created: p.time(j.Submit), Queued: p.time(j.Queued),
		Flavor: j.Flavor, Pods: j.Pods, UnitsPerPod: j.UnitsPerPod, MinPods: j.MinPods, Grace: j.Grace, Attempt: j.Attempt,
	}
}
