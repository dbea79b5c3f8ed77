package counterfactual

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Recalled is what asking units back would end.
type Recalled struct {
	Lender string
	// Keep is what is asked for, no more than Owned. Lent is what is on loan now.
	Keep, Owned, Lent int64
	// Loans that would be asked back on account of it, by name.
	Loans []Ending
	// Units of the lender's that these have, and Leaving those that are on their way without
	// it. Short is what would still be missing: of loans that cannot be asked back yet.
	Units, Leaving, Short int64
	// By is when the last of them is back at the latest; zero if none is asked back.
	By time.Time
}

// Ending is a loan, or a part of one, that would be asked back.
type Ending struct {
	Loan, Job, Borrower string
	// Units of the lender's; Part: the job goes on with others.
	Units int64
	Part  bool
	By    time.Time
	// LostWork in unit-seconds.
	LostWork float64
}

// Recall says which loans would be asked back if a lender, namespace/name, were to keep so
// many units from now on, all that it owns if keep is negative or more than that. It is false
// if there is no such lender.
func Recall(in lend.Snapshot, prev lend.State, pol lend.Policy, lender string, keep int64) (Recalled, bool) {
	at := slices.IndexFunc(in.Lenders, func(l lend.Lender) bool { return l.Name == lender })
	if at < 0 {
		return Recalled{}, false
	}
	var decider lend.Decider
	plan, _ := decider.Decide(in, prev, pol)
	before := viewOf(&plan, lender)
	if keep < 0 || keep > before.Owned {
		keep = before.Owned
	}
	without := endings(&in, &plan, lender)
	in.Lenders = slices.Clone(in.Lenders)
	l := &in.Lenders[at]
	floor := lend.Floor{Name: lend.FloorRecall, Units: keep, From: in.Now, Until: in.Now.Add(time.Hour)}
	l.Floors = slices.DeleteFunc(slices.Clone(l.Floors), func(f lend.Floor) bool { return f.Name == lend.FloorRecall })
	l.Floors = append(l.Floors, floor)
	slices.SortStableFunc(l.Floors, func(a, b lend.Floor) int { return cmp.Compare(a.Name, b.Name) })
	plan, _ = decider.Decide(in, prev, pol)

	r := Recalled{Lender: lender, Keep: keep, Owned: before.Owned, Leaving: leaving(&in, lender)}
	for _, e := range without {
		r.Leaving += e.Units
	}
	for _, e := range endings(&in, &plan, lender) {
		if i := slices.IndexFunc(without, func(o Ending) bool { return o.Loan == e.Loan }); i >= 0 {
			continue
		}
		r.Loans = append(r.Loans, e)
		r.Units += e.Units
		if e.By.After(r.By) {
			r.By = e.By
		}
	}
	after := viewOf(&plan, lender)
	r.Lent = after.Lent
	r.Short = max(keep-(r.Owned-(r.Lent-r.Units-r.Leaving)), 0)
	return r, true
}

func viewOf(plan *lend.Plan, lender string) lend.LenderView {
	for _, v := range plan.Lenders {
		if v.Name == lender {
			return v
		}
	}
	return lend.LenderView{}
}

// endings are what a plan asks back, by loan.
func endings(in *lend.Snapshot, plan *lend.Plan, lender string) []Ending {
	loans := make(map[string]*lend.Loan, len(in.Loans))
	for i := range in.Loans {
		loans[in.Loans[i].Name] = &in.Loans[i]
	}
	var out []Ending
	for _, a := range plan.Actions {
		l := loans[a.Loan]
		if a.Kind != lend.ActionReclaim || l == nil {
			continue
		}
		e := Ending{Loan: a.Loan, Job: a.Job, Borrower: l.Borrower, Units: unitsOf(l.Grants, lender), By: a.ReclaimBy, LostWork: a.LostWork}
		if len(a.Shed) > 0 {
			e.Units, e.Part = unitsOf(a.Shed, lender), true
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Ending) int { return cmp.Compare(a.Loan, b.Loan) })
	return out
}

// leaving is what of a lender's units is on its way back already.
func leaving(in *lend.Snapshot, lender string) (n int64) {
	for i := range in.Loans {
		switch l := &in.Loans[i]; {
		case l.Reclaiming || l.Preempted || l.Finished:
			n += unitsOf(l.Grants, lender)
		default:
			n += unitsOf(l.Shedding, lender)
		}
	}
	return n
}

func unitsOf(grants []lend.Grant, lender string) (n int64) {
	for _, g := range grants {
		if g.Lender == lender {
			n += g.Count
		}
	}
	return n
}
