package lend

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// mostGrants is how many grants one Loan can have.
const mostGrants = 1024

// grantOwn admits the job on its tenant's own nominal quota alone.
func (a *admission) grantOwn(j *ask, p *pool, spots []spot) (reason, message string) {
	grants := make([]Grant, 0, len(spots))
	for _, s := range spots {
		grants = append(grants, Grant{Node: p.rooms[s.room].node, Flavor: p.flavor, Count: s.pods * j.UnitsPerPod})
	}
	message = got(j, spots) + ", within its tenant's own quota"
	a.lend(j, Action{Grants: grants, Reason: ReasonWithinNominal, Message: message})
	return ReasonWithinNominal, message
}

// grantLoan splits the units among their sources, node by node.
func (a *admission) grantLoan(j *ask, p *pool, spots []spot, takes []take) (reason, message string) {
	act := Action{Reason: ReasonLent, MaxGrace: math.MaxInt64, Message: got(j, spots) + lentBySentence(takes)}
	for _, t := range takes {
		if t.name != "" {
			act.MaxGrace = min(act.MaxGrace, t.grace)
		}
		if t.lender != nil {
			t.lender.lendable -= t.units
			t.lender.lent += t.units
		}
	}
	if j.Grace > act.MaxGrace {
		act.Message += fmt.Sprintf("; when they are asked back its pods get %s, not their grace of %s", act.MaxGrace, j.Grace)
	}
	left := takes
	for _, s := range spots {
		for units := s.pods * j.UnitsPerPod; units > 0; {
			n := min(units, left[0].units)
			act.Grants = append(act.Grants, Grant{
				Lender: left[0].name, Node: p.rooms[s.room].node, Flavor: p.flavor, Count: n,
			})
			units -= n
			left[0].units -= n
			if left[0].units == 0 {
				left = left[1:]
			}
		}
	}
	slices.SortStableFunc(act.Grants, func(x, y Grant) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Lender, y.Lender))
	})
	a.lend(j, act)
	return ReasonLent, act.Message
}

func got(j *ask, spots []spot) string {
	return fmt.Sprintf("%s of %s on %s", plural(j.need, "unit"), j.Flavor, plural(int64(len(spots)), "node"))
}

// lentBySentence names the sources, and with several kinds of them their parts.
func lentBySentence(takes []take) string {
	var parts []string
	var lenders []string
	var lent int64
	for _, t := range takes {
		switch {
		case t.name == "":
			parts = append(parts, fmt.Sprintf("%d of its tenant's own quota", t.units))
		case t.lender == nil:
			parts = append(parts, fmt.Sprintf("%d of the unused quota of cohort %s", t.units, strings.TrimPrefix(t.name, cohortPrefix)))
		default:
			lent += t.units
			lenders = append(lenders, t.lender.Name)
		}
	}
	by := ""
	switch len(lenders) {
	case 0:
	case 1:
		by = "lent by " + lenders[0]
	default:
		by = fmt.Sprintf("lent by %s and %d more", lenders[0], len(lenders)-1)
	}
	switch {
	case len(parts) == 0:
		return ", " + by
	case len(takes) == 1:
		return ", of the unused quota of cohort " + strings.TrimPrefix(takes[0].name, cohortPrefix)
	case by != "":
		parts = append(parts, fmt.Sprintf("%d %s", lent, by))
	}
	return ": " + strings.Join(parts, ", ")
}

// lend notes the admission, and books it.
func (a *admission) lend(j *ask, act Action) {
	a.lendOn(j, act, &loan{Loan: &Loan{}, Grants: act.Grants, lent: act.Reason == ReasonLent, number: -1})
}

// lendOn is lend with the loan as this decision counts it. What was made and its lender has
// lent before is booked as used.
func (a *admission) lendOn(j *ask, act Action, l *loan) {
	act.Kind, act.Loan, act.Job, act.JobUID = ActionLend, a.line.loanName(j), j.Name, j.UID
	act.Attempt = attempt(j.Job)
	for _, g := range l.Grants {
		a.bookGrant(j.Tenant, g, 1)
	}
	for _, g := range l.made {
		a.bookUse(j.Tenant, g, 1)
	}
	a.books.promise(j, j.need, 0)
	a.guards.leave(a, j)
	a.moved()
	for _, d := range j.Draws {
		a.draw(d)
	}
	l.Name, l.Borrower, l.Since = act.Loan, j.Tenant, a.now
	l.bookings = a.bookings(l)
	a.fresh = append(a.fresh, l)
	a.lends = append(a.lends, act)
}
