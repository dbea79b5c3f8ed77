package quota

// Quota is what a tenant was promised of one flavor. A nil limit is no limit.
type Quota struct {
	Flavor         string
	Nominal        Amount
	BorrowingLimit *Amount
	LendingLimit   *Amount
}

// Tenant is a team and its promises. An empty Cohort is none.
type Tenant struct {
	Name   string
	Cohort string
	Quotas []Quota
}

// Usage is what is booked on a tenant for one flavor.
type Usage struct {
	// Reserved for the tenant's online services, used or not.
	Reserved Amount
	// Held by the tenant's pods that are neither a service's nor on a loan.
	Held Amount
	// Own is used by the tenant's jobs on its own nominal quota.
	Own Amount
	// Inside is what the tenant's services lend to its own jobs.
	Inside Amount
	// Borrowed from and Lent to other tenants.
	Borrowed Amount
	Lent     Amount
}

// Book holds the quotas of all tenants and what is in use of them. It is not safe
// for concurrent use. The zero Book knows no tenants.
type Book struct {
	accounts map[key]*account
	cohorts  map[string]string // by tenant
}

type key struct{ tenant, flavor string }

type account struct {
	quota Quota
	// listed is false for a flavor that the tenant's quota does not name: use of
	// it is booked, but gives no rights.
	listed bool
	usage  Usage
}

// NewBook returns a Book in which nothing is used. Of tenants with one name, and
// of quotas of one tenant for one flavor, the first counts. Negative promises and
// limits count as 0.
func NewBook(tenants []Tenant) *Book {
	b := &Book{accounts: map[key]*account{}, cohorts: map[string]string{}}
	for _, t := range tenants {
		if _, known := b.cohorts[t.Name]; known {
			continue
		}
		b.cohorts[t.Name] = t.Cohort
		for _, q := range t.Quotas {
			k := key{t.Name, q.Flavor}
			if b.accounts[k] != nil {
				continue
			}
			q.Nominal = q.Nominal.AtLeastZero()
			b.accounts[k] = &account{quota: q, listed: true}
		}
	}
	return b
}

// Known reports whether the tenant exists.
func (b *Book) Known(tenant string) bool {
	_, known := b.cohorts[tenant]
	return known
}

// Lists reports whether the tenant's quota names the flavor, be it with 0 units.
func (b *Book) Lists(tenant, flavor string) bool {
	a := b.accounts[key{tenant, flavor}]
	return a != nil && a.listed
}

// Usage returns what is booked on the tenant.
func (b *Book) Usage(tenant, flavor string) Usage {
	if a := b.accounts[key{tenant, flavor}]; a != nil {
		return a.usage
	}
	return Usage{}
}

// Reserve books n units of nominal quota for the tenant's online services.
func (b *Book) Reserve(tenant, flavor string, n Amount) {
	u := b.usage(tenant, flavor)
	u.Reserved = u.Reserved.Add(n.AtLeastZero())
}

// Hold books n units that the tenant's pods hold outside services and loans.
func (b *Book) Hold(tenant, flavor string, n Amount) {
	u := b.usage(tenant, flavor)
	u.Held = u.Held.Add(n.AtLeastZero())
}

// UseOwn books n units of the tenant's own nominal quota for one of its jobs; a
// negative n gives them back.
func (b *Book) UseOwn(tenant, flavor string, n Amount) {
	u := b.usage(tenant, flavor)
	u.Own = u.Own.Add(n).AtLeastZero()
}

// Lend books n units from one tenant to another; a negative n returns them.
// Between a tenant and itself nothing is borrowed and nothing lent: it is use
// inside the tenant.
func (b *Book) Lend(lender, borrower, flavor string, n Amount) {
	if lender == borrower {
		u := b.usage(lender, flavor)
		u.Inside = u.Inside.Add(n).AtLeastZero()
		return
	}
	from, to := b.usage(lender, flavor), b.usage(borrower, flavor)
	from.Lent = from.Lent.Add(n).AtLeastZero()
	to.Borrowed = to.Borrowed.Add(n).AtLeastZero()
}

func (b *Book) usage(tenant, flavor string) *Usage {
	k := key{tenant, flavor}
	a := b.accounts[k]
	if a == nil {
		a = &account{quota: Quota{Flavor: flavor}}
		b.accounts[k] = a
	}
	return &a.usage
}
