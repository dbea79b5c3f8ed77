package baseline

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// heat is when jobs on a spot had to stop, within a day.
type heat []time.Duration

func (h *heat) add(now time.Duration) {
	*h = append(slices.DeleteFunc(*h, func(at time.Duration) bool { return at <= now-24*time.Hour }), now)
}

// score of a spot, the higher the cooler (GFS, section 3).
func (h heat) score(now time.Duration) float64 {
	hour, day := 0, 0
	for _, at := range h {
		if at > now-24*time.Hour {
			day++
		}
		if at > now-time.Hour {
			hour++
		}
	}
	return 10000 * (1 - 0.01*math.Pow(2, 0.8*float64(hour)+0.2*float64(day)))
}

// admit starts jobs in the order of their arrival, those behind one that does not fit as
// well: on what is nobody's, and within the quota on the coolest of what is a service's.
func (g *gfs) admit(w *sim.World) {
	rooms := make([]int64, len(g.pools))
	for i := range g.pools {
		rooms[i] = g.pools[i].quota
		for _, s := range g.pools[i].services {
			rooms[i] -= s.Lent
		}
	}
	waiting := slices.Clone(w.Waiting())
	for _, j := range waiting[:min(len(waiting), lookahead)] {
		if g.desk.holes.left == 0 {
			return
		}
		if flavor, ok := w.Flavor(j.Flavor); ok {
			rooms[flavor] -= g.start(j, flavor, rooms[flavor])
		}
	}
}

// start starts a job, if it fits, with no more than so many units of services'. It returns
// how many of these it has.
func (g *gfs) start(j *sim.JobState, flavor int32, room int64) (lent int64) {
	h := &g.desk.holes
	if h.largest(flavor, anywhere) < j.UnitsPerPod {
		return 0
	}
	own := min(h.slots(flavor, j.UnitsPerPod, pool), j.Pods)
	rest := j.Pods - own
	if lent = rest * j.UnitsPerPod; lent > 0 && (lent > room || h.slots(flavor, j.UnitsPerPod, loaned) < rest) {
		return 0
	}
	places, _ := h.take(flavor, own, j.UnitsPerPod, pool)
	for rest > 0 {
		p := g.coolest(flavor, rest, j.UnitsPerPod)
		h.shrink(flavor, p.Spot, p.Pods*j.UnitsPerPod)
		places = append(places, p)
		rest -= p.Pods
	}
	g.desk.world.Start(j, places)
	return lent
}

// coolest is where the next pods of a gang go: among the coolest spots that have room for
// one to the fullest that has room for all, else to where most of them have.
func (g *gfs) coolest(flavor int32, pods, per int64) sim.Place {
	d, now := &g.desk, g.desk.world.Now()
	best, cool, fit := int32(-1), 0.0, int64(0)
	for _, i := range g.pools[flavor].spots {
		n := min(d.holes.free[i]/per, pods)
		if n == 0 {
			continue
		}
		score := g.heat[i].score(now)
		if best < 0 || cmp.Or(cmp.Compare(score, cool), cmp.Compare(n, fit), cmp.Compare(d.holes.free[best], d.holes.free[i])) > 0 {
			best, cool, fit = i, score, n
		}
	}
	return sim.Place{Spot: best, Lender: d.owner[best], Pods: fit}
}
