package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// World is the cluster at one moment, as a policy sees it. What its methods return belongs
// to the world and is read only; it changes with the next act.
type World struct {
	scenario *Scenario
	now      time.Duration
	random   *Draws // of failures
	agenda   agenda

	boards   []mig.Geometry // of cards
	spots    []Spot         // by node, then flavor
	rooms    rooms
	nodes    []nodeState
	flavors  []string
	weights  []int64         // of a unit of each flavor, as results count
	services []*ServiceState // as in the scenario

	waiting []*JobState          // by Order
	running []*JobState          // by Order; those that were asked back included
	byName  map[string]*JobState // all of both
	known   known
	starts  uint64 // of jobs
	arrived int64
	ahead   Job // the next to arrive
	more    bool
	counted int64 // jobs that count and have not ended

	meter   meter
	changed bool // since the last decision
	urgent  bool // an online pod was made since
	err     error
}

type nodeState struct {
	first, end int32 // spots
	home       int32 // service; Nobody
	down       bool
	failures   int32 // so far
	cards      []*CardState
}

// Nobody is no service.
const Nobody int32 = -1

// Spot is what one node has of one flavor, and who holds it.
type Spot struct {
	Node, Flavor int32
	Capacity     int64
	Down         bool
	// Home is the service whose replicas prefer the node, or Nobody.
	Home int32
	// Online is held by replicas, those that are going (Leaving) included.
	Online, Leaving int64
	// Jobs hold Training, from when they start until they are gone.
	Training int64

	// Cut: the units are slices of cards, and Capacity is how many there are now. Pinned
	// of them are kept for online pods, which Kept of those no pod has. Made were made of
	// others, and jobs hold OnMade of those: nobody may who is not lent them.
	Cut                        bool
	Pinned, Kept, Made, OnMade int64
}

// Free units; none on a node that is down. Slices that were made of others are not free.
func (s *Spot) Free() int64 {
	if s.Down {
		return 0
	}
	return s.Capacity - s.Made - s.Online - (s.Training - s.OnMade)
}

// Lendable is what of Free jobs may have: all but slices that are kept for online pods.
func (s *Spot) Lendable() int64 { return s.Free() - min(s.Kept, s.Free()) }

// Place is some pods of a job on one spot. Lender is the service whose units they are, or
// Nobody: they are the tenant's own, or its cohort's.
type Place struct {
	Spot, Lender int32
	Pods         int64
}

// Now is the time since the scenario's start; Time the same as a time.
func (w *World) Now() time.Duration { return w.now }

// Time is the present moment.
func (w *World) Time() time.Time { return w.scenario.Start.Add(w.now) }

// Scenario that is played.
func (w *World) Scenario() *Scenario { return w.scenario }

// Spots are all, by node and flavor, as they are now.
func (w *World) Spots() []Spot { return w.spots }

// SpotsOf returns from which spot to before which one the node's are.
func (w *World) SpotsOf(node int32) (from, end int32) { return w.nodes[node].first, w.nodes[node].end }

// Flavors are the names of all flavors.
func (w *World) Flavors() []string { return w.flavors }

// Flavor returns the number of a flavor.
func (w *World) Flavor(name string) (int32, bool) {
	i, ok := slices.BinarySearch(w.flavors, name)
	return int32(i), ok
}

// Services are all, in the scenario's order.
func (w *World) Services() []*ServiceState { return w.services }

// Waiting are the jobs that wait, in the order in which they first arrived.
func (w *World) Waiting() []*JobState { return w.waiting }

// Running are the jobs that hold units, in the order in which they first arrived.
func (w *World) Running() []*JobState { return w.running }

// Job returns the live job of that name.
func (w *World) Job(name string) (*JobState, bool) {
	j, ok := w.byName[name]
	return j, ok
}

// FreeUnits is how many units of a flavor are free, on all nodes. Slices that are kept for
// online pods are among them.
func (w *World) FreeUnits(flavor int32) int64 { return w.rooms.free[flavor] }

// Fullest is the spot of a flavor with the fewest free units among those that have at least
// so many, the first of several.
func (w *World) Fullest(flavor int32, units int64) (spot int32, ok bool) {
	return w.rooms.any(flavor, max(units, 1))
}

func newWorld(s *Scenario) *World {
	w := &World{scenario: s, byName: map[string]*JobState{}, known: newKnown(s), random: NewDraws(s.Seed)}
	for name := range w.known.flavors {
		w.flavors = append(w.flavors, name)
	}
	slices.Sort(w.flavors)
	homes := map[string]int32{"": Nobody}
	for i := range s.Services {
		homes[s.Services[i].Lender.Name] = int32(i)
		flavor, _ := w.Flavor(s.Services[i].Lender.Flavor)
		w.services = append(w.services, newService(w, int32(i), flavor))
	}
	w.boards = boardsOf(s)
	for i := range s.Nodes {
		w.addNode(int32(i), homes[s.Nodes[i].Home])
	}
	for _, v := range w.services {
		v.on = make([]int64, len(w.spots))
	}
	w.rooms = newRooms(w)
	for i := range w.nodes {
		w.addCards(int32(i))
	}
	return w
}

// addNode lists what a node has, or can have, of each flavor.
func (w *World) addNode(i, home int32) {
	n := &w.scenario.Nodes[i]
	units := slices.Clone(n.Units)
	for k := range w.scenario.Flavors {
		f := &w.scenario.Flavors[k]
		if slices.ContainsFunc(n.Cards, func(c Card) bool { _, ok := profileOf(boardOf(w.boards, c.Board), f); return ok }) {
			units = append(units, NodeUnits{Flavor: f.Name, Count: -1})
		}
	}
	slices.SortFunc(units, func(a, b NodeUnits) int { return cmp.Compare(a.Flavor, b.Flavor) })
	node := nodeState{first: int32(len(w.spots)), home: home}
	for _, u := range units {
		flavor, _ := w.Flavor(u.Flavor)
		w.spots = append(w.spots, Spot{Node: i, Flavor: flavor, Capacity: max(u.Count, 0), Home: home, Cut: u.Count < 0})
	}
	node.end = int32(len(w.spots))
	w.nodes = append(w.nodes, node)
}

// addCards cuts a node's cards as they are at the beginning.
func (w *World) addCards(i int32) {
	n := &w.scenario.Nodes[i]
	for k := range n.Cards {
		card := &CardState{Card: &n.Cards[k], Node: i, geometry: boardOf(w.boards, n.Cards[k].Board)}
		w.nodes[i].cards = append(w.nodes[i].cards, card)
		for _, s := range card.Slices {
			w.cut(card, []mig.Placed{s.Placed}, w.spotOfProfile(card, s.Profile), nil)
		}
		for at, s := range card.Slices {
			card.slices[at].pinned = s.Pinned
		}
	}
	w.count(i)
}

// insertJob puts a job into a list by Order.
func insertJob(list []*JobState, j *JobState) []*JobState {
	i, _ := slices.BinarySearchFunc(list, j.Order, byOrder)
	return slices.Insert(list, i, j)
}

func removeJob(list []*JobState, j *JobState) []*JobState {
	i, ok := slices.BinarySearchFunc(list, j.Order, byOrder)
	if !ok {
		return list
	}
	return slices.Delete(list, i, i+1)
}

func byOrder(j *JobState, order int64) int { return cmp.Compare(j.Order, order) }
