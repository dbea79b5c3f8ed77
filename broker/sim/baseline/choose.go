package baseline

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// instance is one choice of victims: nodes with what is free on them, pods that are owed,
// and what candidates hold there.
type instance struct {
	free  []int64
	units int64 // of an owed pod
	owed  int64
	holds [][]hold // by candidate
	room  int64    // pods that fit now
}

type hold struct {
	node  int
	units int64
}

func newInstance(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) *instance {
	in := &instance{units: owed.UnitsPerPod, owed: owed.Pods, holds: make([][]hold, len(candidates))}
	at := make(map[string]int, len(rooms))
	for i, r := range rooms {
		at[r.Node] = i
		in.free = append(in.free, r.Free)
		in.room += r.Free / in.units
	}
	for i := range candidates {
		for _, g := range candidates[i].Grants {
			if node, ok := at[g.Node]; ok && g.Flavor == owed.Flavor {
				in.holds[i] = append(in.holds[i], hold{node, g.Count})
			}
		}
	}
	return in
}

// fits: there is room for all that is owed.
func (in *instance) fits() bool { return in.room >= in.owed }

// stop frees what a candidate holds, or gives it back to it (-1).
func (in *instance) stop(candidate int, sign int64) {
	for _, h := range in.holds[candidate] {
		in.room -= in.free[h.node] / in.units
		in.free[h.node] += sign * h.units
		in.room += in.free[h.node] / in.units
	}
}

func stopped(candidates []int) []lend.Victim {
	slices.Sort(candidates)
	victims := make([]lend.Victim, len(candidates))
	for i, c := range candidates {
		victims[i].Index = c
	}
	return victims
}

// newestFirst stops the lowest priority first, and of equal ones who started last, until
// that is enough; then it spares, in the opposite order, whom it can. It is the order in
// which Kueue takes back what a cohort borrowed.
func newestFirst(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
	in := newInstance(rooms, owed, candidates)
	order := make([]int, len(candidates))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &candidates[a], &candidates[b]
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), y.Since.Compare(x.Since), cmp.Compare(x.Name, y.Name))
	})
	n := 0
	for ; n < len(order) && !in.fits(); n++ {
		in.stop(order[n], 1)
	}
	if !in.fits() {
		return nil, false
	}
	victims := order[:n]
	for i := len(victims) - 1; i >= 0; i-- {
		if in.stop(victims[i], -1); in.fits() {
			victims = slices.Delete(victims, i, i+1)
		} else {
			in.stop(victims[i], 1)
		}
	}
	return stopped(victims), true
}

// mostSearched is up to how many candidates every set of them is tried.
const mostSearched = 20

// exhaustively tries every set of candidates for the one that loses the least work. Where
// there are more of them it does as the product does, which is not always proved to be the
// best. Either way jobs stop whole.
func exhaustively(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
	if len(candidates) > mostSearched {
		candidates = slices.Clone(candidates)
		for i := range candidates {
			candidates[i].MinPods = 0
		}
		return byLeastLoss(rooms, owed, candidates)
	}
	s := &everySet{instance: newInstance(rooms, owed, candidates), candidates: candidates}
	s.from(0, 0)
	return stopped(s.best), s.found
}

// everySet is a search through all sets of candidates.
type everySet struct {
	*instance
	candidates []lend.Candidate
	set, best  []int
	least      float64
	found      bool
}

// from tries all sets that have the chosen ones of the candidates before i, at a cost.
func (s *everySet) from(i int, cost float64) {
	if s.found && cost >= s.least {
		return
	}
	if s.fits() {
		s.best, s.least, s.found = slices.Clone(s.set), cost, true
		return
	}
	if i == len(s.candidates) {
		return
	}
	s.stop(i, 1)
	s.set = append(s.set, i)
	s.from(i+1, cost+s.candidates[i].LostWork)
	s.set = s.set[:len(s.set)-1]
	s.stop(i, -1)
	s.from(i+1, cost)
}
