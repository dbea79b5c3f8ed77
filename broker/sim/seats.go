package sim

import (
	"cmp"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// cut makes slices on a card.
func (w *World) cut(card *CardState, places []mig.Placed, spot int32, of *change) {
	for _, at := range places {
		card.made++
		card.slices = append(card.slices, &slice{Placed: at, spot: spot, generation: card.made, of: of, service: Nobody})
	}
	slices.SortFunc(card.slices, func(a, b *slice) int { return comparePlaced(a.Placed, b.Placed) })
}

func comparePlaced(a, b mig.Placed) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Profile, b.Profile))
}

// spotAt is where a node has a flavor; -1 if it cannot.
func (w *World) spotAt(node int32, flavor string) int32 {
	for i := w.nodes[node].first; i < w.nodes[node].end; i++ {
		if w.flavors[w.spots[i].Flavor] == flavor {
			return i
		}
	}
	return -1
}

// spotOfProfile is where the units are that a card's slices of a profile are; -1 if nobody
// gave them a name.
func (w *World) spotOfProfile(card *CardState, id mig.ProfileID) int32 {
	for i := range w.scenario.Flavors {
		f := &w.scenario.Flavors[i]
		if p, ok := profileOf(card.geometry, f); ok && p.ID == id {
			return w.spotAt(card.Node, f.Name)
		}
	}
	return -1
}

// count counts the units of a node's cards anew.
func (w *World) count(node int32) {
	n := &w.nodes[node]
	if len(n.cards) == 0 {
		return
	}
	for i := n.first; i < n.end; i++ {
		if s := &w.spots[i]; s.Cut {
			s.Capacity, s.Pinned, s.Kept, s.Made, s.OnMade = 0, 0, 0, 0, 0
		}
	}
	for _, card := range n.cards {
		for _, s := range card.slices {
			w.spots[s.spot].tally(s)
		}
	}
	for i := n.first; i < n.end; i++ {
		w.rooms.move(i, &w.spots[i])
	}
}

func (s *Spot) tally(one *slice) {
	s.Capacity++
	if one.pinned {
		s.Pinned++
		if one.free() {
			s.Kept++
		}
	}
	if one.of != nil {
		s.Made++
		if !one.free() {
			s.OnMade++
		}
	}
}

// madeFor reports whether a place is on slices that were made of its lender's: those are of
// another flavor than the lender's.
func (w *World) madeFor(p Place) bool {
	return w.spots[p.Spot].Cut && p.Lender != Nobody && w.services[p.Lender].FlavorID != w.spots[p.Spot].Flavor
}

// open are the slices that a place may take, those first that it would.
func (w *World) open(j *JobState, p Place) []*slice {
	made := w.madeFor(p)
	var list []*slice
	for _, card := range w.nodes[w.spots[p.Spot].Node].cards {
		for _, s := range card.slices {
			if s.spot != p.Spot || !s.free() || s.pinned || made != (s.of != nil) {
				continue
			}
			if !made || s.of.lender == p.Lender && s.of.State == lend.ReshapeMade {
				list = append(list, s)
			}
		}
	}
	if made { // those that were made for the job first
		mine := func(s *slice) bool { return s.of.job == j.Name }
		others := slices.DeleteFunc(slices.Clone(list), mine)
		list = append(slices.DeleteFunc(list, func(s *slice) bool { return !mine(s) }), others...)
	}
	return list
}

// seat gives a job the slices of a place, or takes them from it.
func (w *World) seat(j *JobState, p Place, sign int64) {
	node := w.spots[p.Spot].Node
	if sign > 0 {
		for _, s := range w.open(j, p)[:p.Pods] {
			s.job = j
		}
		w.count(node)
		return
	}
	made, left := w.madeFor(p), p.Pods
	var over []*change
	for _, card := range w.nodes[node].cards {
		for _, s := range card.slices {
			if left == 0 || s.spot != p.Spot || s.job != j || made != (s.of != nil) || made && s.of.lender != p.Lender {
				continue
			}
			s.job = nil
			left--
			if made && !slices.Contains(over, s.of) {
				over = append(over, s.of)
			}
		}
	}
	w.count(node)
	for _, c := range over {
		w.vacated(c)
	}
}

// seatReplica gives a replica a slice: a pinned one if there is any, else one as far as can be
// from those that jobs get.
func (w *World) seatReplica(s *ServiceState, spot int32) {
	var best *slice
	for _, card := range w.nodes[w.spots[spot].Node].cards {
		for _, one := range card.slices {
			if one.spot == spot && one.free() && one.of == nil && (best == nil || !best.pinned) {
				best = one
			}
		}
	}
	best.service = s.Index
	w.count(w.spots[spot].Node)
}

// unseatReplica has one go: one on a slice that is not pinned, if there is any.
func (w *World) unseatReplica(s *ServiceState, spot int32) {
	var worst *slice
	for _, card := range w.nodes[w.spots[spot].Node].cards {
		for _, one := range card.slices {
			if one.spot == spot && one.service == s.Index && !one.leaving && (worst == nil || worst.pinned && !one.pinned) {
				worst = one
			}
		}
	}
	worst.leaving = true
}

// vacate takes the slice from a replica that has gone.
func (w *World) vacate(service, spot int32) {
	node := w.spots[spot].Node
	for _, card := range w.nodes[node].cards {
		for _, s := range card.slices {
			if s.spot == spot && s.service == service && s.leaving {
				s.service, s.leaving = Nobody, false
				w.count(node)
				return
			}
		}
	}
}

// vacateAll takes all slices of a node from replicas.
func (w *World) vacateAll(node int32) {
	for _, card := range w.nodes[node].cards {
		for _, s := range card.slices {
			s.service, s.leaving = Nobody, false
		}
	}
	w.count(node)
}
