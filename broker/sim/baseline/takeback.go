package baseline

import (
	"fmt"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// chooser says which candidates stop, or shrink, so that what is owed fits the rooms; ok
// is false if it finds no way. What is owed is equal pods of one service.
type chooser func(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) (victims []lend.Victim, ok bool)

// byRule chooses by one of the rules that package lend knows.
func byRule(rule lend.VictimRule) chooser {
	return func(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
		c, ok, err := lend.ChooseBy(rule, rooms, []lend.Owed{owed}, candidates)
		return c.Victims, ok && err == nil
	}
}

// byLeastLoss chooses as the product does.
func byLeastLoss(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
	c, ok := lend.Choose(rooms, []lend.Owed{owed}, candidates)
	return c.Victims, ok
}

// taker takes units back for a service.
type taker struct {
	choose chooser
	// redraws gives candidates other names at each choice, for rules that go by them.
	redraws bool
	// ownGrace gives jobs their own grace, not only what the service allows.
	ownGrace bool
}

// back makes room for more replicas of a service on a ground, as many as can be: jobs that
// hold units there are asked to stop or to shrink.
func (t *taker) back(d *desk, s *sim.ServiceState, replicas int64, where ground) {
	claim := d.claim(s, where)
	jobs := borrowers(d, s, where)
	owed := lend.Owed{Lender: s.Lender.Name, Flavor: s.Lender.Flavor, UnitsPerPod: s.Lender.UnitsPerPod}
	owed.Pods = min(replicas, gain(d, s, claim, jobs))
	if owed.Pods == 0 {
		return
	}
	rooms := make([]lend.Room, 0, len(claim))
	for _, spot := range claim {
		if !d.world.Spots()[spot].Down {
			rooms = append(rooms, lend.Room{Node: d.node(spot), Flavor: owed.Flavor, Free: d.holes.free[spot] + d.coming[spot]})
		}
	}
	candidates := make([]lend.Candidate, len(jobs))
	for i, j := range jobs {
		candidates[i] = candidate(d, j)
		if t.redraws {
			candidates[i].Name = fmt.Sprintf("%s at %s", j.Name, d.world.Now())
		}
	}
	victims, _ := t.choose(rooms, owed, candidates)
	for _, v := range victims {
		j := jobs[v.Index]
		grace := s.Lender.MaxGrace
		if t.ownGrace {
			grace = j.Grace
		}
		if v.Shed == nil {
			d.stop(j, grace)
		} else {
			d.shed(j, d.places(j, v.Shed), grace)
		}
	}
}

// borrowers are the running jobs that hold units of the service's flavor on a ground.
func borrowers(d *desk, s *sim.ServiceState, where ground) (jobs []*sim.JobState) {
	for _, j := range d.world.Running() {
		if j.Phase != sim.Running || j.Flavor != s.Lender.Flavor {
			continue
		}
		for _, p := range j.Places {
			if where.has(p.Lender) {
				jobs = append(jobs, j)
				break
			}
		}
	}
	return jobs
}

// gain is for how many more replicas there would be room if all of the jobs stopped.
func gain(d *desk, s *sim.ServiceState, claim []int32, jobs []*sim.JobState) (replicas int64) {
	held := make([]int64, len(d.owner))
	for _, j := range jobs {
		for _, p := range j.Places {
			held[p.Spot] += p.Pods * j.UnitsPerPod
		}
		for _, p := range j.Going {
			held[p.Spot] -= p.Pods * j.UnitsPerPod
		}
	}
	for _, spot := range claim {
		now := d.holes.free[spot] + d.coming[spot]
		replicas += (now+held[spot])/s.Lender.UnitsPerPod - now/s.Lender.UnitsPerPod
	}
	return replicas
}

// candidate is a running job as package lend sees it: what it holds and is not giving up
// already.
func candidate(d *desk, j *sim.JobState) lend.Candidate {
	c := lend.Candidate{
		Name: j.Name, LostWork: j.AtRisk(d.world.Now()), Priority: j.Priority,
		Since: d.world.Scenario().Start.Add(j.Since),
		Pods:  j.At, MinPods: j.MinPods, UnitsPerPod: j.UnitsPerPod,
		ShedCost: j.Reshape.Seconds() * float64(j.UnitsPerPod),
	}
	for _, p := range j.Places {
		pods := p.Pods
		for _, g := range j.Going {
			if g.Spot == p.Spot && g.Lender == p.Lender {
				pods -= g.Pods
			}
		}
		if pods == 0 {
			continue
		}
		g := lend.Grant{Node: d.node(p.Spot), Flavor: j.Flavor, Count: pods * j.UnitsPerPod}
		if p.Lender != sim.Nobody {
			g.Lender = d.world.Services()[p.Lender].Lender.Name
		}
		c.Grants = append(c.Grants, g)
	}
	return c
}

// node is the name of a spot's node.
func (d *desk) node(spot int32) string {
	return d.world.Scenario().Nodes[d.world.Spots()[spot].Node].Name
}

// places are where a job holds what it is to give up.
func (d *desk) places(j *sim.JobState, grants []lend.Grant) (places []sim.Place) {
	for _, g := range grants {
		for _, p := range j.Places {
			if d.node(p.Spot) == g.Node {
				places = append(places, sim.Place{Spot: p.Spot, Lender: p.Lender, Pods: g.Count / j.UnitsPerPod})
				break
			}
		}
	}
	return places
}
