package lend

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// Decide says what to do now. Equal arguments give equal results to the byte; the
// arguments are not changed. The returned State is the prev of the next call.
func Decide(in Snapshot, prev State, pol Policy) (Plan, State) {
	d := begin(in, prev, pol)
	d.followLoans() // 1. What ended is returned, what overstays is evicted.
	d.countRooms()  // 2. What is free, comes free, or could be had back.
	d.assess()      // 3. Per lender: load, hysteresis, need, headroom, lendable.
	d.reclaim()     // 4. What lenders are owed and cannot place is taken back.
	d.reserve()     // 5. What they can place is kept for them.
	d.admit()       // 6. Jobs, in queue order, on what is left.
	return d.finish()
}

// decision is the working memory of one call.
type decision struct {
	in  Snapshot
	pol Policy
	now time.Time
	// number of this decision since the start.
	number int64

	lenders []*lender // by name
	byName  map[string]*lender
	loans   []*loan // by name
	pools   map[string]*pool
	flavors []string // sorted keys of pools
	book    *quota.Book
	history history

	returns, evicts, reclaims, lends []Action
	verdicts                         []Verdict
}

func begin(in Snapshot, prev State, pol Policy) *decision {
	// Without its monotonic reading, which a record cannot hold, time passes for the
	// live decision exactly as for its replay.
	in.Now = in.Now.Round(0)
	d := &decision{
		in: in, pol: pol, now: in.Now, number: prev.Decisions + 1,
		byName: map[string]*lender{}, pools: map[string]*pool{},
		book: quota.NewBook(tenants(in.Tenants)),
	}
	d.history = remember(prev.Jobs, in.Now.Add(-pol.EvictionWindow), in.Now)
	memory := map[string]LenderState{}
	for _, m := range prev.Lenders {
		memory[m.Name] = m
	}
	for _, l := range in.Lenders {
		if d.byName[l.Name] != nil {
			continue
		}
		c := newLender(l, memory[l.Name])
		d.byName[l.Name] = c
		d.lenders = append(d.lenders, c)
		d.book.Reserve(l.Tenant, l.Flavor, quota.Amount(c.Owned))
		p := d.pool(l.Flavor)
		p.lenders = append(p.lenders, c)
	}
	slices.SortFunc(d.lenders, func(a, b *lender) int { return cmp.Compare(a.Name, b.Name) })
	for _, flavor := range d.flavors {
		slices.SortFunc(d.pools[flavor].lenders, func(a, b *lender) int { return cmp.Compare(a.Name, b.Name) })
	}
	d.readLoans()
	return d
}

func tenants(in []Tenant) []quota.Tenant {
	out := make([]quota.Tenant, 0, len(in))
	for _, t := range in {
		c := quota.Tenant{Name: t.Name, Cohort: t.Cohort}
		for _, q := range t.Quotas {
			c.Quotas = append(c.Quotas, quota.Quota{
				Flavor: q.Flavor, Nominal: quota.Amount(q.Nominal),
				BorrowingLimit: (*quota.Amount)(q.BorrowingLimit),
				LendingLimit:   (*quota.Amount)(q.LendingLimit),
			})
		}
		out = append(out, c)
	}
	return out
}

// pool returns the flavor's pool, and makes it if there is none.
func (d *decision) pool(flavor string) *pool {
	p := d.pools[flavor]
	if p == nil {
		p = &pool{flavor: flavor, index: map[string]int{}}
		d.pools[flavor] = p
		i, _ := slices.BinarySearch(d.flavors, flavor)
		d.flavors = slices.Insert(d.flavors, i, flavor)
	}
	return p
}

// finish puts the results in order.
func (d *decision) finish() (Plan, State) {
	d.explainLenders()
	d.explainLoans()
	slices.SortStableFunc(d.verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind))
	})
	plan := Plan{
		Actions:  slices.Concat(d.returns, d.evicts, d.reclaims, d.lends),
		Lenders:  make([]LenderView, 0, len(d.lenders)),
		Verdicts: d.verdicts,
	}
	if plan.Actions == nil {
		plan.Actions = []Action{}
	}
	if plan.Verdicts == nil {
		plan.Verdicts = []Verdict{}
	}
	next := State{
		Lenders: make([]LenderState, 0, len(d.lenders)), Jobs: d.history.states(), Decisions: d.number,
	}
	for _, l := range d.lenders {
		plan.Lenders = append(plan.Lenders, l.view())
		next.Lenders = append(next.Lenders, l.memory)
	}
	return plan, next
}

func (d *decision) say(kind SubjectKind, subject, reason, format string, args ...any) {
	d.verdicts = append(d.verdicts, Verdict{
		Kind: kind, Subject: subject, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}
