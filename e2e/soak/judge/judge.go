// Package judge says whether what happened to training jobs was too much for them: taken
// back too often, or sent back and forth.
//
// It knows nothing of a cluster or a broker. It is given what was seen, and counts:
//
//	budget  no job is taken back more than Budget times within any Window, not counting
//	        what an online pod that waits forced
//	young   no loan is taken back within its first Minimum, but for a reason that may:
//	        units go from the lender to a job and back
//	relent  nobody lends within Cooldown after units were asked back for it: they go from
//	        a job to the lender and to a job again
//
// Both of the latter are what it calls ping-pong. A load that falls and rises again after
// these times is the tide, however often it does.
package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Lend is a job's admission on lent units.
type Lend struct {
	// Job is its UID, since a name may be used again.
	Job, Loan string
	At        time.Time
	Lenders   []string
}

// TakeBack is the end of a loan that its job did not bring about.
type TakeBack struct {
	Job, Loan string
	At        time.Time
	// Reason it was done for; Urgent ones may end a young loan.
	Reason string
	Urgent bool
	// Forced: an online pod waited for the units.
	Forced bool
	// Asking are the lenders that it was done for.
	Asking []string
}

// Rules are what was promised.
type Rules struct {
	Budget                    int
	Window, Minimum, Cooldown time.Duration
	// Slack is how far what was seen may be from when it was decided.
	Slack time.Duration
}

// Findings are what is to be said. The lists are sentences, one for each breach.
type Findings struct {
	// Forced and Unforced take-backs, of all jobs together.
	Forced, Unforced int
	// Most is how often one job was taken back within the window, MostUnforced how often
	// without an online pod that waited.
	Most, MostUnforced int
	// Spent is how many jobs had their whole budget used up at some time.
	Spent                     int
	OverBudget, Young, Relent []string
}

// Judge holds what happened, in any order, against the rules.
func (r Rules) Judge(lends []Lend, takeBacks []TakeBack) Findings {
	lends, takeBacks = slices.Clone(lends), slices.Clone(takeBacks)
	slices.SortStableFunc(lends, func(a, b Lend) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(takeBacks, func(a, b TakeBack) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), a.At.Compare(b.At))
	})
	var f Findings
	for len(takeBacks) > 0 {
		job := takeBacks[0].Job
		n := slices.IndexFunc(takeBacks, func(t TakeBack) bool { return t.Job != job })
		if n < 0 {
			n = len(takeBacks)
		}
		r.budget(&f, takeBacks[:n])
		r.pingPong(&f, takeBacks[:n], lends)
		takeBacks = takeBacks[n:]
	}
	return f
}

// budget looks at one job's take-backs, oldest first.
func (r Rules) budget(f *Findings, times []TakeBack) {
	most, unforced := 0, 0
	for i, last := range times {
		all, free := 0, 0
		for _, t := range times[:i+1] {
			if last.At.Sub(t.At) >= r.Window-r.Slack {
				continue
			}
			all++
			if !t.Forced {
				free++
			}
		}
		if free > r.Budget && free > unforced {
			f.OverBudget = append(f.OverBudget, fmt.Sprintf("job %s was taken back %d times within %s until %s, the budget is %d",
				last.Job, free, r.Window, stamp(last.At), r.Budget))
		}
		most, unforced = max(most, all), max(unforced, free)
		if last.Forced {
			f.Forced++
		} else {
			f.Unforced++
		}
	}
	f.Most, f.MostUnforced = max(f.Most, most), max(f.MostUnforced, unforced)
	if most >= r.Budget {
		f.Spent++
	}
}

// pingPong looks at one job's take-backs, with all lends, oldest first.
func (r Rules) pingPong(f *Findings, times []TakeBack, lends []Lend) {
	for _, t := range times {
		for _, l := range lends {
			age, pause := t.At.Sub(l.At), l.At.Sub(t.At)
			if l.Loan == t.Loan && !t.Urgent && age < r.Minimum-r.Slack {
				f.Young = append(f.Young, fmt.Sprintf("loan %s was taken back at %s (%s), %s after it was made; the least is %s",
					t.Loan, stamp(t.At), t.Reason, age.Round(time.Millisecond), r.Minimum))
			}
			for _, lender := range t.Asking {
				if pause > 0 && pause < r.Cooldown-r.Slack && slices.Contains(l.Lenders, lender) {
					f.Relent = append(f.Relent, fmt.Sprintf("%s lent %s at %s, %s after loan %s was asked back for it; the cooldown is %s",
						lender, l.Loan, stamp(l.At), pause.Round(time.Millisecond), t.Loan, r.Cooldown))
				}
			}
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000") }
