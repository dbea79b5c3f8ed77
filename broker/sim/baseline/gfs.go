package baseline

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// gfs is the scheduler of GFS (ASPLOS 2026; arXiv 2509.11134): jobs have units of services
// within a quota that a forecast of the services' demand leaves, by a feedback on how many
// had to give theirs up within the hour; who must is chosen by a score, and nodes where
// that happened lately are avoided. Services' units are one pool for each flavor.
type gfs struct {
	desk    desk
	takes   taker
	demands []*demand // by service
	pools   []gfsPool // by flavor
	heat    []heat    // by spot
	seen    glance
	due     time.Duration
	// past is what the forecast is made of before the run has a past of its own.
	past Past
}

// gfsPool is what services own of one flavor.
type gfsPool struct {
	services []*sim.ServiceState
	spots    []int32
	feedback feedback
	// quota is how many of its units jobs may have.
	quota int64
}

func newGFS(past Past) (sim.Policy, error) {
	g := &gfs{past: past}
	g.takes.choose = g.choose
	return g, nil
}

// Name implements [sim.Policy].
func (*gfs) Name() string { return "gfs" }

// Decide implements [sim.Policy].
func (g *gfs) Decide(w *sim.World) (again time.Duration) {
	if g.desk.open(w) {
		g.begin(w)
	}
	if w.Now() >= g.due {
		g.due = w.Now() + gfsEvery
		g.look(w)
		g.seen = glance{}
	}
	for _, s := range w.Services() {
		g.serve(s)
	}
	if g.seen.differs(&g.desk) {
		g.admit(w)
		g.seen.keep(&g.desk)
	}
	return g.due - w.Now()
}

func (g *gfs) begin(w *sim.World) {
	g.seen, g.due = glance{}, 0
	g.heat = make([]heat, len(w.Spots()))
	g.demands = make([]*demand, len(w.Services()))
	g.pools = make([]gfsPool, len(w.Flavors()))
	for i := range g.pools {
		g.pools[i].feedback = newFeedback()
	}
	for i, s := range w.Services() {
		g.demands[i] = &demand{}
		p := &g.pools[s.FlavorID]
		p.services = append(p.services, s)
		p.spots = append(p.spots, g.desk.spots[i]...)
	}
	g.learn(w)
}

// learn notes what services wanted in the past; without one, the run's own has to do.
func (g *gfs) learn(w *sim.World) {
	curves, err := wanted(g.past)
	if err != nil {
		g.past = Past{}
		return
	}
	for k, v := range g.past.Services {
		i := slices.IndexFunc(w.Services(), func(s *sim.ServiceState) bool { return s.Lender.Name == v.Lender.Name })
		for at := g.past.From; i >= 0 && at < g.past.Until; at += gfsEvery {
			g.demands[i].note(w.Scenario().Start.Add(at), curves[k].At(at)*float64(v.Lender.UnitsPerPod))
		}
	}
}

// look notes what services want, hears how guarantees went and makes the quotas anew.
func (g *gfs) look(w *sim.World) {
	for i, s := range w.Services() {
		if w.Now() >= g.past.Until {
			g.demands[i].note(w.Time(), float64(s.Desired*s.Lender.UnitsPerPod))
		}
	}
	kept := g.runs(w)
	waits := time.Duration(0)
	if line := w.Waiting(); len(line) > 0 {
		waits = w.Now() - line[0].Queued
	}
	for i := range g.pools {
		p := &g.pools[i]
		if w.Now() > 0 {
			p.feedback.count(kept[i]*gfsEvery.Hours()/gfsGuarantee.Hours(), 0)
			p.feedback.review(w.Now(), waits)
		}
		p.quota = g.quota(w, p)
	}
}

// runs is how many jobs have units of services, by flavor.
func (g *gfs) runs(w *sim.World) []float64 {
	n := make([]float64, len(g.pools))
	for _, j := range w.Running() {
		if flavor, ok := w.Flavor(j.Flavor); ok && j.Phase == sim.Running && onLoan(j) {
			n[flavor]++
		}
	}
	return n
}

func onLoan(j *sim.JobState) bool {
	for _, p := range j.Places {
		if p.Lender != sim.Nobody {
			return true
		}
	}
	return false
}

// quota is what the services' demand leaves for as long as a guarantee lasts, by eta: now
// as it is, and then as it is expected.
func (g *gfs) quota(w *sim.World, p *gfsPool) int64 {
	capacity, held := int64(0), int64(0)
	for _, i := range p.spots {
		if spot := &w.Spots()[i]; !spot.Down {
			capacity += spot.Capacity
		}
	}
	var demands []*demand
	for _, s := range p.services {
		held += s.Desired * s.Lender.UnitsPerPod
		demands = append(demands, g.demands[s.Index])
	}
	free := capacity - held
	for at := time.Duration(0); at <= gfsGuarantee; at += time.Hour {
		free = min(free, capacity-atMost(demands, w.Time().Add(at), gfsP))
	}
	return int64(p.feedback.eta * float64(max(free, 0)))
}

// serve makes room for a service's replicas that wait.
func (g *gfs) serve(s *sim.ServiceState) {
	d, own := &g.desk, ground(s.Index)
	lacking := d.reserve(s, int64(len(s.Pending)), own)
	if lacking == 0 {
		return
	}
	before := len(d.going)
	g.takes.back(d, s, lacking, own)
	for _, j := range d.going[before:] {
		if onLoan(j) {
			g.pools[s.FlavorID].feedback.count(0, 1)
		}
		for _, p := range j.Places {
			g.heat[p.Spot].add(d.world.Now())
		}
	}
	d.reserve(s, lacking, own)
}

// choose is the published score. What it spares is what it spares itself: those that ran
// for the most unit-seconds.
func (g *gfs) choose(rooms []lend.Room, owed lend.Owed, candidates []lend.Candidate) ([]lend.Victim, bool) {
	now := g.desk.world.Time()
	for i := range candidates {
		c := &candidates[i]
		units := int64(0)
		for _, h := range c.Grants {
			units += h.Count
		}
		c.LostWork, c.MinPods = float64(units)*now.Sub(c.Since).Seconds(), 0
	}
	// The score measures runs until the newest one began: one that holds nothing begins now.
	return byRule(lend.GFSScore)(rooms, owed, append(candidates, lend.Candidate{Since: now}))
}
