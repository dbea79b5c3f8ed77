package history

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Reclaim is what the payload of an entry that announces a reclaim says.
type Reclaim struct {
	// Asking are the lenders that it is for, namespace/name. Entries of older versions
	// name none.
	Asking []string `json:"asking,omitempty"`
}

// Recall returns what a broker that has just started has to know of the past: how often
// each job was taken back within the windows of the policy, whose loans did not start, and
// when units were last asked back for each lender. Without it a restart would refill every
// budget and end every cooldown.
//
// What no ledger tells begins anew, which never lends sooner. A loan that the scheduler
// took counts from when that was seen.
func Recall(book Reader, pol lend.Policy, now time.Time) (lend.State, error) {
	r := recall{pol: pol, now: now, loans: map[string]*held{}, jobs: map[string]*lend.JobState{}, lenders: map[string]*lend.LenderState{}}
	for next := uint64(1); ; {
		entries, err := book.Read(next, ledger.MaxPage)
		if err != nil {
			return lend.State{}, fmt.Errorf("read the ledger from entry %d: %w", next, err)
		}
		if len(entries) == 0 {
			return r.state(), nil
		}
		for i := range entries {
			r.add(&entries[i])
			next = entries[i].Seq + 1
		}
	}
}

// recall is a reading in progress.
type recall struct {
	pol     lend.Policy
	now     time.Time
	loans   map[string]*held // open ones
	jobs    map[string]*lend.JobState
	lenders map[string]*lend.LenderState
}

// held is an open loan.
type held struct {
	job     string
	since   time.Time
	lenders []string
	// taken: it was asked back, and counts once.
	taken bool
}

func (r *recall) add(e *ledger.Entry) {
	at := e.Time
	if !e.At.IsZero() && e.At.Before(at) {
		at = e.At
	}
	switch e.Kind {
	case ledger.LendIntent, ledger.Recovered:
		l := &held{job: e.JobUID, since: at}
		for _, g := range e.Grants {
			if g.Lender != "" && !slices.Contains(l.lenders, g.Lender) {
				l.lenders = append(l.lenders, g.Lender)
			}
		}
		r.loans[e.Loan] = l
		return
	}
	l := r.loans[e.Loan]
	if l == nil {
		return
	}
	switch e.Kind {
	case ledger.ReclaimIntent, ledger.ShedIntent:
		var said Reclaim
		if json.Unmarshal(e.Payload, &said) == nil {
			r.ask(said.Asking, l, at)
		}
		if e.Kind == ledger.ReclaimIntent {
			r.take(l, e.Reason, at)
		}
	case ledger.Preempted:
		r.ask(l.lenders, l, at)
		r.take(l, e.Reason, at)
	}
	if e.Kind.Closes() {
		delete(r.loans, e.Loan)
	}
}

// take counts that a job was stopped. That its node went away, that others got its units
// before it did, that its slices are undone, or that its queue is emptied, counts for no
// budget.
func (r *recall) take(l *held, reason string, at time.Time) {
	switch reason {
	case lend.ReasonNodeUnhealthy, lend.ReasonCrowdedOut, lend.ReasonSlicesUndone, lend.ReasonQueueDraining:
		return
	}
	if l.taken {
		return
	}
	l.taken = true
	if r.now.Sub(at) >= max(r.pol.EvictionWindow, r.pol.CycleWindow, r.pol.StartWithin) {
		return
	}
	job := r.jobs[l.job]
	if job == nil {
		job = &lend.JobState{UID: l.job}
		r.jobs[l.job] = job
	}
	job.Evictions = append(job.Evictions, at)
	if reason == lend.ReasonNotStarted {
		job.NotStarted = at
	}
}

// ask counts that units were asked back for lenders: all at once within a decision, and
// against the flap budget if they had been lent since the last time.
func (r *recall) ask(names []string, l *held, at time.Time) {
	for _, name := range names {
		if lend.IsCohortLender(name) {
			continue
		}
		m := r.lenders[name]
		if m == nil {
			m = &lend.LenderState{Name: name}
			r.lenders[name] = m
		}
		m.LastReclaim = at
		if n := len(m.Reclaims); r.now.Sub(at) < r.pol.FlapWindow && (n == 0 || m.Reclaims[n-1].Before(l.since)) {
			m.Reclaims = append(m.Reclaims, at)
		}
	}
}

// state drops nothing that the next decision would not.
func (r *recall) state() lend.State {
	var s lend.State
	for _, uid := range slices.Sorted(maps.Keys(r.jobs)) {
		s.Jobs = append(s.Jobs, *r.jobs[uid])
	}
	for _, name := range slices.Sorted(maps.Keys(r.lenders)) {
		s.Lenders = append(s.Lenders, *r.lenders[name])
	}
	return s
}
