package match

import (
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// tolerance is how far the accounts may be from the watch, per unit.
const tolerance = time.Second

// bill compares the unit-time that a loan's entries come to with what the watch saw.
func (s *shelf) bill(c *Course, r *Result) {
	if c.Initial || c.Active.IsZero() || c.Returned.IsZero() {
		return
	}
	entries := s.byLoan[c.Name]
	billed, units, whole := billed(entries)
	if units == 0 {
		return
	}
	least, most := c.unitTime(began(c, entries))
	r.Billed++
	seen := min(max(billed, least), most)
	off := (billed - seen).Abs() / time.Duration(units)
	r.Worst = max(r.Worst, off)
	if off > tolerance+whole {
		s.find(Billing, "loan %s: the accounts have %s of unit-time, and %s were seen", c.Name, billed.Round(time.Millisecond), seen.Round(time.Millisecond))
	}
}

// billed adds up what lenders are credited for a loan. Units is how many it was of at most,
// and whole what is lost of a second where a time was taken from the API server, which counts
// whole ones.
func billed(entries []*books.Record) (total time.Duration, units int64, whole time.Duration) {
	var start *books.Record
	holds := int64(0)
	for _, e := range entries {
		switch e.Kind {
		case lendIntent:
			holds = lentUnits(e.Grants)
		case recovered, lendGranted:
			if start = e; e.Kind == recovered {
				holds = lentUnits(e.Grants)
			}
		case shed, shedLost:
			if start != nil {
				total += time.Duration(holds-lentUnits(e.Grants)) * elapsed(start, e)
			}
			units, holds = max(units, holds), lentUnits(e.Grants)
		case reclaimDone, released, preempted, lost, unquarantined:
			if start != nil {
				total += time.Duration(holds) * elapsed(start, e)
			}
		default:
			continue
		}
		units = max(units, holds)
		if e.At != 0 {
			whole += time.Second
		}
	}
	return total, units, whole
}

// began is from when on the accounts have to count a loan: since it was Active. A broker that
// ended between a job's admission and that finds the job at work later, and knows no better
// than that it may have had the units since its Loan was made.
func began(c *Course, entries []*books.Record) Moment {
	for _, e := range entries {
		unseen := e.Kind == recovered || e.Kind == lendGranted && e.At != 0
		if unseen && e.Time <= c.Active.UnixNano() {
			return c.Made
		}
	}
	return c.Active
}

func lentUnits(grants []books.Grant) (n int64) {
	for _, g := range grants {
		if g.Lender != "" {
			n += g.Count
		}
	}
	return n
}

// elapsed is the time between two entries: of the monotonic clock that both have, else of the
// wall's.
func elapsed(a, b *books.Record) time.Duration {
	if a.At == 0 && b.At == 0 && a.BootID != "" && a.BootID == b.BootID {
		return max(0, time.Duration(b.Mono-a.Mono))
	}
	return max(0, time.Duration(wall(b)-wall(a)))
}

func wall(e *books.Record) int64 {
	if e.At != 0 && e.At <= e.Time {
		return e.At
	}
	return e.Time
}
