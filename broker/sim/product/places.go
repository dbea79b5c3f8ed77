package product

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// seats puts a gang's pods on nodes, and says whose each is.
type seats struct {
	size int64 // of a pod
	out  []sim.Place
	// due is by how many units each service lends more than pods are counted as its.
	due map[int32]int64
}

// places are where the pods are that grants are for. The world has a pod's units of one
// lender, where the core may have them of several. Such pods are counted so that each
// service comes to lend what the core says, but for half a pod when one starts.
func (p *policy) places(j *sim.JobState, all []lend.Grant) []sim.Place {
	s := &seats{size: j.UnitsPerPod, due: map[int32]int64{}}
	for _, g := range all {
		if i := p.lender(g.Lender); i != sim.Nobody {
			if _, known := s.due[i]; !known {
				s.due[i] = p.lent[i] - p.world.Services()[i].Lent
			}
			s.due[i] += g.Count
		}
	}
	type pod struct {
		spot    int32
		lenders []int32
	}
	var mixed []pod
	next, filled := pod{spot: -1}, int64(0)
	for _, g := range all {
		spot, lender, left := p.spotOf(g.Node, g.Flavor), p.lender(g.Lender), g.Count
		if spot != next.spot {
			next, filled = pod{spot: spot}, 0
		}
		if filled == 0 {
			s.seat(spot, lender, left/s.size)
			left %= s.size
		}
		for left > 0 {
			n := min(left, s.size-filled)
			next.lenders = append(next.lenders, lender)
			if filled, left = filled+n, left-n; filled < s.size {
				break
			}
			mixed, next, filled = append(mixed, next), pod{spot: spot}, 0
			s.seat(spot, lender, left/s.size)
			left %= s.size
		}
	}
	for _, m := range mixed {
		s.seat(m.spot, s.whose(m.lenders), 1)
	}
	return s.out
}

// seat counts pods on a spot as a lender's.
func (s *seats) seat(spot, lender int32, pods int64) {
	if pods <= 0 {
		return
	}
	if lender != sim.Nobody {
		s.due[lender] -= pods * s.size
	}
	i := slices.IndexFunc(s.out, func(o sim.Place) bool { return o.Spot == spot && o.Lender == lender })
	if i < 0 {
		s.out = append(s.out, sim.Place{Spot: spot, Lender: lender, Pods: pods})
		return
	}
	s.out[i].Pods += pods
}

// whose is a pod of several lenders: that one's to which most is due, and nobody's where
// that is an option and to none as much as half of the pod is.
func (s *seats) whose(lenders []int32) int32 {
	best := lenders[0]
	for _, l := range lenders {
		if l == sim.Nobody {
			best = l
		}
	}
	for _, l := range lenders {
		switch {
		case l == sim.Nobody:
		case best == sim.Nobody && 2*s.due[l] > s.size, best != sim.Nobody && s.due[l] > s.due[best]:
			best = l
		}
	}
	return best
}
