package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/grants"
)

// An elastic loan that gives back a part of its units is two loans for the decision:
// one that goes on, and one of that part that ends.

// splitOff takes what is shed off the loan, and returns it as a part beside it. What
// the loan does not hold is not shed.
func (l *loan) splitOff(shed []Grant) *loan {
	of := *l.Loan
	part := &loan{Loan: &of, part: true, lent: l.lent, memory: LoanState{Name: l.Name}, number: -1}
	part.Shedding, part.Reclaiming = nil, true
	part.Live, part.Killed, part.Finished = l.ShedLive, l.ShedKilled, false
	l.Grants, part.Grants = grants.Split(l.Grants, shed)
	l.nodes = nil
	for _, g := range part.Grants {
		part.units += g.Count
	}
	l.units -= part.units
	part.before, l.shed = l.shed, part
	return part
}

// shrink makes a victim of a part of an elastic loan. The part lives until the
// decision is over, or until it is spared.
func (d *decision) shrink(l *loan, shed []Grant) *loan {
	part := l.splitOff(shed)
	part.Reclaiming, part.whole, part.victim = false, l, true
	part.cost = float64(part.units) * max(d.pol.RestartCost, 0).Seconds()
	at := slices.Index(d.loans, l)
	d.loans = slices.Insert(d.loans, at+1, part)
	return part
}

// restore undoes shrink; it does nothing to a loan that is no part.
func (d *decision) restore(part *loan) {
	l := part.whole
	if l == nil {
		return
	}
	for _, g := range part.Grants {
		i := slices.IndexFunc(l.Grants, func(have Grant) bool {
			return have.Lender == g.Lender && have.Node == g.Node && have.Flavor == g.Flavor
		})
		if i >= 0 {
			l.Grants[i].Count += g.Count
		} else {
			l.Grants = append(l.Grants, g)
		}
	}
	slices.SortStableFunc(l.Grants, compareGrants)
	l.units += part.units
	l.shed, l.victim = part.before, false
	d.loans = slices.DeleteFunc(d.loans, func(o *loan) bool { return o == part })
}

// sheds is what the loan gives back as far as this part is: with what it gives back already,
// which goes on until all of it is free. What this plan returns is given back, and no
// longer part of it.
func (l *loan) sheds() []Grant {
	if b := l.before; b == nil || b.action != nil && b.action.Kind == ActionReturn {
		return l.Grants
	}
	sum := slices.Concat(l.before.Grants, l.Grants)
	slices.SortStableFunc(sum, compareGrants)
	return sum
}

// from names the grants behind units that are to be shed on nodes: those of the
// lenders that ask first, then what others lent, then the job's own quota.
func (l *loan) from(shed []Grant, asking []*lender) []Grant {
	rank := func(g Grant) int {
		switch {
		case slices.ContainsFunc(asking, func(o *lender) bool { return o.Name == g.Lender }):
			return 0
		case g.Lender != "":
			return 1
		}
		return 2
	}
	held := slices.Clone(l.Grants)
	slices.SortStableFunc(held, func(a, b Grant) int { return rank(a) - rank(b) })
	var out []Grant
	for _, s := range shed {
		for i := range held {
			g := &held[i]
			n := min(s.Count, g.Count)
			if g.Node != s.Node || g.Flavor != s.Flavor || n <= 0 {
				continue
			}
			out = append(out, Grant{Lender: g.Lender, Node: g.Node, Flavor: g.Flavor, Count: n})
			g.Count, s.Count = g.Count-n, s.Count-n
		}
	}
	slices.SortStableFunc(out, compareGrants)
	return out
}
