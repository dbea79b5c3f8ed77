package demand

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// rising: a signal has grown as many times in succession.
const rising = 3

// rise is how often one signal has grown in succession, up to the value it has.
type rise struct {
	value float64
	count int
}

// watch sets Rising on a copy of the signals. Those of a load that is not new count as
// they did. A signal that is missing from a load begins anew.
func (l *lender) watch(signals []lend.Signal, isNew bool) []lend.Signal {
	if len(signals) == 0 {
		l.rises = nil
		return signals
	}
	out := slices.Clone(signals)
	next := make(map[string]rise, len(out))
	for i := range out {
		s := &out[i]
		r, seen := l.rises[s.Name]
		switch {
		case !seen:
			r = rise{value: s.Value}
		case !isNew:
		case s.Value > r.value:
			r = rise{s.Value, r.count + 1}
		default: // as high as before, lower, or not a number
			r = rise{value: s.Value}
		}
		next[s.Name] = r
		s.Rising = r.count >= rising && s.Value > s.Low
	}
	l.rises = next
	return out
}
