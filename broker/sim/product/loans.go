package product

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// held is the job behind an open loan, and the attempt that the loan is for.
type held struct {
	job     *sim.JobState
	attempt int32
	// saved is from when on its work is saved anew.
	saved  time.Duration
	over   bool // what the world held for it is free
	closed bool // the core has returned the loan
}

// lookAtLoans says what became of the jobs behind the open loans.
func (p *policy) lookAtLoans() {
	for i := range p.held {
		h, l := &p.held[i], &p.snapshot.Loans[i]
		if h.over {
			continue
		}
		if j := h.job; j.Phase == sim.Ended || j.Attempt != h.attempt {
			h.over, l.Live, l.ShedLive, p.freed = true, 0, 0, true
			p.ending++
			l.Finished = !l.Reclaiming
			continue
		}
		if live := h.job.Held; l.Live != live {
			l.Live, l.ShedLive, p.freed = live, pods(h.job.Going), true
		}
		if p.world.Now() >= h.saved {
			l.Checkpoint, h.saved = p.saved(h.job)
		}
	}
}

// saved is when a job's work was last saved, and when next, by what the broker knows: how
// often it does that since it works.
func (p *policy) saved(j *sim.JobState) (last time.Time, next time.Duration) {
	begun := j.Since
	if j.Since > j.First {
		begun += j.Restart
	}
	if begun > p.world.Now() {
		return p.time(j.Since), begun
	}
	last = lend.Checkpoints{Every: j.CheckpointEvery}.Since(p.time(begun), p.snapshot.Now).At
	if j.CheckpointEvery <= 0 {
		return last, far
	}
	return last, last.Sub(p.world.Scenario().Start) + j.CheckpointEvery
}

func pods(places []sim.Place) (n int64) {
	for _, at := range places {
		n += at.Pods
	}
	return n
}

// opened is a loan that is not listed yet.
type opened struct {
	lend.Loan
	held
}

// openLoan makes the loan of a job that has started. It is listed by fileLoans.
func (p *policy) openLoan(j *sim.JobState, a *lend.Action) {
	l := lend.Loan{
		Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue, Priority: j.Priority,
		Attempt: a.Attempt, Pods: j.Held, Bound: j.Held, Live: j.Held, MinPods: j.MinPods, UnitsPerPod: j.UnitsPerPod,
		Grants: slices.Clone(a.Grants), Since: p.snapshot.Now, Checkpoint: p.snapshot.Now, Grace: j.Grace,
	}
	slices.SortStableFunc(l.Grants, func(x, y lend.Grant) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Lender, y.Lender), cmp.Compare(x.Flavor, y.Flavor))
	})
	p.opened = append(p.opened, opened{l, held{job: j, attempt: j.Attempt}})
	p.open[j], p.changed = a.Loan, true
	p.countLent(l.Grants, +1)
}

// countLent adds grants to what services lend, or takes them off.
func (p *policy) countLent(all []lend.Grant, sign int64) {
	for _, g := range all {
		if i := p.lender(g.Lender); i != sim.Nobody {
			p.lent[i] += sign * g.Count
		}
	}
}

// closeLoan ends a loan. fileLoans forgets it.
func (p *policy) closeLoan(i int) {
	h := &p.held[i]
	if delete(p.open, h.job); h.over {
		p.ending--
	}
	h.closed, p.freed = true, true
	p.closed++
	p.countLent(p.snapshot.Loans[i].Grants, -1)
}

// fileLoans brings the list of open loans up to date once a plan is carried out: who is
// closed goes, and who is opened comes in by name.
func (p *policy) fileLoans() {
	if p.closed > 0 {
		k := slices.IndexFunc(p.held, func(h held) bool { return h.closed })
		for i := k; i < len(p.held); i++ {
			if !p.held[i].closed {
				p.held[k], p.snapshot.Loans[k] = p.held[i], p.snapshot.Loans[i]
				k++
			}
		}
		clear(p.held[k:])
		clear(p.snapshot.Loans[k:])
		p.held, p.snapshot.Loans, p.closed = p.held[:k], p.snapshot.Loans[:k], 0
	}
	slices.SortFunc(p.opened, func(a, b opened) int { return strings.Compare(a.Name, b.Name) })
	from := len(p.held)
	p.held = slices.Grow(p.held, len(p.opened))[:from+len(p.opened)]
	p.snapshot.Loans = slices.Grow(p.snapshot.Loans, len(p.opened))[:len(p.held)]
	for to := len(p.held) - 1; len(p.opened) > 0; to-- {
		last := &p.opened[len(p.opened)-1]
		if from > 0 && p.snapshot.Loans[from-1].Name > last.Name {
			from--
			p.held[to], p.snapshot.Loans[to] = p.held[from], p.snapshot.Loans[from]
			continue
		}
		p.held[to], p.snapshot.Loans[to] = last.held, last.Loan
		*last = opened{}
		p.opened = p.opened[:len(p.opened)-1]
	}
}

func (p *policy) findLoan(name string) (int, bool) {
	return slices.BinarySearchFunc(p.snapshot.Loans, name, func(l lend.Loan, name string) int { return strings.Compare(l.Name, name) })
}
