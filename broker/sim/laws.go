package sim

import (
	"fmt"
	"slices"
)

// law is something that is true of every world between two moments.
type law struct {
	name  string
	holds func(w *World) error
}

// laws in the order in which they are looked at. Each counts anew, from the jobs and
// services, what the world keeps count of.
var laws = []law{
	{"what is held fits", lawFits},
	{"every unit is in one hand", lawHands},
	{"every unit is somewhere", lawUnits},
	{"nobody is on a node that is down", lawDown},
	{"every job is in one place", lawLists},
	{"a job holds what it says", lawJobs},
	{"services hold what they say", lawServices},
	{"what is lent is lent by somebody", lawLent},
	{"the bill is for what is held", lawMeter},
	{"spots are found by what is free", lawRooms},
	{"cards are cut as their boards allow", lawLayouts},
	{"every slice is in one hand", lawSlices},
	{"the agenda forgets", lawAgenda},
}

// CheckLaws says which law of the world is broken, and how. It is for tests and for runs
// with Scenario.Check: no law is ever broken by what a policy does.
func (w *World) CheckLaws() error {
	for _, l := range laws {
		if err := l.holds(w); err != nil {
			return fmt.Errorf("law %q: %w", l.name, err)
		}
	}
	return nil
}

func (w *World) check() {
	if !w.scenario.Check || w.err != nil {
		return
	}
	if err := w.CheckLaws(); err != nil {
		w.fail("%w", err)
	}
}

func lawFits(w *World) error {
	for i := range w.spots {
		s := &w.spots[i]
		if s.Leaving < 0 || s.Leaving > s.Online || s.Training < 0 || s.Online+s.Training > s.Capacity {
			return fmt.Errorf("%s: online %d, of which leaving %d, and training %d of %d", w.spot(i), s.Online, s.Leaving, s.Training, s.Capacity)
		}
	}
	return nil
}

// spot names one, for errors.
func (w *World) spot(i int) string {
	s := &w.spots[i]
	return w.scenario.Nodes[s.Node].Name + " " + w.flavors[s.Flavor]
}

func lawHands(w *World) error {
	training, online := make([]int64, len(w.spots)), make([]int64, len(w.spots))
	for _, j := range w.running {
		for _, p := range j.Places {
			training[p.Spot] += p.Pods * j.UnitsPerPod
		}
	}
	for _, s := range w.services {
		for _, spot := range s.spots {
			online[spot] += s.on[spot] * s.Lender.UnitsPerPod
		}
	}
	for i := range w.spots {
		if s := &w.spots[i]; s.Training != training[i] || s.Online-s.Leaving != online[i] {
			return fmt.Errorf("%s: training %d, but jobs hold %d; online %d without those leaving, but replicas hold %d",
				w.spot(i), s.Training, training[i], s.Online-s.Leaving, online[i])
		}
	}
	return nil
}

// lawUnits: own + lent + free + online + down = capacity, for each flavor. What was made of
// others is no flavor's capacity; what others were made of still is.
func lawUnits(w *World) error {
	type sum struct{ own, lent, made, free, online, down, capacity int64 }
	sums := make([]sum, len(w.flavors))
	w.capacities(func(flavor int32, units int64) { sums[flavor].capacity += units })
	for i := range w.spots {
		s := &w.spots[i]
		of := &sums[s.Flavor]
		of.free += s.Free()
		of.online += s.Online
		if s.Down {
			of.down += s.Capacity - s.Made
		}
	}
	for _, j := range w.running {
		for _, p := range j.Places {
			of, units := &sums[w.spots[p.Spot].Flavor], p.Pods*j.UnitsPerPod
			switch {
			case p.Lender == Nobody:
				of.own += units
			case !w.madeFor(p):
				of.lent += units
			}
		}
	}
	for _, n := range w.nodes {
		for _, card := range n.cards {
			if card.change != nil {
				sums[w.spots[card.change.from].Flavor].made += card.change.Count
			}
		}
	}
	for f, s := range sums {
		if s.own+s.lent+s.made+s.free+s.online+s.down != s.capacity {
			return fmt.Errorf("%s: own %d + lent %d + made into others %d + free %d + online %d + down %d is not the capacity, %d",
				w.flavors[f], s.own, s.lent, s.made, s.free, s.online, s.down, s.capacity)
		}
		if s.free != w.rooms.free[f] {
			return fmt.Errorf("%s: %d units are free, not %d", w.flavors[f], s.free, w.rooms.free[f])
		}
	}
	return nil
}

// capacities tells what the scenario has of each flavor.
func (w *World) capacities(tell func(flavor int32, units int64)) {
	for i, n := range w.scenario.Nodes {
		for _, u := range n.Units {
			f, _ := w.Flavor(u.Flavor)
			tell(f, u.Count)
		}
		for _, card := range w.nodes[i].cards {
			for _, s := range card.Slices {
				tell(w.spots[w.spotOfProfile(card, s.Profile)].Flavor, 1)
			}
		}
	}
}

func lawDown(w *World) error {
	for i := range w.spots {
		s := &w.spots[i]
		if s.Down != w.nodes[s.Node].down {
			return fmt.Errorf("%s: down is %t, but of its node %t", w.spot(i), s.Down, w.nodes[s.Node].down)
		}
		if s.Down && s.Online+s.Training > 0 {
			return fmt.Errorf("%s: is down, and %d units are online and %d training", w.spot(i), s.Online, s.Training)
		}
	}
	return nil
}

func lawLists(w *World) error {
	var counted int64
	seen := map[string]bool{}
	for _, list := range [][]*JobState{w.waiting, w.running} {
		if !slices.IsSortedFunc(list, func(a, b *JobState) int { return byOrder(a, b.Order) }) {
			return fmt.Errorf("jobs are not in the order in which they arrived")
		}
		for _, j := range list {
			if seen[j.Name] {
				return fmt.Errorf("job %s: is listed twice", j.Name)
			}
			seen[j.Name] = true
			if w.byName[j.Name] != j {
				return fmt.Errorf("job %s: is not known by its name", j.Name)
			}
			if j.count {
				counted++
			}
		}
	}
	if len(w.byName) != len(seen) || counted != w.counted {
		return fmt.Errorf("%d jobs are listed, but %d are known; %d count, not %d", len(seen), len(w.byName), counted, w.counted)
	}
	return nil
}

func lawLent(w *World) error {
	lent := make([]int64, len(w.services))
	for _, j := range w.running {
		for _, p := range j.Places {
			if p.Lender != Nobody && !w.madeFor(p) {
				lent[p.Lender] += p.Pods * j.UnitsPerPod
			}
		}
	}
	for _, n := range w.nodes {
		for _, card := range n.cards {
			if card.change != nil {
				lent[card.change.lender] += card.change.Count
			}
		}
	}
	for i, s := range w.services {
		if s.Lent != lent[i] {
			return fmt.Errorf("service %s: lends %d, but jobs hold %d of it, or what was made of it", s.Lender.Name, s.Lent, lent[i])
		}
	}
	return nil
}

func lawMeter(w *World) error {
	var online, own, lent, leaving int64
	for i := range w.spots {
		online += w.spots[i].Online * w.weights[w.spots[i].Flavor]
	}
	for _, j := range w.running {
		flavor, _ := w.Flavor(j.Flavor)
		size := j.UnitsPerPod * w.weights[flavor]
		for _, p := range j.Places {
			if p.Lender == Nobody {
				own += p.Pods * size
			} else {
				lent += p.Pods * size
			}
		}
		leaving += (podsOf(j.Places) - j.At) * size
	}
	m := &w.meter
	if m.online != online || m.own != own || m.lent != lent || m.leaving != leaving {
		return fmt.Errorf("online %d, own %d, lent %d, leaving %d, but it says %d, %d, %d, %d", online, own, lent, leaving, m.online, m.own, m.lent, m.leaving)
	}
	return nil
}

func lawRooms(w *World) error {
	for i := range w.spots {
		s := &w.spots[i]
		group := w.rooms.groups[w.rooms.group(s)]
		if free := s.Free(); w.rooms.listed[i] != free || !group[free].has(int32(i)) {
			return fmt.Errorf("%s: has %d free units, but is listed with %d", w.spot(i), free, w.rooms.listed[i])
		}
	}
	return nil
}

// lawAgenda: it is no longer than what there is to do, twice, and a few.
func lawAgenda(w *World) error {
	stale := 0
	for i := range w.agenda.events {
		if w.agenda.events[i].stale() {
			stale++
		}
	}
	if n := len(w.agenda.events); stale != w.agenda.overdue || stale > few && 2*stale > n {
		return fmt.Errorf("of %d events %d are stale, and it says %d", n, stale, w.agenda.overdue)
	}
	return nil
}
