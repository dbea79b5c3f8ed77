package lend

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Room is what one schedulable node can give of one flavor without taking
// anything back: free units and those that come free. It may be negative where
// more is held than the node has.
type Room struct {
	Node   string
	Flavor string
	Free   int64
}

// Candidate is a loan that may be taken back, whole or in part.
type Candidate struct {
	// Name breaks ties, so that equal input gives equal victims. Names are unique.
	Name string
	// LostWork is what stopping it costs, in unit-seconds. What is not a number of
	// at least 0 counts as 0.
	LostWork float64
	// Priority and Since decide between equal costs only in the order of the
	// search: lower priority and newer loans are tried first.
	Priority int32
	Since    time.Time
	// Grants is what it holds, all of which comes free at once if it is stopped.
	Grants []Grant
	// Pods is how many pods hold its units, UnitsPerPod each, and MinPods how few of
	// them it can go on with. A loan with 0 < MinPods < Pods is elastic: it can give up
	// pods until that many are left. Its Grants then say on which nodes its pods stand,
	// and what it holds of one flavor on one node is a multiple of UnitsPerPod; where it
	// is not, or for any other numbers, the loan can only be stopped whole.
	Pods, MinPods, UnitsPerPod int64
	// Order has the nodes of its pods in the order in which they go, if whoever runs them
	// insists on one: of the pods that it can give up, only the first ones can go. It may
	// end early, and does where it does not agree with Grants. Empty: any pods can go.
	Order []string
	// ShedCost is what it costs to give up one pod, in unit-seconds, read like LostWork.
	ShedCost float64
}

// Victim is a candidate that must give something back.
type Victim struct {
	// Index in the list of candidates.
	Index int
	// Shed is which units it gives up, whole pods of them, while it goes on with the
	// rest; nil if it is stopped whole. In order of node, flavor and lender.
	Shed []Grant
}

// Choice is an answer to who must give units back.
type Choice struct {
	// Victims in ascending order of Index; none if the owed pods fit already.
	Victims []Victim
	// Stopped and Shed are what stopping loans and giving up pods cost, in unit-seconds.
	Stopped, Shed float64
	// Proved: there is no better choice. Without it, there may be one.
	Proved bool
}

// Choose says who must give units back so that all owed pods can be placed
// together, each on one node. ok is false, and nobody is chosen, if not even
// stopping every candidate is enough.
//
// Of two choices the better one has the lower cost of stopped loans; if equal, the
// lower cost of pods given up; then fewer victims; then the victims whose names come
// first. So a choice that stops nobody is better than one that stops somebody at any
// cost, whatever it sheds. A loan is paid once and frees all it holds on every node.
// Costs are compared with 14 digits.
//
// It guarantees that nothing in the answer could be spared, neither a stopped loan
// nor a pod. The answer is the best there is where Proved says so: it is searched for
// if at most 16 nodes hold candidates, with a fixed number of steps. Elsewhere it is
// the best of several heuristics, of each [VictimRule] among them, improved by local
// exchange. The result does not depend on the order of the arguments' elements.
func Choose(rooms []Room, owed []Owed, candidates []Candidate) (choice Choice, ok bool) {
	s := newSearch(rooms, owed, candidates)
	if s.enough() {
		return Choice{Proved: true}, true
	}
	if !s.possible() {
		return Choice{}, false
	}
	s.heuristics()
	proved := s.prove()
	return s.choice(proved), true
}

// ChooseVictims is [Choose] for loans that are only stopped whole. It returns the
// victims' indexes in ascending order.
func ChooseVictims(rooms []Room, owed []Owed, candidates []Candidate) (victims []int, ok bool) {
	whole := slices.Clone(candidates)
	for i := range whole {
		whole[i].MinPods = 0
	}
	choice, ok := Choose(rooms, owed, whole)
	if !ok {
		return nil, false
	}
	for _, v := range choice.Victims {
		victims = append(victims, v.Index)
	}
	return victims, true
}

// choice reads the best set that was kept.
func (s *search) choice(proved bool) Choice {
	s.restore(s.best)
	s.reprieve()
	out := Choice{Proved: proved}
	for i := range s.candidates {
		c := &s.candidates[i]
		switch {
		case s.taken[c.whole]:
			out.Victims = append(out.Victims, Victim{Index: c.index})
			out.Stopped += c.LostWork
		case c.shedding > 0:
			out.Victims = append(out.Victims, Victim{Index: c.index, Shed: s.shedOf(c)})
			out.Shed += float64(c.shedding) * c.ShedCost
		}
	}
	slices.SortFunc(out.Victims, func(a, b Victim) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// shedOf says of which grants the pods are that a candidate gives up: of what others
// lent it before what is its tenant's own.
func (s *search) shedOf(c *candidate) []Grant {
	left := map[[2]string]int64{}
	if c.tails {
		for _, node := range c.Order[:c.shedding] {
			left[[2]string{node, c.Grants[0].Flavor}] += c.UnitsPerPod
		}
	}
	for _, i := range c.pods {
		if s.taken[i] && !c.tails {
			p := s.pieces[i].parts[0]
			left[[2]string{s.sites[p.site].node, s.sites[p.site].market.flavor}] += p.count
		}
	}
	grants := slices.Clone(c.Grants)
	slices.SortStableFunc(grants, func(a, b Grant) int {
		if (a.Lender == "") != (b.Lender == "") {
			return -strings.Compare(a.Lender, b.Lender)
		}
		return compareGrants(a, b)
	})
	var shed []Grant
	for _, g := range grants {
		at := [2]string{g.Node, g.Flavor}
		if n := min(clamp(g.Count), left[at]); n > 0 {
			left[at] -= n
			g.Count = n
			shed = append(shed, g)
		}
	}
	slices.SortStableFunc(shed, compareGrants)
	return shed
}

func compareGrants(a, b Grant) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Flavor, b.Flavor), cmp.Compare(a.Lender, b.Lender))
}
