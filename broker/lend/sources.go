package lend

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// ask is a waiting job with what the books know about it.
type ask struct {
	*Job
	tenant quota.NodeID
	flavor quota.FlavorID
	cohort string // of the tenant
	// need is the units of the whole gang.
	need int64
	// queue is an index into the queues, slot the job's in the crowd.
	queue, slot int
	// blocked: when it was last tried there was room, and that is kept for a job that has
	// waited longer.
	blocked bool
	// promise is the number of its latest promise, from 1; 0: none was made.
	promise int
}

// take is what one source gives to a job.
type take struct {
	// name is as in Grant.Lender, lender nil for anything but a service.
	name   string
	lender *lender
	units  int64
	grace  time.Duration
}

// available is how much the job's tenant could have now without anything being taken
// back, and without what is kept for others.
func (d *decision) available(j *ask) int64 {
	now := d.books.used.Available(j.tenant, j.flavor)
	if now == 0 {
		return 0 // whatever was promised
	}
	return int64(min(now, d.unpromised(j), quota.Amount(1<<50)))
}

// ownRoom is how much of its tenant's nominal quota a job could have that no service
// owns, no pod holds and no other job has as its own. What the tenant borrows besides
// does not count: of all that it uses, as much as it was promised is its own.
func (d *decision) ownRoom(j *ask) int64 {
	return int64(min(d.books.own.NominalRoom(j.tenant, j.flavor), quota.Amount(1<<50)))
}

// within reports whether the job leaves its tenant within its nominal quota.
func (d *decision) within(j *ask) bool {
	return quota.Amount(j.need) <= d.books.used.NominalRoom(j.tenant, j.flavor)
}

// sources says whose units the job gets, of which the first own are its tenant's
// nominal quota. It is nil if not all can be named. It is good until it is asked again.
func (d *decision) sources(j *ask, p *pool, own int64) []take {
	inside, outside := d.eligible(j, p, own)
	rest := j.need - own
	takes := d.takes[:0]
	give := func(from []take, most int64) {
		for _, t := range from {
			if rest == 0 || most <= 0 {
				return
			}
			if t.units = min(t.units, rest, most); t.units > 0 {
				rest -= t.units
				most -= t.units
				takes = append(takes, t)
			}
		}
	}
	if own > 0 {
		takes = append(takes, take{units: own})
	}
	give(inside, rest)
	if j.cohort != "" {
		unused := d.available(j) - own
		for _, t := range inside {
			unused -= t.units
		}
		for _, t := range outside {
			unused -= t.units
		}
		give([]take{{name: CohortLender(j.cohort), units: unused, grace: max(d.pol.QuotaGrace, 0)}}, rest)
	}
	give(outside, rest)
	d.takes = takes
	if rest > 0 {
		return nil
	}
	return takes
}

// eligible lists what services could lend to the job now: those of its own tenant,
// and then those of others, largest first. No tenant's together lend more than its
// nominal quota leaves beside what it is spoken for, and to others no more than its
// lending limit. own units of the job's tenant are spoken for besides. The lists are good
// until it is asked again.
func (d *decision) eligible(j *ask, p *pool, own int64) (inside, outside []take) {
	inside, outside = d.inside[:0], d.outside[:0]
	root := d.books.used.Root(j.tenant)
	lenders := d.openLenders(p)
	for i := range lenders {
		o := &lenders[i]
		if o.root != root {
			continue
		}
		if o.first == i {
			o.left = d.lendingRoom(o.tenant, o.flavor, o.tenant == j.tenant)
			if o.tenant == j.tenant {
				o.left = max(o.left-own, 0)
			}
		}
		left := &lenders[o.first].left
		t := take{o.Name, o.lender, min(o.lendable, *left), o.MaxGrace}
		*left -= t.units
		switch {
		case t.units <= 0:
		case o.tenant == j.tenant:
			inside = append(inside, t)
		default:
			outside = append(outside, t)
		}
	}
	d.inside, d.outside = inside, outside
	return inside, outside
}

// openLender is a lender that may lend, and whose it is.
type openLender struct {
	*lender
	tenant, root quota.NodeID
	flavor       quota.FlavorID
	// first is the place of its tenant's first in the list, and left what of the tenant's
	// room is left there.
	first int
	left  int64
}

// openLenders lists the lenders that may lend, those with most to lend first. That
// changes only when something is lent.
func (d *decision) openLenders(p *pool) []openLender {
	known, ok := d.open[p]
	if ok && known.lends == len(d.lends) {
		return known.lenders
	}
	known = openLenders{lends: len(d.lends), lenders: known.lenders[:0]}
	for _, l := range p.lenders {
		if !l.open || l.lendable <= 0 {
			continue
		}
		if id, f, ok := d.books.find(l.Tenant, l.Flavor); ok {
			known.lenders = append(known.lenders, openLender{lender: l, tenant: id, root: d.books.used.Root(id), flavor: f})
		}
	}
	slices.SortStableFunc(known.lenders, func(x, y openLender) int { return cmp.Compare(y.lendable, x.lendable) })
	first := map[quota.NodeID]int{}
	for i := range known.lenders {
		o := &known.lenders[i]
		at, before := first[o.tenant]
		if !before {
			at = i
			first[o.tenant] = i
		}
		o.first = at
	}
	d.open[p] = known
	return known.lenders
}

// openLenders are a pool's when so much had been lent.
type openLenders struct {
	lends   int
	lenders []openLender
}

// lendingRoom is how much more a tenant's services may lend.
func (d *decision) lendingRoom(tenant quota.NodeID, f quota.FlavorID, inside bool) int64 {
	b := d.books
	room := int64(min(b.spoken.NominalRoom(tenant, f), quota.Amount(1<<50)))
	if limit := b.lending[b.at(tenant, f)]; limit != nil && !inside {
		room = min(room, max(clamp(*limit)-b.lentOut[b.at(tenant, f)], 0))
	}
	return room
}

// tooMuch says which rule a job meets that needs more than its tenant could have.
func (d *decision) tooMuch(j *ask) (reason, message string) {
	b := d.books
	room := max(d.available(j), 0)
	if j.cohort == "" {
		return ReasonNoLendableUnits, fmt.Sprintf("%s; %d %s available, and its tenant is in no cohort, so it cannot borrow", j.wish(), room, are(room))
	}
	if int64(b.used.Available(j.tenant, j.flavor)) >= j.need {
		return ReasonReservedForEarlier, fmt.Sprintf("%s; what is available is kept for jobs that units were asked back for", j.wish())
	}
	beyond := j.need
	for n := j.tenant; n != quota.None; n = b.used.Parent(n) {
		if limit := b.borrowing[b.at(n, j.flavor)]; limit != nil {
			more := max(clamp(*limit)-int64(b.used.Borrowed(n, j.flavor)), 0)
			if beyond > int64(b.used.NominalRoom(n, j.flavor))+more {
				return ReasonOverBorrowingLimit, fmt.Sprintf("%s; %s may borrow %d more", j.wish(), d.whoBorrows(n), more)
			}
		}
		if limit := b.lending[b.at(n, j.flavor)]; limit != nil {
			// What is kept home below never reaches the cohorts above.
			home := int64(b.used.Subtree(n, j.flavor).Sub(b.used.Used(n, j.flavor))) - clamp(*limit)
			beyond -= min(max(home, 0), beyond)
		}
	}
	if b.idle(j.tenant, j.flavor) >= j.need {
		return ReasonLendingLimitReached, fmt.Sprintf("%s; the lending limits of its cohort allow %d", j.wish(), room)
	}
	return ReasonNoLendableUnits, fmt.Sprintf("%s; %d %s available now", j.wish(), room, are(room))
}

func (d *decision) whoBorrows(n quota.NodeID) string {
	if name, cohort := d.books.used.Name(n); cohort {
		return "cohort " + name
	}
	return "its tenant"
}

func are(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
