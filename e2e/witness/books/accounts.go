package books

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// payload reads what an entry's payload says under a name, if it says it.
func (r *replay) payload(e *Record, name string, into any) bool {
	if !strings.Contains(e.Payload, `"`+name+`":`) {
		return false
	}
	if err := json.Unmarshal([]byte(e.Payload), into); err != nil {
		r.broken(Form, e.Seq, "the payload's %s cannot be read: %v", name, err)
		return false
	}
	return true
}

// lenders are the tenants of a loan's lenders, as its first entry says.
func lenders(e *Record) map[string]string {
	var p struct{ Lenders map[string]string }
	if json.Unmarshal([]byte(e.Payload), &p) != nil {
		return nil
	}
	return p.Lenders
}

// given is what a loan gives back with an entry that states what it keeps.
func (r *replay) given(e *Record, held []Grant) []Grant {
	left := map[Grant]int64{} // by a grant without its count
	for _, g := range held {
		left[Grant{g.Lender, g.Node, g.Flavor, 0}] += g.Count
	}
	for _, g := range e.Grants {
		left[Grant{g.Lender, g.Node, g.Flavor, 0}] -= g.Count
	}
	var out []Grant
	for g, count := range left {
		if g.Count = count; count > 0 {
			out = append(out, g)
		} else if count < 0 {
			r.broken(States, e.Seq, "keeps %d more of %s on %s than loan %q has", -count, g.Flavor, g.Node, e.Loan)
		}
	}
	if len(out) == 0 {
		r.broken(States, e.Seq, "%s of loan %q gives nothing back", name(e.Kind), e.Loan)
	}
	return out
}

// shares are how many milliseconds units were whose.
type shares struct{ total, borrower, quarantine, lost int64 }

// divide cuts a loan's time at the moment from which on it was in quarantine, and at the last
// one at which its node was heard of.
func (r *replay) divide(e *Record, l *loan, was State) shares {
	total := milliseconds(l.since, momentOf(e))
	aside, heard := total, total
	if was == Quarantine {
		aside = min(total, milliseconds(l.since, l.aside))
	}
	if e.Kind == lost || e.Kind == shedLost {
		var p struct{ LastHeard time.Time }
		if r.payload(e, "lastHeard", &p) && !p.LastHeard.IsZero() {
			heard = min(total, milliseconds(l.since, moment{wall: p.LastHeard.UnixNano()}))
		}
	}
	s := shares{total: total, borrower: min(aside, heard), lost: total - heard}
	s.quarantine = total - s.borrower - s.lost
	return s
}

// book credits the lenders what grants were worth until now, and debits whose that time was.
func (r *replay) book(e *Record, l *loan, held []Grant, was State) {
	s := r.divide(e, l, was)
	clear(r.counted)
	for _, g := range held {
		if g.Lender == "" {
			continue
		}
		if g.Count < 0 || g.Count > 0 && s.total > math.MaxInt64/g.Count {
			r.broken(Balances, e.Seq, "%d units for %d ms are more than an account can hold", g.Count, s.total)
			return
		}
		r.post(Account{"lender", g.Lender, g.Flavor}, g.Count*s.total)
		r.post(Account{"borrower", l.borrower, g.Flavor}, -g.Count*s.borrower)
		if s.quarantine > 0 {
			r.post(Account{"quarantine", "", g.Flavor}, -g.Count*s.quarantine)
		}
		if s.lost > 0 {
			r.post(Account{"lost", "", g.Flavor}, -g.Count*s.lost)
		}
		r.monthly(e, l, g, s)
	}
}

func (r *replay) post(a Account, unitMS int64) {
	r.f.Balances[a] += unitMS
	r.sums[a.Flavor] += unitMS
}

// balanced looks at the sum of each flavor after an entry.
func (r *replay) balanced(seq uint64) {
	for flavor, sum := range r.sums {
		if sum != 0 {
			r.broken(Balances, seq, "the balances of %s add up to %d after it", flavor, sum)
			delete(r.sums, flavor)
		}
	}
}
