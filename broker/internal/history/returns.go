package history

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
)

// returns are the units that came free within counterfactual.Back, by flavor. Those within
// twice Lately are in a History's ended, each by itself; those before that are added up by
// the minute.
type returns struct {
	older map[string][]counterfactual.Return
	// shown is what was last returned; nil once it would be something else.
	shown map[string][]counterfactual.Return
}

// age adds what is not to be told apart any more.
func (r *returns) age(f freed) {
	if r.older == nil {
		r.older = map[string][]counterfactual.Return{}
	}
	list, at := r.older[f.flavor], f.at.Truncate(time.Minute)
	i, found := slices.BinarySearchFunc(list, at, func(r counterfactual.Return, at time.Time) int { return r.At.Compare(at) })
	if found {
		list[i].Units += f.units
	} else {
		list = slices.Insert(list, i, counterfactual.Return{At: at, Units: f.units})
	}
	r.older[f.flavor], r.shown = list, nil
}

// forget drops what was too long before t.
func (r *returns) forget(t time.Time) {
	for flavor, list := range r.older {
		old := 0
		for old < len(list) && t.Sub(list[old].At) > counterfactual.Back {
			old++
		}
		if old > 0 {
			r.older[flavor], r.shown = list[old:], nil
		}
	}
}

// Returns are the units of each flavor that came free in the time counterfactual.Back before
// t, by their times; those of more than two hours ago are by the minute. What is returned is
// not changed afterwards.
func (h *History) Returns(t time.Time) map[string][]counterfactual.Return {
	if h == nil {
		return nil
	}
	h.forget(t)
	if h.returns.shown != nil {
		return h.returns.shown
	}
	all := map[string][]counterfactual.Return{}
	for flavor, list := range h.returns.older {
		all[flavor] = slices.Clone(list)
	}
	for _, f := range h.ended {
		all[f.flavor] = append(all[f.flavor], counterfactual.Return{At: f.at, Units: f.units})
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b counterfactual.Return) int { return a.At.Compare(b.At) })
	}
	h.returns.shown = all
	return all
}
