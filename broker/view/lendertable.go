package view

import (
	"fmt"
	"strconv"
	"time"
)

// Lender is what the table of lenders shows of one.
type Lender struct {
	Name                                    string
	Flavor                                  string
	Owned, Held, Need, Warm, Lent, Lendable int64
	// Load is a share of what is owned, in words; State what it does.
	Load, State, Reason string
	// NeedBy says what set the need; Low since when its load is low. Empty and zero if the
	// broker did not say.
	NeedBy  string
	Low     time.Time
	Created time.Time
}

// Lenders is the table of services that lend, in the order given.
func Lenders(rows []Lender, now time.Time) Table {
	t := Table{Columns: columns("NAME", "FLAVOR+", "OWNED", "HELD", "NEED", "WARM", "LENT", "LENDABLE", "LOAD", "STATE", "REASON", "NEED-BY+", "LOW-FOR+", "AGE")}
	for _, r := range rows {
		low := None
		if !r.Low.IsZero() {
			low = Age(now, r.Low)
		}
		row := []string{cell(r.Name), cell(r.Flavor)}
		for _, n := range []int64{r.Owned, r.Held, r.Need, r.Warm, r.Lent, r.Lendable} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		load := Unknown
		if r.Load != "" && r.Load != "unknown" {
			load = cell(r.Load)
		}
		t.Rows = append(t.Rows, append(row, load, cell(r.State), cell(r.Reason), cell(r.NeedBy), low, Age(now, r.Created)))
	}
	return t
}

// Percent is a share as people read it.
func Percent(share float64) string { return fmt.Sprintf("%.0f%%", share*100) }
