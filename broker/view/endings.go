package view

import (
	"fmt"
	"strconv"
	"time"
)

// Ending is a loan, or a part of one, that would be asked back.
type Ending struct {
	Loan, Job, Borrower string
	Units               int64
	// Part: its job goes on with others.
	Part bool
	// Grace is what its pods would have to stop; zero if that is not known.
	Grace time.Duration
	// LostWork in unit-seconds.
	LostWork float64
	// By is when the units would be back at the latest.
	By time.Time
}

// Endings is the table of what would end.
func Endings(rows []Ending, now time.Time) Table {
	t := Table{Columns: columns("NAME", "JOB", "BORROWER", "UNITS", "ENDS", "GRACE", "LOST-WORK", "BACK-IN")}
	for _, r := range rows {
		ends, grace, back := "Whole", Unknown, Unknown
		if r.Part {
			ends = "Part"
		}
		if r.Grace > 0 {
			grace = Span(r.Grace)
		}
		if !r.By.IsZero() {
			back = Span(r.By.Sub(now))
		}
		t.Rows = append(t.Rows, []string{
			cell(r.Loan), cell(r.Job), cell(r.Borrower), strconv.FormatInt(r.Units, 10), ends, grace, UnitTime(r.LostWork), back,
		})
	}
	return t
}

// UnitTime shows unit-seconds as unit-hours, or as seconds where that would be too little to
// see.
func UnitTime(unitSeconds float64) string {
	if unitSeconds > 0 && unitSeconds < 36 {
		return fmt.Sprintf("%.0fGPU-s", unitSeconds)
	}
	return fmt.Sprintf("%.2fGPU-h", unitSeconds/3600)
}
