package quota

// Verdict says whether an amount fits, and if not, which rule it meets first.
type Verdict string

// The verdicts.
const (
	Fits               Verdict = "Fits"
	UnknownTenant      Verdict = "UnknownTenant"
	UnknownFlavor      Verdict = "UnknownFlavor" // the tenant's quota does not list it
	NoCohort           Verdict = "NoCohort"
	OverBorrowingLimit Verdict = "OverBorrowingLimit"
)

// NominalRoom is how much more the tenant's jobs may use of its own nominal quota:
// what its services have not reserved, and neither its jobs nor its other pods use.
// Units it lends are its services' reserved ones, so they are not subtracted again,
// as long as its services reserve that many.
func (b *Book) NominalRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil {
		return 0
	}
	unreserved := a.quota.Nominal.Sub(a.usage.Reserved).Sub(a.usage.Held).Sub(a.usage.Own)
	return min(unreserved.AtLeastZero(), a.left())
}

// BorrowingRoom is how much more the tenant may borrow from its cohort. It is 0
// for a flavor that the tenant's quota does not list and for a tenant without a
// cohort.
func (b *Book) BorrowingRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil || b.cohorts[tenant] == "" {
		return 0
	}
	if a.quota.BorrowingLimit == nil {
		return Unlimited
	}
	return a.quota.BorrowingLimit.AtLeastZero().Sub(a.usage.Borrowed).AtLeastZero()
}

// LendingRoom is how much more of the tenant's nominal quota others may take: its
// lending limit less what is lent, and never more than the nominal quota leaves:
// what the tenant's own jobs and other pods hold of it is not there to lend.
func (b *Book) LendingRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil || b.cohorts[tenant] == "" {
		return 0
	}
	room := a.left()
	if a.quota.LendingLimit != nil {
		room = min(room, a.quota.LendingLimit.AtLeastZero().Sub(a.usage.Lent).AtLeastZero())
	}
	return room
}

// InsideRoom is how much more the tenant's services may lend to its own jobs: what
// of its nominal quota nothing uses. It has no other limit.
func (b *Book) InsideRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil {
		return 0
	}
	return a.left()
}

// left is the nominal quota less all that uses it, services aside.
func (a *account) left() Amount {
	u := &a.usage
	return a.quota.Nominal.Sub(u.Held).Sub(u.Own).Sub(u.Inside).Sub(u.Lent).AtLeastZero()
}

// MayLend reports whether the one tenant may lend to the other at all: it is the
// same tenant, or both are in one cohort.
func (b *Book) MayLend(lender, borrower string) bool {
	from, known := b.cohorts[lender]
	if !known {
		return false
	}
	if lender == borrower {
		return true
	}
	to, known := b.cohorts[borrower]
	return known && from != "" && from == to
}

// FitsBorrowing says whether the tenant may borrow n more units.
func (b *Book) FitsBorrowing(tenant, flavor string, n Amount) Verdict {
	if v := b.fitsAtAll(tenant, flavor); v != Fits {
		return v
	}
	switch {
	case n <= b.BorrowingRoom(tenant, flavor):
		return Fits
	case b.cohorts[tenant] == "":
		return NoCohort
	}
	return OverBorrowingLimit
}

func (b *Book) fitsAtAll(tenant, flavor string) Verdict {
	switch {
	case !b.Known(tenant):
		return UnknownTenant
	case !b.Lists(tenant, flavor):
		return UnknownFlavor
	}
	return Fits
}

func (b *Book) listed(tenant, flavor string) *account {
	if a := b.accounts[key{tenant, flavor}]; a != nil && a.listed {
		return a
	}
	return nil
}
