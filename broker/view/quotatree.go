package view

import (
	"fmt"
	"strings"
)

// QuotaLegend explains the bars of QuotaTree.
const QuotaLegend = "# used of its own  l lent  . unused  | nominal  + borrowed"

const quotaBar = 32

// QuotaTree draws tenants below their cohorts, a line for each flavor, with a bar of what is
// nominal, used, lent and borrowed. The bars of a flavor have one scale.
func QuotaTree(rows []QuotaRow) string {
	most, width := map[string]int64{}, len("NAME")
	for _, r := range rows {
		width = max(width, 2*r.Depth+len(r.Name))
		for _, f := range r.Flavors {
			most[f.Flavor] = max(most[f.Flavor], max(f.Nominal, ownUse(&f)+f.Lent)+f.Borrowed)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s  %-8s %8s %6s %6s %9s %9s\n", width, "NAME", "FLAVOR", "NOMINAL", "USED", "LENT", "BORROWED", "AVAILABLE")
	for _, r := range rows {
		name := strings.Repeat("  ", r.Depth) + r.Name
		if len(r.Flavors) == 0 {
			fmt.Fprintf(&b, "%s\n", name)
		}
		for _, f := range r.Flavors {
			fmt.Fprintf(&b, "%-*s  %-8s %8d %6d %6d %9d %9d  %s\n", width, name, cell(f.Flavor), f.Nominal, f.Used, f.Lent, f.Borrowed, f.Available, quotaLine(&f, most[f.Flavor]))
			name = ""
		}
	}
	b.WriteString(QuotaLegend + "\n")
	return b.String()
}

func ownUse(f *QuotaUnits) int64 { return max(f.Used-f.Borrowed, 0) }

// quotaLine is one bar. Whatever there is takes one letter at least.
func quotaLine(f *QuotaUnits, most int64) string {
	if most <= 0 {
		return "|"
	}
	letters := func(n int64, letter string) string {
		if n <= 0 {
			return ""
		}
		return strings.Repeat(letter, int(max(n*quotaBar/most, 1)))
	}
	return letters(ownUse(f), "#") + letters(f.Lent, "l") + letters(f.Nominal-ownUse(f)-f.Lent, ".") + "|" + letters(f.Borrowed, "+")
}
