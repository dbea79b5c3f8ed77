package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// loan is a loan's row.
type loan struct {
	view.LoanRow
	Warning bool `json:"warning,omitempty"`
}

// sees is a loan's row as the caller may see it: whole by its borrower, and by who lends what
// he lends of it; false if that is nothing.
func (v *rows) sees(l *lend.Loan) (view.LoanRow, bool) {
	row := view.LoanRowOf(l)
	if v.shows(l.Name) {
		return row, true
	}
	return row, row.Lent(v.shows)
}

func (s *server) loans(w http.ResponseWriter, r *http.Request, d *Decision) {
	query := r.URL.Query()
	part, ok := pageOf(w, r)
	if !ok {
		return
	}
	mine, ok := s.rows(w, r, query.Get("namespace"))
	if !ok {
		return
	}
	body := struct {
		DecidedAt time.Time `json:"decidedAt"`
		Loans     []loan    `json:"loans"`
		Next      uint64    `json:"next,omitempty"`
	}{d.Record.Snapshot.Now, []loan{}, 0}
	wanted := loanFilter{query.Get("namespace"), query.Get("name"), query.Get("job"), query.Get("lender")}
	for i := range d.Record.Snapshot.Loans {
		l := &d.Record.Snapshot.Loans[i]
		if !wanted.is(l) {
			continue
		}
		row, seen := mine.sees(l)
		if !seen || !wanted.lends(&row) || !part.takes() {
			continue
		}
		said := d.about(lend.SubjectLoan, l.Name, "")
		row.Reason, row.ReasonSince = said.Reason, said.Since
		if !row.Part {
			row.Message = mine.said(d, said.Message)
		}
		body.Loans = append(body.Loans, loan{row, said.Warning})
	}
	body.Next = part.next
	mine.answer(w, body)
}

// loanFilter is which loans somebody asks for; what is empty is any.
type loanFilter struct{ namespace, name, job, lender string }

func (f *loanFilter) is(l *lend.Loan) bool {
	return (f.namespace == "" || strings.HasPrefix(l.Name, f.namespace+"/")) && (f.name == "" || f.name == l.Name) && (f.job == "" || f.job == l.Job)
}

// lends: what the caller sees of the loan has units of the lender.
func (f *loanFilter) lends(row *view.LoanRow) bool {
	return f.lender == "" || slices.ContainsFunc(row.Grants, func(g lend.Grant) bool { return g.Lender == f.lender })
}
