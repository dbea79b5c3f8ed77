package agreement

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// booked sums up what loans hold, as the ledger does: from the decision that lends to the
// one that returns. The zero value is ready to use.
type booked struct {
	open map[string]holding
	over time.Duration // unit-time of those that were returned
}

type holding struct {
	units int64
	since time.Time
}

func (h holding) until(t time.Time) time.Duration { return time.Duration(h.units) * t.Sub(h.since) }

// follow takes in what was decided.
func (b *booked) follow(now time.Time, plan *lend.Plan) {
	if b.open == nil {
		b.open = map[string]holding{}
	}
	for i := range plan.Actions {
		switch a := &plan.Actions[i]; a.Kind {
		case lend.ActionLend:
			h := holding{since: now}
			for _, g := range a.Grants {
				h.units += g.Count
			}
			b.open[a.Loan] = h
		case lend.ActionReturn:
			b.over += b.open[a.Loan].until(now)
			delete(b.open, a.Loan)
		}
	}
}

// hours of the day's clock that were booked until the end.
func (d *Day) hours(b *booked, end time.Time) float64 {
	all := b.over
	for _, h := range b.open {
		all += h.until(end)
	}
	return math.Round(all.Hours()*d.Speed*10) / 10
}
