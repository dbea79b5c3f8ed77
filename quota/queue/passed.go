package queue

// Kind is why a job was not offered.
type Kind int8

const (
	// NoQuota: it exceeds what is available to its tenant, and nothing could be taken
	// back for it.
	NoQuota Kind = iota
	// Alike: a job like it was refused.
	Alike
	// Behind: its queue allows no backfill, and the job ahead of it does not start.
	Behind
	// Closed: its queue is closed or nobody's, or it has no flavor.
	Closed
)

// Because is what stands for a job that was not offered.
type Because struct {
	Kind Kind
	// Job is the one that was refused, or that is ahead; that need not have been offered
	// itself. With NoQuota and Closed it is the job that was not offered.
	Job Job
}

// Passed tells of every job that was not offered, and why, once Next has said that
// there is no more: queue by queue, in each by flavor, then size of the gang, then
// age. Together with what was offered that is every job once.
func (p *Pass) Passed(tell func(job Job, because Because)) {
	for i := range p.queues {
		in := &p.x.queues[i]
		for _, id := range in.classes.ids {
			for _, slot := range p.x.classes[id].jobs.ids[p.classes[id].at:] {
				tell(p.x.jobs[slot], p.because(int32(i), id, slot))
			}
		}
	}
}

func (p *Pass) because(queue, class, slot int32) Because {
	q, in := &p.queues[queue], &p.x.queues[queue]
	because := p.classes[class].refused - 1
	switch {
	case in.Closed || p.x.classes[class].flavor < 0 || !p.isTenant(in.Tenant):
		return Because{Closed, p.x.jobs[slot]}
	case q.held != none && q.held != slot:
		return Because{Behind, p.x.jobs[q.held]}
	case q.held == slot:
		because = q.because
	}
	if because == none {
		return Because{NoQuota, p.x.jobs[slot]}
	}
	return Because{Alike, p.x.jobs[because]}
}
