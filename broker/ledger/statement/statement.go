// Package statement makes of the ledger's totals what a tenant is told at the end of a
// month: what it lent and borrowed, what was taken back from it, and what was lost.
//
// It promises that hours are exact to the millisecond of a unit, also after they were
// written as JSON and read again; that the statements of all tenants of a month, the one of
// no known tenant among them, add up: what all lent is what all borrowed, lost and have in
// quarantine; and that an amount of money is computed in integers and rounded once for each
// row. It has no state and reads no clock.
//
// It refuses to guess: a flavor without a price has no amount, and a price list with
// anything in it that is not understood is an error.
package statement

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Role of the tenant in a row.
type Role string

// The roles.
const (
	Lender   Role = "Lender"
	Borrower Role = "Borrower"
)

// Statement of one tenant and month.
type Statement struct {
	// Tenant is empty for lenders whose tenant the ledger was not told.
	Tenant string `json:"tenant"`
	// Month is in UTC, as 2026-11.
	Month string `json:"month"`
	// Head is the ledger's last entry when the statement was made.
	Head Head `json:"head"`
	// OpenUntil is until when the rows that are open count; absent where there are none.
	OpenUntil time.Time `json:"openUntil,omitzero"`
	// Rows are in the order of their flavors; lenders before borrowers, and what has ended
	// before what is open.
	Rows []Row `json:"rows"`
	// Money has a sum for each currency; absent without a price list.
	Money []Money `json:"money,omitempty"`
	// Unpriced are the flavors that the price list does not name.
	Unpriced []string `json:"unpriced,omitempty"`
}

// Head names an entry of the ledger.
type Head struct {
	Seq  uint64      `json:"seq"`
	Hash ledger.Hash `json:"hash"`
}

// Row is what a tenant lent or borrowed of one flavor. The hours are those that lie in the
// month; loans and units are counted in the month in which they ended.
type Row struct {
	Flavor string `json:"flavor"`
	Role   Role   `json:"role"`
	// Open: of loans that have not ended, until now. They are in no other row.
	Open bool `json:"open,omitempty"`
	// Lent is set for lenders, and has what was lost and quarantined in it. Borrowed is
	// set for borrowers, and has not.
	Lent     Hours `json:"lentGPUHours,omitempty"`
	Borrowed Hours `json:"borrowedGPUHours,omitempty"`
	Units    int64 `json:"units,omitempty"`
	Loans    int64 `json:"loans,omitempty"`
	// Reclaimed is the part of Borrowed whose loans were taken back.
	Reclaimed *Reclaimed `json:"reclaimed,omitempty"`
	// Lost and Quarantined is the time for which no borrower is asked.
	Lost        Hours `json:"lostGPUHours,omitempty"`
	Quarantined Hours `json:"quarantinedGPUHours,omitempty"`
	// Amount is what the tenant is owed, or, below 0, owes.
	Amount   *Micros `json:"amount,omitempty"`
	Currency string  `json:"currency,omitempty"`
}

// Reclaimed is what was taken back from a borrower.
type Reclaimed struct {
	Hours Hours `json:"gpuHours"`
	Units int64 `json:"units"`
	Loans int64 `json:"loans"`
}

// Hours are what is paid for: lent by a lender, and borrowed by a borrower.
func (r *Row) Hours() Hours {
	if r.Role == Lender {
		return r.Lent
	}
	return r.Borrowed
}

// Of makes a statement of a month's totals, as ledger.Totals has them.
func Of(tenant, month string, head Head, totals []ledger.Total) Statement {
	s := Statement{Tenant: tenant, Month: month, Head: head, Rows: []Row{}}
	for i := range totals {
		s.add(&totals[i])
		if until := totals[i].Until; until.After(s.OpenUntil) {
			s.OpenUntil = until
		}
	}
	return s
}

func (s *Statement) add(t *ledger.Total) {
	none := ledger.Amount{}
	if t.Lent != none {
		s.Rows = append(s.Rows, Row{
			Flavor: t.Flavor, Role: Lender, Lent: Hours(t.Lent.UnitMS), Units: t.Lent.Units, Loans: t.Lent.Loans,
			Lost: Hours(t.LentLost.UnitMS), Quarantined: Hours(t.LentQuarantined.UnitMS),
		})
	}
	if t.OpenLent != none {
		s.Rows = append(s.Rows, Row{Flavor: t.Flavor, Role: Lender, Open: true, Lent: Hours(t.OpenLent.UnitMS), Units: t.OpenLent.Units})
	}
	if t.Borrowed != none || t.Lost != none || t.Quarantined != none {
		row := Row{
			Flavor: t.Flavor, Role: Borrower, Borrowed: Hours(t.Borrowed.UnitMS), Units: t.Borrowed.Units, Loans: t.Borrowed.Loans,
			Lost: Hours(t.Lost.UnitMS), Quarantined: Hours(t.Quarantined.UnitMS),
		}
		if t.Reclaimed != none {
			row.Reclaimed = &Reclaimed{Hours(t.Reclaimed.UnitMS), t.Reclaimed.Units, t.Reclaimed.Loans}
		}
		s.Rows = append(s.Rows, row)
	}
	if t.OpenBorrowed != none || t.OpenQuarantined != none {
		s.Rows = append(s.Rows, Row{
			Flavor: t.Flavor, Role: Borrower, Open: true, Borrowed: Hours(t.OpenBorrowed.UnitMS),
			Units: max(t.OpenBorrowed.Units, t.OpenQuarantined.Units), Quarantined: Hours(t.OpenQuarantined.UnitMS),
		})
	}
}
