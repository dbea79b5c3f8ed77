package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Kinds of a QuotaRow.
const (
	KindCohort = "Cohort"
	KindTenant = "Tenant"
)

// QuotaRow is a tenant or a cohort of the quota tree.
type QuotaRow struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Parent is the cohort above; empty at a root, whose Depth is 0.
	Parent string `json:"parent,omitempty"`
	Depth  int    `json:"depth"`
	Weight int64  `json:"weight"`
	// Share is the weighted dominant share, in thousandths.
	Share   int64        `json:"share,omitempty"`
	Flavors []QuotaUnits `json:"flavors"`
}

// QuotaUnits is what a tenant or a cohort has of one flavor. A nil limit is no limit.
type QuotaUnits struct {
	Flavor  string `json:"flavor"`
	Nominal int64  `json:"nominal"`
	// Used by pods, loans and what services keep; Available is how much more could be had
	// without taking anything back.
	Used      int64 `json:"used"`
	Available int64 `json:"available"`
	// Lent to other tenants: by its services, or of a cohort's unused quota. Borrowed from
	// other tenants' services and from unused quota.
	Lent           int64  `json:"lent"`
	Borrowed       int64  `json:"borrowed"`
	BorrowingLimit *int64 `json:"borrowingLimit,omitempty"`
	LendingLimit   *int64 `json:"lendingLimit,omitempty"`
}

// Quotas is the tree in the order in which it is drawn: each cohort, then the cohorts in it,
// then the tenants, by name; tenants without a cohort last. Whoever stands in a circle of
// cohorts has a depth as if the circle began with it.
func Quotas(in *lend.Snapshot, plan *lend.Plan) []QuotaRow {
	q := &quotas{moved: movements(in), views: map[string][]lend.TenantView{}, below: map[string][]string{}, of: map[string][]*lend.Tenant{}, cohorts: map[string]*lend.Cohort{}}
	for _, v := range plan.Tenants {
		q.views[v.Name] = append(q.views[v.Name], v)
	}
	known := map[string]bool{}
	for i := range in.Cohorts {
		c := &in.Cohorts[i]
		if !known[c.Name] {
			q.cohorts[c.Name], known[c.Name] = c, true
			q.below[c.Parent] = append(q.below[c.Parent], c.Name)
		}
	}
	for i := range in.Tenants {
		q.of[in.Tenants[i].Cohort] = append(q.of[in.Tenants[i].Cohort], &in.Tenants[i])
	}
	q.findRoots(in)
	for _, name := range q.below[""] {
		q.cohort(name, "", 0)
	}
	for i := range in.Cohorts { // what no root leads to is a circle
		if !q.shown[in.Cohorts[i].Name] {
			q.cohort(in.Cohorts[i].Name, in.Cohorts[i].Parent, 0)
		}
	}
	for _, t := range q.of[""] {
		q.tenant(t, 0)
	}
	return q.rows
}

// quotas is a tree that is being drawn.
type quotas struct {
	moved map[spot]movement
	views map[string][]lend.TenantView
	// below are the cohorts in a cohort, of the tenants of it.
	below   map[string][]string
	of      map[string][]*lend.Tenant
	cohorts map[string]*lend.Cohort
	shown   map[string]bool
	rows    []QuotaRow
}

// findRoots adds cohorts that are only named: they are roots.
func (q *quotas) findRoots(in *lend.Snapshot) {
	q.shown = map[string]bool{}
	named := []string{}
	for i := range in.Tenants {
		named = append(named, in.Tenants[i].Cohort)
	}
	for i := range in.Cohorts {
		named = append(named, in.Cohorts[i].Parent)
	}
	slices.Sort(named)
	for _, name := range slices.Compact(named) {
		if name != "" && q.cohorts[name] == nil {
			q.cohorts[name] = &lend.Cohort{Name: name}
			q.below[""] = append(q.below[""], name)
		}
	}
	for parent := range q.below {
		slices.Sort(q.below[parent])
	}
}

func (q *quotas) cohort(name, parent string, depth int) {
	if q.shown[name] {
		return
	}
	q.shown[name] = true
	c := q.cohorts[name]
	row := QuotaRow{Name: name, Kind: KindCohort, Parent: parent, Depth: depth, Weight: weightOf(c.Weight)}
	q.fill(&row, c.Quotas, lend.CohortLender(name))
	q.rows = append(q.rows, row)
	for _, below := range q.below[name] {
		q.cohort(below, name, depth+1)
	}
	for _, t := range q.of[name] {
		q.tenant(t, depth+1)
	}
}

func (q *quotas) tenant(t *lend.Tenant, depth int) {
	row := QuotaRow{Name: t.Name, Kind: KindTenant, Parent: t.Cohort, Depth: depth, Weight: weightOf(t.Weight)}
	q.fill(&row, t.Quotas, t.Name)
	q.rows = append(q.rows, row)
}

func weightOf(w *int64) int64 {
	if w == nil {
		return 1
	}
	return *w
}

// fill sets what there is of each flavor. name is as in lend.TenantView.
func (q *quotas) fill(row *QuotaRow, list []lend.Quota, name string) {
	row.Flavors = []QuotaUnits{}
	at := map[string]int{}
	for _, l := range list {
		if _, twice := at[l.Flavor]; !twice {
			at[l.Flavor] = len(row.Flavors)
			row.Flavors = append(row.Flavors, QuotaUnits{Flavor: l.Flavor, Nominal: l.Nominal, BorrowingLimit: l.BorrowingLimit, LendingLimit: l.LendingLimit})
		}
	}
	for _, v := range q.views[name] {
		i, named := at[v.Flavor]
		if !named {
			if v.Used == 0 && v.Available == 0 {
				continue
			}
			i = len(row.Flavors)
			row.Flavors = append(row.Flavors, QuotaUnits{Flavor: v.Flavor})
		}
		row.Flavors[i].Used, row.Flavors[i].Available = v.Used, v.Available
		row.Share = max(row.Share, v.Share)
	}
	for i := range row.Flavors {
		u := &row.Flavors[i]
		m := q.moved[spot{name, u.Flavor}]
		u.Lent, u.Borrowed = m.lent, m.borrowed
	}
	slices.SortFunc(row.Flavors, func(a, b QuotaUnits) int { return strings.Compare(a.Flavor, b.Flavor) })
}

// movement is what goes from tenant to tenant.
type movement struct{ lent, borrowed int64 }

// movements adds up the loans' grants, by tenant or cohort and flavor.
func movements(in *lend.Snapshot) map[spot]movement {
	owner := make(map[string]string, len(in.Lenders))
	for i := range in.Lenders {
		owner[in.Lenders[i].Name] = in.Lenders[i].Tenant
	}
	moved := map[spot]movement{}
	add := func(name, flavor string, lent, borrowed int64) {
		m := moved[spot{name, flavor}]
		m.lent += lent
		m.borrowed += borrowed
		moved[spot{name, flavor}] = m
	}
	for i := range in.Loans {
		l := &in.Loans[i]
		for _, g := range l.Grants {
			from := g.Lender
			if !lend.IsCohortLender(from) {
				from = cmp.Or(owner[from], from) // a service that is gone is still another's
			}
			if g.Lender != "" && from != l.Borrower {
				add(from, g.Flavor, g.Count, 0)
				add(l.Borrower, g.Flavor, 0, g.Count)
			}
		}
	}
	return moved
}
