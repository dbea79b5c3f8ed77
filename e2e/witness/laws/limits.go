package laws

import (
	"cmp"
	"slices"
	"time"
)

// Capacity is the most that a node ever had of a resource.
type Capacity struct {
	Node, Resource string
	Units          int64
}

// Capacities of all nodes that were seen, sorted.
func (w *World) Capacities() []Capacity {
	out := make([]Capacity, 0, len(w.most))
	for at, n := range w.most {
		out = append(out, Capacity{at.node, at.resource, n})
	}
	slices.SortFunc(out, func(a, b Capacity) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Resource, b.Resource))
	})
	return out
}

// Promise is what a tenant was promised of a flavor since some moment, and what it may have
// with what it borrows.
type Promise struct {
	Tenant, Flavor string
	Since          time.Time
	Nominal, All   int64
}

// Promises to all tenants, but those about flavors of which others are slices, in order.
func (w *World) Promises() []Promise {
	var out []Promise
	for tenant, q := range w.quotas {
		for flavor, nominal := range q.nominal {
			if q.sliced(flavor) {
				continue
			}
			all := *q.all[flavor]
			at := map[time.Time]Promise{}
			for _, l := range *nominal {
				at[l.since] = Promise{Tenant: tenant, Flavor: flavor, Since: l.since, Nominal: l.n, All: all.at(l.since)}
			}
			for _, l := range all {
				at[l.since] = Promise{Tenant: tenant, Flavor: flavor, Since: l.since, Nominal: nominal.at(l.since), All: l.n}
			}
			for _, p := range at {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b Promise) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Flavor, b.Flavor), a.Since.Compare(b.Since))
	})
	return out
}

// at is what it was at a moment.
func (l levels) at(then time.Time) (n int64) {
	for _, x := range l {
		if x.since.After(then) {
			break
		}
		n = x.n
	}
	return n
}
