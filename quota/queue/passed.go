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

// Because is what stands for jobs that were not offered.
type Because struct {
	Kind Kind
	// Ref is that of the job that was refused, or that is ahead; that need not have been
	// offered itself. With NoQuota and Closed it means nothing.
	Ref int
}

// Passed tells of every job that was not offered, and why, once Next has said that
// there is no more: those of a class that have one reason together, by their Refs, the
// oldest first. The slice is good until tell returns. Classes come queue by queue, in
// each by flavor, then size of the gang, then priority. Together with what was offered
// that is every job once.
func (p *Pass) Passed(tell func(refs []int, because Because)) {
	var refs []int
	p.passed(func(slots []int32, kind Kind, because int32) {
		refs = refs[:0]
		for _, slot := range slots {
			refs = append(refs, p.x.roster.refs[slot])
		}
		tell(refs, Because{kind, p.x.roster.refs[because]})
	})
}

// passed is Passed by slots.
func (p *Pass) passed(tell func(slots []int32, kind Kind, because int32)) {
	for i := range p.queues {
		in := &p.x.queues[i]
		for _, id := range in.classes.ids {
			slots := p.x.classes[id].jobs.ids[p.classes[id].at:]
			if len(slots) > 1 && slots[0] == p.queues[i].held { // it has a reason of its own
				kind, because := p.because(int32(i), id, slots[0])
				tell(slots[:1], kind, because)
				slots = slots[1:]
			}
			if len(slots) > 0 {
				kind, because := p.because(int32(i), id, slots[0])
				tell(slots, kind, because)
			}
		}
	}
}

func (p *Pass) because(queue, class, slot int32) (Kind, int32) {
	q, in := &p.queues[queue], &p.x.queues[queue]
	because := p.classes[class].refused - 1
	switch {
	case in.Closed || p.x.classes[class].flavor < 0 || !p.isTenant(in.Tenant):
		return Closed, slot
	case q.held != none && q.held != slot:
		return Behind, q.held
	case q.held == slot:
		because = q.because
	}
	if because == none {
		return NoQuota, slot
	}
	return Alike, because
}
