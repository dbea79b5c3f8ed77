package baseline

import (
	"slices"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// refuge is what could be had without stopping anybody, by spot: what is free, what comes
// free, and the extra workers.
type refuge struct {
	desk    *desk
	jobs    []*sim.JobState // elastic
	extra   []int64         // by job: pods it can give up
	free    []int64         // by spot
	coming  []int64         // by spot
	movable [][]int         // by spot: indexes of jobs with pods there
	units   []int64         // by flavor: no more than that
	failed  []failure
}

// failure is a job that found no room: nor does one of as many pods as large.
type failure struct {
	flavor     int32
	pods, size int64
}

// newRefuge looks at a ground. extra is how many pods each of the elastic jobs can give up.
// What a service has replicas on is left to it.
func newRefuge(d *desk, where ground, jobs []*sim.JobState, extra []int64) *refuge {
	spots := d.world.Spots()
	open := func(i int32) bool {
		return d.owner[i] == sim.Nobody || where == anywhere && spots[i].Online == 0
	}
	r := &refuge{
		desk: d, jobs: jobs, extra: extra,
		free: make([]int64, len(spots)), coming: make([]int64, len(spots)),
		movable: make([][]int, len(spots)), units: make([]int64, len(d.flavors)),
	}
	for i := range spots {
		if open(int32(i)) {
			r.free[i], r.coming[i] = d.holes.free[i], d.coming[i]
			r.units[spots[i].Flavor] += r.free[i] + r.coming[i]
		}
	}
	for k, j := range jobs {
		flavor, _ := d.world.Flavor(j.Flavor)
		here := int64(0)
		for _, p := range j.Places {
			if open(p.Spot) {
				r.movable[p.Spot] = append(r.movable[p.Spot], k)
				here += p.Pods
			}
		}
		r.units[flavor] += min(extra[k], here) * j.UnitsPerPod
	}
	return r
}

// settle finds a spot for each pod of a job that waits, where the fewest units must be
// given up for it. If there is one for all, those that hold them are asked to, and the rest
// is kept from others.
func (r *refuge) settle(j *sim.JobState, pods int64, flavor int32) bool {
	if r.hopeless(flavor, pods, j.UnitsPerPod) {
		return false
	}
	p := &settling{refuge: r, size: j.UnitsPerPod, late: slices.Clone(r.coming), left: slices.Clone(r.free), spare: slices.Clone(r.extra)}
	for range pods {
		spot, lacks := p.best(r.desk.flavors[flavor])
		if spot < 0 {
			r.failed = append(r.failed, failure{flavor, pods, j.UnitsPerPod})
			return false
		}
		p.take(spot, lacks)
	}
	p.keep(flavor)
	return true
}

// hopeless: there is no room for so many pods of a size, as far as that is known.
func (r *refuge) hopeless(flavor int32, pods, size int64) bool {
	return pods*size > r.units[flavor] || slices.ContainsFunc(r.failed, func(f failure) bool {
		return f.flavor == flavor && f.pods <= pods && f.size <= size
	})
}

// settling is a plan of where a job will start.
type settling struct {
	*refuge
	size       int64   // of a pod
	late, left []int64 // of coming and free, as planned
	spare      []int64 // of extra, as planned
	sheds      []shedding
}

// shedding is one pod that an elastic job gives up.
type shedding struct {
	job  int
	spot int32
}

// best is the spot on which a pod lacks the fewest units and leaves the fewest.
func (p *settling) best(spots []int32) (best int32, lacks int64) {
	best = -1
	left := int64(0)
	for _, i := range spots {
		have := p.late[i] + p.left[i]
		short := max(p.size-have, 0)
		if have == 0 && len(p.movable[i]) == 0 || short > p.shedable(i) {
			continue
		}
		if best < 0 || short < lacks || short == lacks && have < left {
			best, lacks, left = i, short, have
		}
	}
	return best, lacks
}

// shedable is how many more units elastic jobs can give up on a spot.
func (p *settling) shedable(spot int32) (units int64) {
	for _, k := range p.movable[spot] {
		units += min(p.spare[k], p.on(k, spot)) * p.jobs[k].UnitsPerPod
	}
	return units
}

// on is how many pods a job has on a spot that nobody plans to take.
func (p *settling) on(k int, spot int32) (pods int64) {
	j := p.jobs[k]
	for _, at := range j.Places {
		if at.Spot == spot {
			pods += at.Pods
		}
	}
	for _, at := range j.Going {
		if at.Spot == spot {
			pods -= at.Pods
		}
	}
	for _, s := range p.sheds {
		if s.job == k && s.spot == spot {
			pods--
		}
	}
	return pods
}

// take plans a pod on a spot. Those give up pods first that have the most to spare: the
// last worker of many shortens a job least.
func (p *settling) take(spot int32, lacks int64) {
	for lacks > 0 {
		most := -1
		for _, k := range p.movable[spot] {
			if p.spare[k] > 0 && p.on(k, spot) > 0 && (most < 0 || p.spare[k] > p.spare[most]) {
				most = k
			}
		}
		p.spare[most]--
		p.sheds = append(p.sheds, shedding{most, spot})
		p.late[spot] += p.jobs[most].UnitsPerPod
		lacks -= p.jobs[most].UnitsPerPod
	}
	late := min(p.late[spot], p.size)
	p.late[spot] -= late
	p.left[spot] -= p.size - late
}

// keep does what was planned.
func (p *settling) keep(flavor int32) {
	d := p.desk
	for i, n := range p.left {
		if used := p.free[i] - n; used > 0 {
			d.holes.shrink(flavor, int32(i), used)
			p.units[flavor] -= used
		}
	}
	for k, j := range p.jobs {
		var places []sim.Place
		for _, s := range p.sheds {
			if s.job == k {
				places = append(places, sim.Place{Spot: s.spot, Lender: d.owner[s.spot], Pods: 1})
			}
		}
		if places != nil {
			d.shed(j, places, j.Exit)
		}
	}
	p.refuge.coming, p.refuge.free, p.refuge.extra = p.late, p.left, p.spare
}
