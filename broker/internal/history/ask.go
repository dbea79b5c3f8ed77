package history

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Borrowed is an average of what a tenant held on loan.
type Borrowed struct {
	Borrowing
	Milli int64 // thousandths of a unit
}

// Borrowed returns the averages at t, by tenant, flavor and namespace. It leaves
// out those of less than a thousandth of a unit.
func (h *History) Borrowed(t time.Time) []Borrowed {
	if h == nil || h.decay.whole == 0 {
		return nil
	}
	var list []Borrowed
	for b, milli := range averages(h, h.sums, t, func(s *span, add func(Borrowing, int64)) {
		h.each(s, t, func(b Borrowing, _, sum int64) { add(b, sum) }, func(string, int64, int64) {})
	}) {
		list = append(list, Borrowed{b, milli})
	}
	slices.SortFunc(list, func(a, b Borrowed) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Flavor, b.Flavor), strings.Compare(a.Namespace, b.Namespace))
	})
	return list
}

// Used returns the averages at t of what each queue's jobs held, own quota
// included, in thousandths of a unit. Queues whose jobs held nothing are not in it.
func (h *History) Used(t time.Time) map[string]int64 {
	if h == nil || h.decay.whole == 0 {
		return nil
	}
	return averages(h, h.queue, t, func(s *span, add func(string, int64)) {
		h.each(s, t, func(Borrowing, int64, int64) {}, func(queue string, _, sum int64) { add(queue, sum) })
	})
}

// Freed returns the units of each flavor that came free in the time Lately before t.
func (h *History) Freed(t time.Time) map[string]int64 {
	if h == nil {
		return nil
	}
	h.forget(t)
	units := map[string]int64{}
	for _, f := range h.ended {
		if !f.at.After(t) && t.Sub(f.at) < Lately {
			units[f.flavor] += f.units
		}
	}
	return units
}

// averages adds the open loans to the closed ones.
func averages[K comparable](h *History, closed map[K]sums, t time.Time, open func(s *span, add func(K, int64))) map[K]int64 {
	now, _ := h.decay.period(t)
	total := make(map[K]int64, len(closed))
	for key, of := range closed {
		total[key] = of.at(now)
		if len(of) == 0 {
			delete(closed, key)
		}
	}
	for _, s := range h.open {
		open(s, func(key K, sum int64) { total[key] += sum })
	}
	for key, sum := range total {
		if total[key] = h.decay.average(sum, t); total[key] == 0 {
			delete(total, key)
		}
	}
	return total
}

// at is the sum in a period's terms. Periods that count for nothing any more are
// dropped; one that has not come yet, which a clock that was set back makes, counts
// as if it had.
func (s sums) at(now int64) int64 {
	var total int64
	for period, sum := range s {
		if now-period > mostPeriods {
			delete(s, period)
			continue
		}
		total += sum >> uint(max(now-period, 0))
	}
	return total
}

// forget drops what came free too long before t to be asked for, or to be told apart.
func (h *History) forget(t time.Time) {
	old := 0
	for old < len(h.ended) && t.Sub(h.ended[old].at) > 2*Lately {
		h.returns.age(h.ended[old])
		old++
	}
	h.ended = h.ended[old:]
	h.returns.forget(t)
}
