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
	// stalls is when each job's loan was last asked back because it had not started.
	stalls map[string]time.Time

	returns, evicts, reclaims, lends []Action
	verdicts                         []Verdict
}

func begin(in Snapshot, prev State, pol Policy) *decision {
	// Without its monotonic reading, which a record cannot hold, time passes for the
	// live decision exactly as for its replay.
	in.Now = in.Now.Round(0)
	prev = prev.upTo(in.Now, pol)
	d := &decision{
		in: in, pol: pol, now: in.Now, number: prev.Decisions + 1,
		byName: map[string]*lender{}, pools: map[string]*pool{},
		book: quota.NewBook(tenants(in.Tenants)),
	}
	d.history = remember(prev.Jobs, in.Now.Add(-pol.EvictionWindow), in.Now)
	d.stalls = rememberStalls(prev.Jobs, pol.StartWithin, in.Now)
	d.readLenders(prev.Lenders)
	d.readLoans(prev.Loans)
	return d
}

// readLenders copies the lenders, and books what they and other pods of their
// tenants keep of the nominal quotas.
func (d *decision) readLenders(prev []LenderState) {
	memory := map[string]LenderState{}
	for _, m := range prev {
		memory[m.Name] = m
	}
	for _, t := range d.in.Tenants {
		for _, q := range t.Quotas {
			d.book.Hold(t.Name, q.Flavor, quota.Amount(q.Held))
		}
	}
	for _, l := range d.in.Lenders {
		if d.byName[l.Name] != nil {
			continue
		}
		c := newLender(l, memory[l.Name])
		d.byName[l.Name] = c
		d.lenders = append(d.lenders, c)
	}
	slices.SortFunc(d.lenders, func(a, b *lender) int { return cmp.Compare(a.Name, b.Name) })
	left := d.nominal()
	for _, l := range d.lenders {
		of := [2]string{l.Tenant, l.Flavor}
		l.own(left[of])
		left[of] -= l.Owned
		// Replicas beyond what is owned hold nominal quota as well.
		d.book.Reserve(l.Tenant, l.Flavor, quota.Amount(max(l.Owned, min(l.Running, mostUnits)*min(l.UnitsPerPod, mostUnits))))
		p := d.pool(l.Flavor)
		p.lenders = append(p.lenders, l)
	}
}

// nominal is what each tenant was promised of each flavor. Of two entries for one
// the first counts, as it does in the book.
func (d *decision) nominal() map[[2]string]int64 {
	out := map[[2]string]int64{}
	known := map[string]bool{}
	for _, t := range d.in.Tenants {
		if known[t.Name] {
			continue
		}
		known[t.Name] = true
		for _, q := range t.Quotas {
			of := [2]string{t.Name, q.Flavor}
			if _, twice := out[of]; !twice {
				out[of] = clamp(q.Nominal)
			}
		}
	}
	return out
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
		Lenders: make([]LenderState, 0, len(d.lenders)), Jobs: d.history.states(d.stalls), Decisions: d.number, At: d.now,
	}
	for _, l := range d.loans {
		if l.memory != (LoanState{Name: l.Name}) && (l.action == nil || l.action.Kind != ActionReturn) {
			next.Loans = append(next.Loans, l.memory)
		}
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
