package sim

import (
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

func lawLayouts(w *World) error {
	for _, n := range w.nodes {
		for _, card := range n.cards {
			if err := w.lawfulLayout(card); err != nil {
				return fmt.Errorf("card %s: %w", card.UUID, err)
			}
		}
	}
	return nil
}

// lawfulLayout: the board allows it, and it is what it was at the beginning but for the one
// change.
func (w *World) lawfulLayout(card *CardState) error {
	var layout, was []mig.Placed
	for _, s := range card.slices {
		layout = append(layout, s.Placed)
		if s.of == nil {
			was = append(was, s.Placed)
		} else if s.of != card.change || !slices.Contains(s.of.Create, s.Placed) || s.of.to != s.spot {
			return fmt.Errorf("slice %v was made by another change", s.Placed)
		}
	}
	if err := card.geometry.Check(layout); err != nil {
		return err
	}
	if c := card.change; c != nil {
		was = append(was, c.Destroy...)
		there := len(layout) - (len(was) - len(c.Destroy))
		waits := c.due != 0 && there == 0
		stands := c.due == 0 && there == len(c.Create) && c.State != lend.ReshapeMaking
		if c.card != card || !waits && !stands {
			return fmt.Errorf("change %s is %s, with %d of %d slices there, and goes neither on nor back", c.ID, c.State, there, len(c.Create))
		}
	}
	slices.SortFunc(was, comparePlaced)
	if !slices.EqualFunc(was, card.Slices, func(at mig.Placed, s Slice) bool { return at == s.Placed }) {
		return fmt.Errorf("its own slices are %v, and were %v", was, card.Slices)
	}
	return nil
}

func lawSlices(w *World) error {
	for i := range w.nodes {
		if err := w.lawfulNode(int32(i)); err != nil {
			return fmt.Errorf("node %s: %w", w.scenario.Nodes[i].Name, err)
		}
	}
	return nil
}

// seats are what a node's cards say of the slices of one flavor.
type seats struct{ there, pinned, kept, made, onMade, online, leaving int64 }

func (c *seats) count(s *slice) {
	c.there++
	c.pinned += one(s.pinned)
	c.kept += one(s.pinned && s.free())
	c.made += one(s.of != nil)
	c.onMade += one(s.of != nil && s.job != nil)
	c.online += one(s.service != Nobody)
	c.leaving += one(s.leaving)
}

// lawfulNode: who has its slices is who says so, and the node counts them right.
func (w *World) lawfulNode(n int32) error {
	counts := map[int32]*seats{}
	for i := w.nodes[n].first; i < w.nodes[n].end; i++ {
		counts[i] = &seats{}
	}
	jobs := map[*JobState]map[Place]int64{}
	for _, card := range w.nodes[n].cards {
		for _, s := range card.slices {
			if !s.lawful() {
				return fmt.Errorf("slice %v of card %s is in two hands, or in wrong ones", s.Placed, card.UUID)
			}
			counts[s.spot].count(s)
			if s.job == nil {
				continue
			}
			at := Place{Spot: s.spot, Lender: Nobody}
			if s.of != nil {
				at.Lender = s.of.lender
			}
			if jobs[s.job] == nil {
				jobs[s.job] = map[Place]int64{}
			}
			jobs[s.job][at]++
		}
	}
	for i := w.nodes[n].first; i < w.nodes[n].end; i++ {
		s, c := &w.spots[i], *counts[i]
		if s.Cut && (seats{s.Capacity, s.Pinned, s.Kept, s.Made, s.OnMade, s.Online, s.Leaving}) != c {
			return fmt.Errorf("%s: is counted as %+v, and its cards say %+v", w.flavors[s.Flavor], *s, c)
		}
	}
	return w.lawfulSeats(n, jobs)
}

// lawful: one has it, and one who may.
func (s *slice) lawful() bool {
	if s.job != nil {
		return s.service == Nobody && !s.leaving && !s.pinned
	}
	return s.service == Nobody && !s.leaving || s.service != Nobody && s.of == nil
}

// lawfulSeats: jobs have the slices of their places on the node, those that were made if it
// is these.
func (w *World) lawfulSeats(n int32, seats map[*JobState]map[Place]int64) error {
	for _, j := range w.running {
		for _, p := range j.Places {
			if w.spots[p.Spot].Node != n || !w.spots[p.Spot].Cut {
				continue
			}
			at := Place{Spot: p.Spot, Lender: Nobody}
			if w.madeFor(p) {
				at.Lender = p.Lender
			}
			if seats[j] == nil {
				seats[j] = map[Place]int64{}
			}
			if seats[j][at] -= p.Pods; seats[j][at] == 0 {
				delete(seats[j], at)
			}
		}
		if len(seats[j]) > 0 {
			return fmt.Errorf("job %s has places %v, and by the cards more or less: %v", j.Name, j.Places, seats[j])
		}
		delete(seats, j)
	}
	if len(seats) > 0 {
		return fmt.Errorf("%d jobs have slices that do not run", len(seats))
	}
	return nil
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}
