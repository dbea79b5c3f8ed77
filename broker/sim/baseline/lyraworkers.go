package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// start is the first phase: what jobs need at least, the shortest first. It goes to servers
// that are for training, if need be in the place of extra workers, and then to lent ones:
// what may have to go back soon is best held by workers that a job can do without.
func (l *lyra) start() {
	d := &l.desk
	l.line.update(d.world)
	extra := l.extra()
	for _, where := range []ground{pool, anywhere} {
		if d.holes.left > 0 {
			l.fill(where)
		}
		if extra > 0 || len(d.going) > 0 {
			l.displace(where)
		}
	}
}

// fill starts jobs on what is free on a ground. Of those that fit there all together, it
// places the largest pods first, and then whoever fits.
func (l *lyra) fill(where ground) {
	fits := l.fitting(where)
	slices.SortStableFunc(fits, func(a, b *sim.JobState) int { return cmp.Compare(b.UnitsPerPod, a.UnitsPerPod) })
	for _, j := range fits {
		l.startOne(j, where)
	}
	for _, j := range l.line.jobs {
		if l.desk.holes.left == 0 {
			return
		}
		l.startOne(j.JobState, where)
	}
}

// fitting are the shortest jobs whose least units are free on a ground, on whatever spots.
func (l *lyra) fitting(where ground) (jobs []*sim.JobState) {
	left, all := make([]int64, len(l.desk.flavors)), int64(0)
	for f := range left {
		left[f] = l.desk.holes.total(int32(f), where)
		all += left[f]
	}
	for _, j := range l.line.jobs {
		if all == 0 {
			break
		}
		f, ok := l.desk.world.Flavor(j.Flavor)
		if n := base(j.JobState) * j.UnitsPerPod; ok && j.Phase == sim.Waiting && !l.settled[j.order] && n <= left[f] {
			left[f], all = left[f]-n, all-n
			jobs = append(jobs, j.JobState)
		}
	}
	return jobs
}

// startOne starts a job with what it needs at least, if that fits.
func (l *lyra) startOne(j *sim.JobState, where ground) {
	h := &l.desk.holes
	flavor, ok := l.desk.world.Flavor(j.Flavor)
	if !ok || j.Phase != sim.Waiting || l.settled[j.Order] || h.largest(flavor, where) < j.UnitsPerPod {
		return
	}
	if places, ok := h.take(flavor, base(j), j.UnitsPerPod, where); ok {
		l.desk.world.Start(j, places)
	}
}

// mostDisplacing is for how many waiting jobs at most others shrink in one decision: what
// they need is free only later.
const mostDisplacing = 8

// displace has elastic jobs give up extra workers on a ground for waiting jobs, the
// shortest first, which come before them.
func (l *lyra) displace(where ground) {
	jobs := elastic(l.desk.world)
	extra := make([]int64, len(jobs))
	for k, j := range jobs {
		extra[k] = j.At - j.MinPods
	}
	r := newRefuge(&l.desk, where, jobs, extra)
	tries := 0
	for _, j := range l.line.jobs {
		if tries == mostDisplacing {
			return
		}
		flavor, ok := l.desk.world.Flavor(j.Flavor)
		if ok && j.Phase == sim.Waiting && !l.settled[j.order] && !r.hopeless(flavor, base(j.JobState), j.UnitsPerPod) {
			tries++
			l.settled[j.order] = r.settle(j.JobState, base(j.JobState), flavor)
		}
	}
}

// elastic are the running jobs that can have more or fewer workers now.
func elastic(w *sim.World) (jobs []*sim.JobState) {
	for _, j := range w.Running() {
		if j.Phase == sim.Running && j.MinPods > 0 && j.MinPods < j.Pods && len(j.Going) == 0 {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// extra is how many units elastic jobs hold beyond what they need.
func (l *lyra) extra() (units int64) {
	for _, j := range elastic(l.desk.world) {
		units += (j.At - j.MinPods) * j.UnitsPerPod
	}
	return units
}

// divide is the second phase: what is left, and what elastic jobs have beyond their least,
// is divided among them anew.
func (l *lyra) divide() {
	jobs := elastic(l.desk.world)
	h := &l.desk.holes
	for f := range l.desk.flavors {
		flavor := int32(f)
		capacity := h.total(flavor, anywhere)
		var mine []*sim.JobState
		var groups [][]option
		for _, j := range jobs {
			if id, _ := l.desk.world.Flavor(j.Flavor); id == flavor {
				mine = append(mine, j)
				capacity += (j.At - j.MinPods) * j.UnitsPerPod
				groups = append(groups, extras(j, l.desk.world.Now()))
			}
		}
		for i, k := range knapsack(groups, capacity) {
			l.resize(mine[i], flavor, mine[i].MinPods+int64(k)+1)
		}
	}
}

// extras are a job's options, by the number of its workers beyond the least from 1: what
// they weigh, and by how many seconds they shorten it.
func extras(j *sim.JobState, now time.Duration) []option {
	has := j.At - j.MinPods
	whole := j.Left(now).Seconds() * float64(j.At) / float64(j.MinPods)
	options := make([]option, j.Pods-j.MinPods)
	for i := range options {
		k := int64(i) + 1
		options[i] = option{k * j.UnitsPerPod, saved(whole, j.MinPods, k)}
		// A change keeps all workers waiting. None at all is one too, if it has some.
		if has == 0 {
			options[i].value -= j.Reshape.Seconds()
		} else if k == has {
			options[i].value += j.Reshape.Seconds()
		}
	}
	return options
}

// saved is by how many seconds k workers more than the least shorten a job that would take
// so long on the least, where workers are worth the same.
func saved(whole float64, least, k int64) float64 {
	return whole - whole*float64(least)/float64(least+k)
}

// resize gives a running job that many workers, or as many more as find room:
// on lent servers first, from which workers can go and the job stay.
func (l *lyra) resize(j *sim.JobState, flavor int32, workers int64) {
	d := &l.desk
	if workers < j.At {
		d.shed(j, leastTogether(j, j.At-workers), j.Exit)
		return
	}
	for _, where := range []ground{loaned, pool} {
		n := min(workers-j.At, j.Pods-j.Held, d.holes.slots(flavor, j.UnitsPerPod, where))
		if n <= 0 {
			continue
		}
		if places, ok := d.holes.take(flavor, n, j.UnitsPerPod, where); ok {
			d.world.Grow(j, places)
		}
	}
}

// leastTogether are n of a job's pods: those on lent servers first, which may have to go
// back, and of them those with the fewest others.
func leastTogether(j *sim.JobState, n int64) (gone []sim.Place) {
	places := slices.Clone(j.Places)
	slices.SortStableFunc(places, func(a, b sim.Place) int {
		if lent := a.Lender != sim.Nobody; lent != (b.Lender != sim.Nobody) {
			if lent {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Pods, b.Pods)
	})
	for _, p := range places {
		if p.Pods = min(p.Pods, n); p.Pods > 0 {
			gone = append(gone, p)
			n -= p.Pods
		}
	}
	return gone
}
