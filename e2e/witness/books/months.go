package books

import (
	"encoding/binary"
	"time"
)

// monthKey is a row of the months: what one tenant had to do with one flavor.
type monthKey struct {
	tenant, flavor string
	at             time.Time // when the month begins
}

func (k monthKey) row() string {
	return k.tenant + "\x00" + k.at.Format("200601") + "\x00" + k.flavor
}

// amount is a sum of time, and of the units and loans that ended with it.
type amount struct{ unitMS, units, loans int64 }

// amounts are those of a row, in the order of its bytes.
type amounts struct {
	lent, borrowed, reclaimed, lost, quarantined amount
	lentLost, lentQuarantined                    amount
}

func (a *amounts) bytes() []byte {
	var b []byte
	for _, x := range []amount{a.lent, a.borrowed, a.reclaimed, a.lost, a.quarantined, a.lentLost, a.lentQuarantined} {
		b = binary.AppendVarint(b, x.unitMS)
		b = binary.AppendVarint(b, x.units)
		b = binary.AppendVarint(b, x.loans)
	}
	return b
}

func (r *replay) month(tenant, flavor string, wall int64) *amounts {
	at := time.Unix(0, wall).UTC()
	key := monthKey{tenant, flavor, time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)}
	if r.months[key] == nil {
		r.months[key] = &amounts{}
	}
	return r.months[key]
}

// period is a piece of a loan's time, in a tenant's rows.
type period struct {
	tenant, flavor string
	from, ms       int64 // nanoseconds since 1970, milliseconds
	units          int64
	of             func(*amounts) *amount
}

// spread adds a period to the months in which its milliseconds begin; it ends in the last one
// that has any.
func (r *replay) spread(p period) *amount {
	end := p.of(r.month(p.tenant, p.flavor, p.from))
	for from, left := p.from, p.ms; left > 0; {
		at := time.Unix(0, from).UTC()
		next := time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
		ms := min(left, (next-from+1e6-1)/1e6)
		end = p.of(r.month(p.tenant, p.flavor, from))
		end.unitMS += p.units * ms
		from, left = from+ms*1e6, left-ms
	}
	end.units += p.units
	return end
}

// takenBack are the kinds that end a loan, or a part, against its borrower's will.
var takenBack = map[uint8]bool{6: true, 8: true, shed: true, 27: true}

// monthly adds what a loan's end, or a part's, moves in the months.
func (r *replay) monthly(e *Record, l *loan, g Grant, s shares) {
	lender, start := l.tenants[g.Lender], l.since.wall
	aside := start + s.borrower*1e6
	ended := []*amount{
		r.spread(period{lender, g.Flavor, start, s.total, g.Count, func(a *amounts) *amount { return &a.lent }}),
		r.spread(period{l.borrower, g.Flavor, start, s.borrower, g.Count, func(a *amounts) *amount { return &a.borrowed }}),
	}
	if takenBack[e.Kind] {
		ended = append(ended, r.spread(period{l.borrower, g.Flavor, start, s.borrower, g.Count, func(a *amounts) *amount { return &a.reclaimed }}))
	}
	nobodys := func(from, ms int64, borrowers, lenders func(*amounts) *amount) {
		if ms > 0 {
			ended = append(ended, r.spread(period{l.borrower, g.Flavor, from, ms, g.Count, borrowers}),
				r.spread(period{lender, g.Flavor, from, ms, g.Count, lenders}))
		}
	}
	nobodys(aside, s.quarantine, func(a *amounts) *amount { return &a.quarantined }, func(a *amounts) *amount { return &a.lentQuarantined })
	nobodys(aside+s.quarantine*1e6, s.lost, func(a *amounts) *amount { return &a.lost }, func(a *amounts) *amount { return &a.lentLost })
	for _, a := range ended {
		if l.State == Closed && !r.counted[a] {
			a.loans++
			r.counted[a] = true
		}
	}
}

// correctedMonth adds a posting to the month in which it is written.
func (r *replay) correctedMonth(e *Record, p posting) {
	a := p.account()
	tenant := p.Tenant
	if a.Side == "borrower" {
		tenant = a.Name
	}
	row := r.month(tenant, a.Flavor, e.Time)
	switch a.Side {
	case "lender":
		row.lent.unitMS += p.UnitMS
	case "borrower":
		row.borrowed.unitMS -= p.UnitMS
	case "quarantine":
		row.quarantined.unitMS -= p.UnitMS
	case "lost":
		row.lost.unitMS -= p.UnitMS
	}
}
