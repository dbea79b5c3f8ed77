package town

import (
	"slices"
	"time"
)

// End takes an open loan back, as a broker does whose lender needs its units, and tells who
// watches. It returns when that was.
func (t *Town) End(name string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.loans = slices.DeleteFunc(t.loans, func(l Loan) bool { return l.Name == name })
	for i := range t.spans {
		if t.spans[i].Loan == name {
			t.spans[i].To, t.spans[i].End, t.spans[i].Mark = now.UTC(), "RELEASED", "]"
		}
	}
	t.tell("loans", "ledger")
	return now
}

// Names of the open loans, in order.
func (t *Town) Names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, l := range t.loans {
		names = append(names, l.Name)
	}
	return names
}

// Say tells who watches that something changed, though nothing did.
func (t *Town) Say(changed ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell(changed...)
}

func (t *Town) tell(changed ...string) {
	for heard := range t.watchers {
		select {
		case heard <- changed:
		default: // it has enough to hear of
		}
	}
}

// Watchers is how many watch.
func (t *Town) Watchers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.watchers)
}

// Within is how many loans the timeline has of the time until now.
func (t *Town) Within(length time.Duration) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.spans {
		if s.From.Before(t.now) && (s.To.IsZero() || s.To.After(t.now.Add(-length))) {
			n++
		}
	}
	return min(n, 10000)
}

// Examples are the names of a job that waits, a lender and a loan that is asked back.
func (t *Town) Examples() (job, lender, loan string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.IndexFunc(t.loans, func(l Loan) bool { return l.State == "Reclaiming" })
	return t.jobs[0].Job, t.lenders[0].Name, t.loans[max(at, 0)].Name
}
