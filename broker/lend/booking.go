package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// change is units that soon has more, or a loan that it has no more. It holds from a stage
// on.
type change struct {
	tenant quota.NodeID
	flavor quota.FlavorID
	units  quota.Amount
	gone   *loan
	stage  int
}

// promise books units on soon, from a stage on.
func (b *books) promise(j *ask, units int64, stage int) {
	b.soon.Use(j.tenant, j.flavor, quota.Amount(units))
	b.changes = append(b.changes, change{tenant: j.tenant, flavor: j.flavor, units: quota.Amount(units), stage: stage})
	b.version++
}

// book enters what everybody uses, once it is known what lenders could lend.
func (d *decision) book() {
	b := d.books
	b.used, b.own, b.spoken = b.promised.Clone(), b.promised.Clone(), b.promised.Clone()
	for _, t := range d.in.Tenants {
		for _, q := range t.Quotas {
			if id, f, ok := b.find(t.Name, q.Flavor); ok {
				held := quota.Amount(clamp(q.Held))
				b.used.Use(id, f, held)
				b.own.Use(id, f, held)
				b.spoken.Use(id, f, held)
			}
		}
	}
	b.gather()
	for l := range d.holders() {
		d.bookLoan(l)
	}
	b.settle()
	d.bookServices()
	b.soon = b.used.Clone()
	for l := range d.holders() {
		l.bookings = d.bookings(l)
		if l.comesFree() {
			d.comesBack(b.soon, l, 1)
		}
	}
	for _, t := range d.in.Tenants {
		for _, h := range t.Borrowed {
			if id, f, ok := b.find(t.Name, h.Flavor); ok {
				b.used.Remember(id, f, clamp(h.Milli))
			}
		}
	}
	b.version++
}

// bookServices enters what services keep: what they hold or are owed, and what they
// own and neither lend nor could lend now. The latter is no more than the nominal
// quota has left: what a policy says is owned and nobody uses borrows from nobody.
func (d *decision) bookServices() {
	b := d.books
	left := map[family]int64{}
	for _, l := range d.lenders {
		l.relends = l.open && !l.short && l.spare() >= 0
		if id, f, ok := b.find(l.Tenant, l.Flavor); ok {
			of := family{id, f}
			if _, known := left[of]; !known {
				left[of] = int64(min(b.spoken.NominalRoom(id, f), quota.Amount(1<<50)))
			}
			left[of] -= l.needs()
			b.used.Use(id, f, quota.Amount(l.needs()))
			b.own.Use(id, f, quota.Amount(max(l.Owned, min(l.Running, mostUnits)*min(l.UnitsPerPod, mostUnits))))
		}
	}
	for _, l := range d.lenders {
		if id, f, ok := b.find(l.Tenant, l.Flavor); ok {
			of := family{id, f}
			idle := min(max(l.keeps()-l.needs(), 0), max(left[of], 0))
			left[of] -= idle
			b.used.Use(id, f, quota.Amount(idle))
		}
	}
}

// needs is what the service holds or is owed.
func (l *lender) needs() int64 {
	return max(min(l.Running+l.claim, mostUnits)*min(l.UnitsPerPod, mostUnits), 0)
}

// keeps is what the service owns and neither lends nor could lend now.
func (l *lender) keeps() int64 {
	if l.open {
		return l.Owned - l.lent - l.lendable
	}
	return l.Owned - l.lent
}

// bookLoan enters what a loan holds. Slices that were made are used by who borrows them,
// once, and their lender has lent what they were made of.
func (d *decision) bookLoan(l *loan) {
	for _, g := range l.Grants {
		d.bookGrant(l.Borrower, g, 1)
	}
	for _, g := range l.made {
		d.bookUse(l.Borrower, g, 1)
	}
	for _, g := range l.lends {
		d.bookLending(l.Borrower, g, 1)
	}
}

// bookGrant enters a grant, or with a sign of -1 takes it out again.
func (d *decision) bookGrant(borrower string, g Grant, sign int64) {
	d.bookUse(borrower, g, sign)
	d.bookLending(borrower, g, sign)
}

// bookUse enters the borrower's side of a grant.
func (d *decision) bookUse(borrower string, g Grant, sign int64) {
	b := d.books
	id, f, ok := b.find(borrower, g.Flavor)
	if !ok {
		return
	}
	n := sign * g.Count
	b.use(inUsed, id, f, n)
	if g.Lender == "" {
		b.use(inOwn, id, f, n)
		b.use(inSpoken, id, f, n)
	}
}

// bookLending enters the lender's side of a grant.
func (d *decision) bookLending(borrower string, g Grant, sign int64) {
	b := d.books
	l := d.lender(g.Lender)
	if l == nil {
		return
	}
	owner, f, ok := b.owner(l.Tenant, g.Flavor)
	if !ok {
		return
	}
	b.use(inSpoken, owner, f, sign*g.Count)
	if l.Tenant != borrower {
		b.lentOut[b.at(owner, f)] += sign * g.Count
	}
}

// One of the trees in which loans are booked.
const (
	inUsed = iota
	inOwn
	inSpoken
	trees
)

// gather has use only add up until settle books the sums, which comes to the same.
func (b *books) gather() {
	for i := range b.sums {
		b.sums[i] = make([]int64, len(b.lentOut))
	}
}

// use books units on a tree.
func (b *books) use(tree int, id quota.NodeID, f quota.FlavorID, n int64) {
	if b.sums[tree] != nil {
		b.sums[tree][b.at(id, f)] += n
		return
	}
	b.tree(tree).Use(id, f, quota.Amount(n))
}

func (b *books) tree(tree int) *quota.Tree { return [trees]*quota.Tree{b.used, b.own, b.spoken}[tree] }

func (b *books) settle() {
	for tree, sums := range b.sums {
		b.sums[tree] = nil
		for at, n := range sums {
			if n != 0 {
				b.tree(tree).Use(quota.NodeID(at/b.flavors), quota.FlavorID(at%b.flavors), quota.Amount(n))
			}
		}
	}
}

// booking is what one grant of a loan changes when the loan goes.
type booking struct {
	flavor quota.FlavorID
	units  quota.Amount
	// borrower gives the units back, keeper has them from then on: a service that lends
	// nothing new keeps what it gets back. Either may be None.
	borrower, keeper quota.NodeID
}

func (d *decision) bookings(l *loan) []booking {
	t, seen := d.books.used, &d.books.borrowers
	out := d.scratch.bookings[len(d.scratch.bookings):]
	borrower, known := seen.tenantOf(t, l.Borrower)
	if !known {
		borrower = quota.None
	}
	for i := range l.Grants {
		g := &l.Grants[i]
		f, ok := seen.flavorOf(t, g.Flavor)
		if !ok {
			continue
		}
		out = append(out, booking{f, quota.Amount(g.Count), borrower, d.keeper(g)})
	}
	for _, g := range l.made {
		if f, ok := seen.flavorOf(t, g.Flavor); ok {
			out = append(out, booking{f, quota.Amount(g.Count), borrower, quota.None})
		}
	}
	for i := range l.lends {
		g := &l.lends[i]
		if f, ok := seen.flavorOf(t, g.Flavor); ok && d.keeper(g) != quota.None {
			out = append(out, booking{f, quota.Amount(g.Count), quota.None, d.keeper(g)})
		}
	}
	d.scratch.keep(out)
	return slices.Clip(out)
}

// keeper is the tenant of the service that lent the grant, if that keeps what it gets back.
func (d *decision) keeper(g *Grant) quota.NodeID {
	if from := d.lender(g.Lender); from != nil && !from.relends {
		if owner, ok := d.books.owners.tenantOf(d.books.used, from.Tenant); ok {
			return owner
		}
	}
	return quota.None
}

// comesBack takes out of the tree what the loan leaves when it goes; with a sign of
// -1 it is put back.
func (d *decision) comesBack(t *quota.Tree, l *loan, sign int64) {
	for i := range l.bookings {
		b := &l.bookings[i]
		n := b.units
		if sign < 0 {
			n = -n
		}
		if b.borrower != quota.None {
			t.Use(b.borrower, b.flavor, -n)
		}
		if b.keeper != quota.None {
			t.Use(b.keeper, b.flavor, n)
		}
	}
}
