package lend

import (
	"slices"

	"github.com/ebbtide/ebbtide/quota"
)

// fairness knows what could be taken back for quota.
type fairness struct {
	*admission
	lists map[family]*holdings
	buf   []quota.Share
	flags []bool
}

// holdings are the open loans of one family of flavors in one tree of cohorts that
// may be taken back, in the order in which TakeBack takes.
type holdings struct {
	held  []quota.Held
	loans []*loan
	// lowest is the lowest priority of each tenant's loans, lent the tenants with one
	// that is not wholly own quota.
	lowest map[quota.NodeID]int32
	lent   map[quota.NodeID]bool
	// rivals are, of each cohort, the two children with the largest shares from which
	// something could be taken for fairness, as of a version of the books.
	rivals  map[quota.NodeID][2]rival
	version int
	// most is what the nodes had of a flavor without all of them.
	most map[string]bins
	// asked: it is known whether anybody who waits could take something of it.
	asked, wanted bool
}

type rival struct {
	node  quota.NodeID
	share quota.Share
}

func newFairness(a *admission) *fairness {
	return &fairness{admission: a, lists: map[family]*holdings{}}
}

// of lists what tenants hold of the flavor, and of all that draw on the same quota.
func (f *fairness) of(tenant quota.NodeID, flavor quota.FlavorID) *holdings {
	key := family{f.books.used.Root(tenant), f.books.base[flavor]}
	if h := f.lists[key]; h != nil {
		return h
	}
	h := &holdings{lowest: map[quota.NodeID]int32{}, lent: map[quota.NodeID]bool{}, version: -1, most: map[string]bins{}}
	f.lists[key] = h
	from := len(f.scratch.taken)
	h.held, h.loans = f.scratch.taken[from:], f.scratch.holders[from:]
	for _, at := range f.shelf.claims() {
		f.addLoan(h, key, &f.scratch.loans[at])
	}
	h.held, h.loans = slices.Clip(h.held), slices.Clip(h.loans)
	f.scratch.hold(h)
	return h
}

// addLoan lists the loan if it is one of the family, and if something would come free
// for others without it.
func (f *fairness) addLoan(h *holdings, key family, l *loan) {
	list := l.ofOneKind()
	if l.goes() || len(list) == 0 {
		return
	}
	tenant, flavor, ok := f.books.find(l.Borrower, list[0].Flavor)
	if !ok || f.books.base[flavor] != key.flavor || f.books.used.Root(tenant) != key.node {
		return
	}
	var units int64
	for _, g := range list {
		if g.Flavor != list[0].Flavor {
			return
		}
		// What a service gets back that lends nothing new, it keeps.
		if from := f.lender(g.Lender); from == nil || from.relends {
			units += g.Count
		}
	}
	if units <= 0 {
		return
	}
	young := f.now.Sub(l.Since) < f.pol.MinimumLoan
	if !young { // whoever was stopped too often already is spared as well
		_, young = f.history.spent(l.JobUID, f.now, f.pol)
	}
	h.held = append(h.held, quota.Held{
		Name: l.Name, Tenant: tenant, Flavor: flavor, Units: quota.Amount(units), Own: !l.lent, Young: young,
		Priority: l.Priority, Since: l.Since,
	})
	h.loans = append(h.loans, l)
	low, known := h.lowest[tenant]
	if !known || l.Priority < low {
		h.lowest[tenant] = l.Priority
	}
	if l.lent {
		h.lent[tenant] = true
	}
}

// ofOneKind is what the borrower holds: slices that were made, or others; none if both.
func (l *loan) ofOneKind() []Grant {
	switch {
	case len(l.made) == 0:
		return l.Grants
	case len(l.Grants) == 0:
		return l.made
	}
	return nil
}

// wanted reports whether anybody who waits might take back some of what the tenant's jobs
// draw on. It is one answer for all of them and for the whole pass: who is next goes by the
// shares that tenants have with their first jobs, and those whose large jobs are left out
// have small ones, get what is free before their turn, and lose it in the next decision.
func (f *fairness) wanted(tenant quota.NodeID, flavor quota.FlavorID) bool {
	h := f.of(tenant, flavor)
	if h.asked {
		return h.wanted
	}
	h.asked = true
	root, base := f.books.used.Root(tenant), f.books.base[flavor]
	for at, considered := range f.line.considered {
		n, of := quota.NodeID(at/f.books.flavors), quota.FlavorID(at%f.books.flavors)
		if considered && f.books.base[of] == base && f.books.used.Root(n) == root && f.could(n, of) {
			h.wanted = true
			break
		}
	}
	return h.wanted
}

// could reports whether jobs of the tenant might take something back. It may say yes
// where they cannot, not no where they can.
func (f *fairness) could(tenant quota.NodeID, flavor quota.FlavorID) bool {
	return f.chance(tenant, flavor, 1, f.line.top[f.books.at(tenant, flavor)]) != none
}

// chance is on what grounds something might be taken back.
type chance int8

const (
	none chance = iota
	byShare
	byRight // within a quota, or from the same tenant
)

func (f *fairness) chance(tenant quota.NodeID, flavor quota.FlavorID, units int64, priority int32) chance {
	h := f.of(tenant, flavor)
	if len(h.held) == 0 {
		return none
	}
	if low, known := h.lowest[tenant]; known && low < priority {
		return byRight
	}
	if len(h.lent) == 0 || len(h.lent) == 1 && h.lent[tenant] {
		return none
	}
	soon := f.books.soon
	f.flags = soon.BorrowsWith(tenant, flavor, quota.Amount(units), f.flags)
	for _, borrows := range f.flags[:max(len(f.flags)-1, 0)] {
		if !borrows {
			return byRight
		}
	}
	if len(f.pol.FairPreemption) > 0 && f.behind(h, tenant, flavor, units) {
		return byShare
	}
	return none
}

// behind reports whether some neighbour of the tenant, or of a cohort above it, has a
// larger share than it would have with the units.
func (f *fairness) behind(h *holdings, tenant quota.NodeID, flavor quota.FlavorID, units int64) bool {
	soon := f.books.soon
	f.rank(h)
	f.buf = soon.SharesWith(tenant, flavor, quota.Amount(units), f.buf)
	n := tenant
	for _, share := range f.buf {
		for _, r := range h.rivals[soon.Parent(n)] {
			if r.share > share && r.node != n {
				return true
			}
		}
		n = soon.Parent(n)
	}
	return false
}

// rank finds the rivals in the books as they are.
func (f *fairness) rank(h *holdings) {
	if h.version == f.books.version {
		return
	}
	h.version, h.rivals = f.books.version, map[quota.NodeID][2]rival{}
	soon := f.books.soon
	seen := map[quota.NodeID]bool{}
	for i := range h.held {
		if h.held[i].Own || h.held[i].Young || h.held[i].Units <= 0 {
			continue
		}
		for n := h.held[i].Tenant; soon.Parent(n) != quota.None && !seen[n]; n = soon.Parent(n) {
			seen[n] = true
			up := soon.Parent(n)
			two := h.rivals[up]
			if r := (rival{n, soon.Share(n)}); r.share > two[0].share {
				two = [2]rival{r, two[0]}
			} else if r.share > two[1].share {
				two[1] = r
			}
			h.rivals[up] = two
		}
	}
}
