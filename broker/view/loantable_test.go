package view

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// A loan's grace is cut to what its lenders allow, as far as that is told.
func TestGraceOfOpenLoans(t *testing.T) {
	allowed := func(lender string) (time.Duration, bool) {
		most, told := map[string]time.Duration{"a/long": time.Hour, "a/short": 20 * time.Second}[lender]
		return most, told
	}
	for name, test := range map[string]struct {
		lenders []string
		by      time.Time
		want    string
	}{
		"its own":                    {lenders: []string{"a/long"}, want: "90s"},
		"what a lender allows":       {lenders: []string{"a/long", "a/short"}, want: "20s"},
		"one is not told":            {lenders: []string{"b/hidden", "a/long"}, want: "<=90s"},
		"one is not told, one short": {lenders: []string{"a/short", "cohort:org"}, want: "<=20s"},
		"some units are its own":     {lenders: []string{"", "a/short"}, want: "20s"},
		"all units are its own":      {lenders: []string{"", ""}, want: None},
		"what is left":               {lenders: []string{"a/long"}, by: noon.Add(5 * time.Second), want: "5s"},
	} {
		row := LoanRow{Name: "x/y", Units: 2, State: StateActive, GraceSeconds: 90, ReclaimBy: test.by}
		for _, lender := range test.lenders {
			row.Grants = append(row.Grants, lend.Grant{Lender: lender, Node: "n", Count: 1})
		}
		table := LoanTable([]LoanRow{row}, allowed, noon)
		if got := table.Rows[0][6]; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
