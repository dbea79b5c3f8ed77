package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// deepBoot is the scheduler of DeepBoot (IEEE TPDS 34(9), 2023): a unit is lent when it was
// idle for its protect window, units are divided among jobs by a knapsack on their
// speed-ups, and the spots with the fewest units in training go back first.
type deepBoot struct {
	desk    desk
	shields []shield // by spot
	seen    glance
	// settled are the jobs, by Order, for which others give up pods now.
	settled map[int64]bool
}

func newDeepBoot(Past) (sim.Policy, error) { return &deepBoot{}, nil }

// deepBootWaiting is among how many jobs that wait, the first that have room at all, units
// are divided at once.
const deepBootWaiting = 100

// Name implements [sim.Policy].
func (*deepBoot) Name() string { return "deepboot" }

// Decide implements [sim.Policy].
func (b *deepBoot) Decide(w *sim.World) (again time.Duration) {
	if b.desk.open(w) {
		b.shields, b.seen = make([]shield, len(w.Spots())), glance{}
	}
	for _, s := range w.Services() {
		b.serve(s)
	}
	again = b.protect(w)
	if !b.seen.differs(&b.desk) {
		return again
	}
	b.settled = map[int64]bool{}
	for f := range b.desk.flavors {
		b.scale(int32(f))
	}
	b.seen.keep(&b.desk)
	return again
}

// protect keeps jobs away from units that have not been idle for long enough. again is the
// time until the next of them have been; 0: there are none.
func (b *deepBoot) protect(w *sim.World) (again time.Duration) {
	h := &b.desk.holes
	for i := range b.shields {
		if b.desk.owner[i] == sim.Nobody {
			continue
		}
		spot := &w.Spots()[i]
		b.shields[i].see(w.Now(), spot.Online)
		units, next := b.shields[i].protected()
		if units == 0 {
			continue
		}
		if n := min(units, h.free[i]); n > 0 {
			h.shrink(spot.Flavor, int32(i), n)
		}
		if again == 0 || next-w.Now() < again {
			again = next - w.Now()
		}
	}
	return again
}

// serve makes room for a service's replicas that wait.
func (b *deepBoot) serve(s *sim.ServiceState) {
	d, own := &b.desk, ground(s.Index)
	lacking := d.reserve(s, int64(len(s.Pending)), own)
	if lacking == 0 {
		return
	}
	jobs := borrowers(d, s, own)
	free := make([]int64, len(d.spots[s.Index]))
	at := make(map[int32]int, len(free))
	for k, i := range d.spots[s.Index] {
		at[i], free[k] = k, d.holes.free[i]+d.coming[i]
		if d.world.Spots()[i].Down {
			free[k] = -1
		}
	}
	holdings := make([]holding, len(jobs))
	for k, j := range jobs {
		holdings[k] = held(j, at)
	}
	give, _ := clearFewest(free, holdings, s.Lender.UnitsPerPod, lacking)
	for _, g := range give {
		j := jobs[g.job]
		if g.stop {
			d.stop(j, s.Lender.MaxGrace)
			continue
		}
		var places []sim.Place
		for k, n := range g.shed {
			if n > 0 {
				places = append(places, sim.Place{Spot: d.spots[s.Index][k], Lender: s.Index, Pods: n})
			}
		}
		d.shed(j, places, s.Lender.MaxGrace)
	}
	d.reserve(s, lacking, own)
}

// held is what a job has on spots that are numbered so, but for what it is giving up.
func held(j *sim.JobState, at map[int32]int) holding {
	h := holding{units: make([]int64, len(at)), per: j.UnitsPerPod, all: j.At * j.UnitsPerPod}
	if j.MinPods > 0 {
		h.spare = j.At - j.MinPods
	}
	for _, p := range j.Places {
		if k, ok := at[p.Spot]; ok {
			h.units[k] += p.Pods * j.UnitsPerPod
		}
	}
	for _, p := range j.Going {
		if k, ok := at[p.Spot]; ok {
			h.units[k] -= p.Pods * j.UnitsPerPod
		}
	}
	return h
}

// scale divides the units of a flavor among those that wait and the elastic jobs that run.
func (b *deepBoot) scale(flavor int32) {
	jobs, shares, units := b.claimants(flavor)
	pods := divide(shares, units)
	missed := b.place(jobs, pods, flavor)
	if len(missed) > 0 {
		b.shrink(jobs, shares, pods, missed, flavor)
	}
	// Where the shapes of holes left some over, whoever fits has them.
	d := &b.desk
	for _, j := range slices.Clone(d.world.Waiting()) {
		if d.holes.total(flavor, anywhere) == 0 {
			return
		}
		f, ok := d.world.Flavor(j.Flavor)
		if ok && f == flavor && !b.settled[j.Order] && d.holes.largest(f, anywhere) >= j.UnitsPerPod {
			b.start(j, flavor, min(j.Pods, max(d.holes.slots(flavor, j.UnitsPerPod, anywhere), base(j))))
		}
	}
	for i, j := range jobs {
		if s := &shares[i]; s.has > 0 && j.At == s.has && pods[i] >= s.has {
			n := min(j.Pods-j.Held, d.holes.slots(flavor, j.UnitsPerPod, anywhere))
			if s.worth(s.has+n) > s.worth(s.has) {
				b.grow(j, flavor, n)
			}
		}
	}
}

// place gives jobs their pods, those with the largest first, and returns the indexes of
// those that wait and do not fit.
func (b *deepBoot) place(jobs []*sim.JobState, pods []int64, flavor int32) (missed []int) {
	order := make([]int, len(jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, c int) int { return cmp.Compare(jobs[c].UnitsPerPod, jobs[a].UnitsPerPod) })
	for _, i := range order {
		switch j := jobs[i]; {
		case j.Phase == sim.Running && pods[i] > j.At:
			b.grow(j, flavor, pods[i]-j.At)
		case j.Phase == sim.Waiting && pods[i] > 0 && !b.start(j, flavor, pods[i]):
			missed = append(missed, i)
		}
	}
	return missed
}

// shrink has jobs give up pods that they are not to have, for those that were missed: no
// more than these need, and none where that would not help.
func (b *deepBoot) shrink(jobs []*sim.JobState, shares []scalable, pods []int64, missed []int, flavor int32) {
	var givers []*sim.JobState
	var extra []int64
	for i, j := range jobs {
		if n := shares[i].has - pods[i]; n > 0 {
			givers, extra = append(givers, j), append(extra, n)
		}
	}
	r := newRefuge(&b.desk, anywhere, givers, extra)
	for _, i := range missed {
		b.settled[jobs[i].Order] = r.settle(jobs[i], pods[i], flavor)
	}
}

// claimants are the jobs among which units are divided, and how many units these are.
func (b *deepBoot) claimants(flavor int32) (jobs []*sim.JobState, shares []scalable, units int64) {
	w, h := b.desk.world, &b.desk.holes
	units = h.total(flavor, anywhere)
	for _, j := range elastic(w) {
		if f, _ := w.Flavor(j.Flavor); f == flavor {
			jobs = append(jobs, j)
			shares = append(shares, scalable{j.MinPods, j.Pods, j.UnitsPerPod, j.At, restartFactor(w.Now()-j.Submit, j.Attempt)})
			units += (j.At - j.MinPods) * j.UnitsPerPod
		}
	}
	waiting := 0
	for _, j := range w.Waiting() {
		f, ok := w.Flavor(j.Flavor)
		if !ok || f != flavor || base(j)*j.UnitsPerPod > units {
			continue
		}
		if waiting++; waiting > deepBootWaiting {
			break
		}
		factor := 1.0 // nothing is restarted that never started
		if j.Attempt > 0 {
			factor = restartFactor(w.Now()-j.Submit, j.Attempt)
		}
		jobs = append(jobs, j)
		shares = append(shares, scalable{base(j), j.Pods, j.UnitsPerPod, 0, factor})
	}
	return jobs, shares, units
}

// start starts a job with that many pods if they fit, in the pool before anywhere.
func (b *deepBoot) start(j *sim.JobState, flavor int32, pods int64) bool {
	h := &b.desk.holes
	if h.largest(flavor, anywhere) < j.UnitsPerPod {
		return false
	}
	for _, where := range []ground{pool, anywhere} {
		if places, ok := h.take(flavor, pods, j.UnitsPerPod, where); ok {
			b.desk.world.Start(j, places)
			return true
		}
	}
	return false
}

// grow gives a running job more pods, as many as there is room for.
func (b *deepBoot) grow(j *sim.JobState, flavor int32, pods int64) {
	h := &b.desk.holes
	n := min(pods, j.Pods-j.Held, h.slots(flavor, j.UnitsPerPod, anywhere))
	if n <= 0 {
		return
	}
	if places, ok := h.take(flavor, n, j.UnitsPerPod, anywhere); ok {
		b.desk.world.Grow(j, places)
	}
}
