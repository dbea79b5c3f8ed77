package quota

// Verdict says whether an amount fits, and if not, which rule it meets first.
type Verdict string

// The verdicts.
const (
	Fits               Verdict = "Fits"
	UnknownTenant      Verdict = "UnknownTenant"
	UnknownFlavor      Verdict = "UnknownFlavor" // the tenant's quota does not list it
	OverNominal        Verdict = "OverNominal"
	NoCohort           Verdict = "NoCohort"
	OverBorrowingLimit Verdict = "OverBorrowingLimit"
	OverLendingLimit   Verdict = "OverLendingLimit"
)

// NominalRoom is how much more the tenant's jobs may use of its own nominal quota:
// what its services have not reserved and its jobs do not use. Units it lends are
// its services' reserved ones, so they are not subtracted again.
func (b *Book) NominalRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil {
		return 0
	}
	return a.quota.Nominal.Sub(a.usage.Reserved).Sub(a.usage.Own).AtLeastZero()
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
// lending limit, and never more than the nominal quota itself, less what is lent.
func (b *Book) LendingRoom(tenant, flavor string) Amount {
	a := b.listed(tenant, flavor)
	if a == nil || b.cohorts[tenant] == "" {
		return 0
	}
	bound := a.quota.Nominal
	if a.quota.LendingLimit != nil {
		bound = min(bound, a.quota.LendingLimit.AtLeastZero())
	}
	return bound.Sub(a.usage.Lent).AtLeastZero()
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

// FitsNominal says whether n more units fit the tenant's own nominal quota.
func (b *Book) FitsNominal(tenant, flavor string, n Amount) Verdict {
	if v := b.fitsAtAll(tenant, flavor); v != Fits {
		return v
	}
	if n > b.NominalRoom(tenant, flavor) {
		return OverNominal
	}
	return Fits
}

// FitsBorrowing says whether the tenant may borrow n more units.
func (b *Book) FitsBorrowing(tenant, flavor string, n Amount) Verdict {
	return b.fitsCohort(tenant, flavor, n, b.BorrowingRoom(tenant, flavor), OverBorrowingLimit)
}

// FitsLending says whether the tenant may lend n more units.
func (b *Book) FitsLending(tenant, flavor string, n Amount) Verdict {
	return b.fitsCohort(tenant, flavor, n, b.LendingRoom(tenant, flavor), OverLendingLimit)
}

func (b *Book) fitsCohort(tenant, flavor string, n, room Amount, over Verdict) Verdict {
	if v := b.fitsAtAll(tenant, flavor); v != Fits {
		return v
	}
	switch {
	case n <= room:
		return Fits
	case b.cohorts[tenant] == "":
		return NoCohort
	}
	return over
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
