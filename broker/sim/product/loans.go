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
	over    bool // what the world held for it is free
}

// lookAtLoans says what became of the jobs behind the open loans.
func (p *policy) lookAtLoans() {
	for i := range p.held {
		h, l := &p.held[i], &p.snapshot.Loans[i]
		if h.over {
			continue
		}
		if j := h.job; j.Phase == sim.Ended || j.Attempt != h.attempt {
			h.over, l.Live, l.ShedLive, p.changed = true, 0, 0, true
			p.ending++
			l.Finished = !l.Reclaiming
			continue
		}
		if live := h.job.Held; l.Live != live {
			l.Live, l.ShedLive, p.changed = live, pods(h.job.Going), true
		}
		l.Checkpoint = p.saved(h.job)
	}
}

// saved is when a job's work was last saved, by what the broker knows: how often it does
// that since it works.
func (p *policy) saved(j *sim.JobState) time.Time {
	begun := j.Since
	if j.Since > j.First {
		begun += j.Restart
	}
	now := p.world.Now()
	if begun > now {
		return p.time(j.Since)
	}
	return lend.Checkpoints{Every: j.CheckpointEvery}.Since(p.time(begun), p.snapshot.Now).At
}

func pods(places []sim.Place) (n int64) {
	for _, at := range places {
		n += at.Pods
	}
	return n
}

// openLoan adds the loan of a job that starts now.
func (p *policy) openLoan(j *sim.JobState, a *lend.Action) {
	l := lend.Loan{
		Name: a.Loan, Job: a.Job, JobUID: a.JobUID, Borrower: j.Tenant, Queue: j.Queue, Priority: j.Priority,
		Attempt: a.Attempt, Pods: j.Held, Bound: j.Held, Live: j.Held, MinPods: j.MinPods, UnitsPerPod: j.UnitsPerPod,
		Grants: slices.Clone(a.Grants), Since: p.snapshot.Now, Checkpoint: p.snapshot.Now, Grace: j.Grace,
	}
	slices.SortStableFunc(l.Grants, func(x, y lend.Grant) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Lender, y.Lender), cmp.Compare(x.Flavor, y.Flavor))
	})
	i, _ := p.findLoan(a.Loan)
	p.snapshot.Loans = slices.Insert(p.snapshot.Loans, i, l)
	p.held = slices.Insert(p.held, i, held{job: j, attempt: j.Attempt})
	p.open[j] = a.Loan
	p.countLent(l.Grants, +1)
}

// countLent adds grants to what services lend, or takes them off.
func (p *policy) countLent(all []lend.Grant, sign int64) {
	p.changed = true
	for _, g := range all {
		if i := p.lender(g.Lender); i != sim.Nobody {
			p.lent[i] += sign * g.Count
		}
	}
}

// closeLoan forgets a loan.
func (p *policy) closeLoan(i int) {
	if delete(p.open, p.held[i].job); p.held[i].over {
		p.ending--
	}
	p.countLent(p.snapshot.Loans[i].Grants, -1)
	p.snapshot.Loans = slices.Delete(p.snapshot.Loans, i, i+1)
	p.held = slices.Delete(p.held, i, i+1)
}

func (p *policy) findLoan(name string) (int, bool) {
	return slices.BinarySearchFunc(p.snapshot.Loans, name, func(l lend.Loan, name string) int { return strings.Compare(l.Name, name) })
}
