package view

import (
	"strconv"
	"time"
)

// LoanTable is the table of open loans as a decision saw them, in the order given. GRACE is as
// in Loans; allowed is what a lender allows, and false where that is not told, so that a loan
// has at most ("<=") what is known of it.
func LoanTable(rows []LoanRow, allowed func(lender string) (time.Duration, bool), now time.Time) Table {
	t := Table{Columns: columns("NAME", "BORROWER", "UNITS", "NODES", "LENDER", "STATE", "GRACE", "REASON", "AGE")}
	for i := range rows {
		r := &rows[i]
		var nodes, lenders []string
		for _, g := range r.Grants {
			nodes, lenders = append(nodes, g.Node), append(lenders, g.Lender)
		}
		t.Rows = append(t.Rows, []string{
			cell(r.Name), cell(r.Borrower), strconv.FormatInt(r.Units, 10), some(nodes), some(lenders), cell(r.State),
			r.grace(allowed, now), cell(r.Reason), Age(now, r.Since),
		})
	}
	return t
}

func (r *LoanRow) grace(allowed func(lender string) (time.Duration, bool), now time.Time) string {
	if !r.ReclaimBy.IsZero() {
		return Span(r.ReclaimBy.Sub(now))
	}
	grace := time.Duration(r.GraceSeconds * float64(time.Second))
	mark, lent := "", false
	for _, g := range r.Grants {
		if g.Lender == "" {
			continue
		}
		lent = true
		most, told := allowed(g.Lender)
		if !told {
			mark = "<="
			continue
		}
		grace = min(grace, most)
	}
	if !lent {
		return None
	}
	return mark + Span(grace)
}
