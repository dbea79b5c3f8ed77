package baseline

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// desk is what a policy has before it while it decides: whose each spot is, what jobs may
// take of it, and what comes free on it.
type desk struct {
	world *sim.World
	owner []int32
	// spots that each service owns, and flavors' spots.
	spots, flavors [][]int32
	holes          holes
	// coming is held, by spot, by replicas and pods that are going; going are the jobs.
	coming []int64
	going  []*sim.JobState
}

// open looks at the world anew; fresh is true if it is another one than before.
func (d *desk) open(w *sim.World) (fresh bool) {
	if fresh = d.world != w; fresh {
		*d = desk{
			world: w, owner: owners(w), coming: make([]int64, len(w.Spots())),
			spots: make([][]int32, len(w.Services())), flavors: make([][]int32, len(w.Flavors())),
		}
		for i, o := range d.owner {
			f := w.Spots()[i].Flavor
			if d.flavors[f] = append(d.flavors[f], int32(i)); o != sim.Nobody {
				d.spots[o] = append(d.spots[o], int32(i))
			}
		}
	}
	spots := w.Spots()
	d.holes.reset(w, d.owner, func(i int32) int64 { return spots[i].Lendable() })
	for i := range spots {
		d.coming[i] = spots[i].Leaving
	}
	d.going = slices.DeleteFunc(d.going, func(j *sim.JobState) bool {
		return j.Phase != sim.Stopping && (j.Phase != sim.Running || len(j.Going) == 0)
	})
	for _, j := range d.going {
		if j.Phase == sim.Stopping {
			d.expect(j, j.Places, 1)
		} else {
			d.expect(j, j.Going, 1)
		}
	}
	return fresh
}

// expect counts a job's places as coming free, or no longer (-1).
func (d *desk) expect(j *sim.JobState, places []sim.Place, sign int64) {
	for _, p := range places {
		d.coming[p.Spot] += sign * p.Pods * j.UnitsPerPod
	}
}

// stop asks a running job for all it holds.
func (d *desk) stop(j *sim.JobState, grace time.Duration) {
	d.expect(j, j.Places, 1)
	d.expect(j, j.Going, -1)
	d.await(j)
	d.world.Stop(j, grace)
}

// shed asks a running elastic job for some of its pods.
func (d *desk) shed(j *sim.JobState, places []sim.Place, grace time.Duration) {
	d.expect(j, places, 1)
	d.await(j)
	d.world.Shed(j, places, grace)
}

func (d *desk) await(j *sim.JobState) {
	if !slices.Contains(d.going, j) {
		d.going = append(d.going, j)
	}
}

// shrinking: a job is giving up pods, and goes on.
func (d *desk) shrinking() bool {
	return slices.ContainsFunc(d.going, func(j *sim.JobState) bool { return j.Phase == sim.Running })
}

// reserve keeps room for more replicas of a service: free units first, where its replicas
// will be placed, and then what comes free. No job can take it in this decision. It
// returns for how many there is no room.
func (d *desk) reserve(s *sim.ServiceState, replicas int64, where ground) (lacking int64) {
	units := s.Lender.UnitsPerPod
	for replicas > 0 && d.holes.largest(s.FlavorID, where) >= units {
		spot := d.holes.fullest(s.FlavorID, units, where)
		n := min(d.holes.free[spot]/units, replicas)
		d.holes.shrink(s.FlavorID, spot, n*units)
		replicas -= n
	}
	if replicas <= 0 {
		return 0
	}
	for _, spot := range d.claim(s, where) {
		for replicas > 0 && d.coming[spot] > 0 && d.coming[spot]+d.holes.free[spot] >= units {
			late := min(d.coming[spot], units)
			d.coming[spot] -= late
			if late < units {
				d.holes.shrink(s.FlavorID, spot, units-late)
			}
			replicas--
		}
	}
	return replicas
}

// pinned is how many more replicas fit where no job can be: on slices that are kept for
// them.
func (d *desk) pinned(s *sim.ServiceState, where ground) (replicas int64) {
	if len(d.world.Boards()) == 0 {
		return 0
	}
	for _, i := range d.claim(s, where) {
		if spot := &d.world.Spots()[i]; spot.Cut {
			replicas += (spot.Free() - spot.Lendable()) / s.Lender.UnitsPerPod
		}
	}
	return replicas
}

// claim are the spots of the service's flavor on a ground.
func (d *desk) claim(s *sim.ServiceState, where ground) []int32 {
	switch where {
	case ground(s.Index):
		return d.spots[s.Index]
	case anywhere:
		return d.flavors[s.FlavorID]
	}
	return slices.DeleteFunc(slices.Clone(d.flavors[s.FlavorID]), func(spot int32) bool { return !where.has(d.owner[spot]) })
}

// away is how many units a service's replicas hold of what it does not own: after a node's
// failure, or where they found their own lent.
func (d *desk) away(s *sim.ServiceState) (units int64) {
	for _, spot := range s.Spots() {
		if d.owner[spot] != s.Index {
			units += s.On(spot) * s.Lender.UnitsPerPod
		}
	}
	return units
}

// limit leaves jobs no more than so many units of a service's, the fullest spots' first.
func (d *desk) limit(s *sim.ServiceState, units int64) {
	where := ground(s.Index)
	for over := d.holes.total(s.FlavorID, where) - max(units, 0); over > 0; {
		n := d.holes.largest(s.FlavorID, where)
		spot := d.holes.fullest(s.FlavorID, n, where)
		d.holes.shrink(s.FlavorID, spot, min(n, over))
		over -= min(n, over)
	}
}
