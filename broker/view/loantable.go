package view

import (
	"strconv"
	"time"
)

// LoanTable is the table of open loans as a decision saw them, in the order given.
func LoanTable(rows []LoanRow, now time.Time) Table {
	t := Table{Columns: columns("NAME", "BORROWER", "UNITS", "NODES", "LENDER", "STATE", "GRACE", "REASON", "AGE")}
	for i := range rows {
		r := &rows[i]
		var nodes, lenders []string
		for _, g := range r.Grants {
			nodes, lenders = append(nodes, g.Node), append(lenders, g.Lender)
		}
		grace := Span(time.Duration(r.GraceSeconds * float64(time.Second)))
		if !r.ReclaimBy.IsZero() {
			grace = Span(r.ReclaimBy.Sub(now))
		}
		t.Rows = append(t.Rows, []string{
			cell(r.Name), cell(r.Borrower), strconv.FormatInt(r.Units, 10), some(nodes), some(lenders), cell(r.State), grace, cell(r.Reason), Age(now, r.Since),
		})
	}
	return t
}
