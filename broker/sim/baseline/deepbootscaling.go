package baseline

import (
	"cmp"
	"slices"
	"time"
)

// restartFactor is by how much a job's speed-up counts less if its units change: what a
// restart of 10 s and those before it leave of its age (DeepBoot, after Pollux, OSDI 2021).
func restartFactor(age time.Duration, restarts int32) float64 {
	s := age.Seconds()
	return max(s-10*float64(restarts), 0) / (s + 10)
}

// scalable is a job as the division of units sees it.
type scalable struct {
	min, max, per int64 // pods, units of each
	has           int64 // pods; 0: it waits
	factor        float64
}

// weight of n pods: a job that runs keeps its least number in any case.
func (j *scalable) weight(n int64) int64 {
	if j.has > 0 {
		return (n - j.min) * j.per
	}
	return n * j.per
}

// worth of n pods: the speed-up over one unit, in proportion to the units, discounted where
// it is not what the job has.
func (j *scalable) worth(n int64) float64 {
	v := float64(n * j.per)
	if n != j.has {
		v *= j.factor
	}
	return v
}

// divide says how many pods each job is to have so that the sum of the speed-ups is
// greatest: a knapsack of one group for each job. units are those that are free and those
// that jobs that run have beyond their least number.
func divide(jobs []scalable, units int64) []int64 {
	groups := make([][]option, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		least, base := j.min, 0.0
		if j.has > 0 {
			least, base = j.min+1, j.worth(j.min)
		}
		for n := least; n <= j.max; n++ {
			groups[i] = append(groups[i], option{j.weight(n), j.worth(n) - base})
		}
	}
	pods := make([]int64, len(jobs))
	for i, k := range knapsack(groups, units) {
		switch j := &jobs[i]; {
		case j.has > 0:
			pods[i] = j.min + int64(k) + 1
		case k >= 0:
			pods[i] = j.min + int64(k)
		}
	}
	return pods
}

// holding is what a job has on the spots that may be cleared.
type holding struct {
	units []int64 // by spot
	spare int64   // pods that it can give up
	per   int64   // units of a pod
	all   int64   // its units, wherever they are
}

// giving is what a job gives up: all, or pods of it by spot.
type giving struct {
	job  int
	stop bool
	shed []int64
}

// clearFewest says who gives units back so that pods of a size fit on the spots: one spot
// after the other is cleared as far as is needed, that first which has the fewest units in
// training, and before all others those where it is enough that jobs shrink. Where it is
// not, the smallest jobs are stopped. free is what is
// free on each spot or comes free, negative on spots that do not count. It returns how many
// pods fit in the end.
func clearFewest(free []int64, jobs []holding, per, pods int64) (give []giving, fit int64) {
	c := clearing{free: free, jobs: jobs, given: make([]giving, len(jobs)), per: per}
	for i := range c.given {
		c.given[i] = giving{job: i, shed: make([]int64, len(free))}
	}
	for fit = c.slots(); fit < pods; fit = c.slots() {
		spot := c.fewest()
		if spot < 0 {
			break
		}
		c.clear(spot)
	}
	give = slices.DeleteFunc(c.given, func(g giving) bool {
		return !g.stop && !slices.ContainsFunc(g.shed, func(n int64) bool { return n > 0 })
	})
	return give, fit
}

type clearing struct {
	free  []int64
	jobs  []holding
	given []giving
	per   int64
}

func (c *clearing) slots() (n int64) {
	for _, f := range c.free {
		n += max(f, 0) / c.per
	}
	return n
}

// fewest is the spot with the fewest units in training of those that one more pod would
// fit on, those first where nobody need be stopped for it; -1 if there is none.
func (c *clearing) fewest() int {
	best, least, bestStops := -1, int64(0), false
	for spot, f := range c.free {
		if f < 0 {
			continue
		}
		training, spare := int64(0), int64(0)
		for i := range c.jobs {
			j := &c.jobs[i]
			training += j.units[spot]
			spare += min(j.spare, j.units[spot]/j.per) * j.per
		}
		if (f+training)/c.per == f/c.per {
			continue
		}
		stops := (f+spare)/c.per == f/c.per
		if best < 0 || bestStops && !stops || stops == bestStops && training < least {
			best, least, bestStops = spot, training, stops
		}
	}
	return best
}

// clear makes room on a spot for one more pod: pods that can be spared go, then the smallest
// jobs, and then whatever of that is not needed stays.
func (c *clearing) clear(spot int) {
	want := (c.free[spot]/c.per + 1) * c.per
	var stoppable []int
	for i := range c.jobs {
		j := &c.jobs[i]
		for j.spare > 0 && j.units[spot] >= j.per && c.free[spot] < want {
			c.shed(i, spot, 1)
		}
		if j.units[spot] > 0 || c.given[i].shed[spot] > 0 {
			stoppable = append(stoppable, i)
		}
	}
	slices.SortFunc(stoppable, func(a, b int) int { return cmp.Or(cmp.Compare(c.jobs[a].all, c.jobs[b].all), b-a) })
	n, gain := 0, c.free[spot]
	for ; gain < want; n++ {
		gain += c.jobs[stoppable[n]].units[spot]
	}
	for _, i := range slices.Backward(stoppable[:n]) {
		if units := c.jobs[i].units[spot]; gain-units >= want {
			gain -= units
			continue
		}
		c.stop(i)
	}
	for _, i := range stoppable {
		for j := &c.jobs[i]; !c.given[i].stop && c.given[i].shed[spot] > 0 && c.free[spot]-j.per >= want; {
			c.shed(i, spot, -1)
		}
	}
}

// shed has a job give up pods on a spot, or keep them (-1).
func (c *clearing) shed(i, spot int, pods int64) {
	j := &c.jobs[i]
	c.given[i].shed[spot] += pods
	c.free[spot] += pods * j.per
	j.units[spot] -= pods * j.per
	j.all -= pods * j.per
	j.spare -= pods
}

// stop takes all that a job has. What it was to give up is in that.
func (c *clearing) stop(i int) {
	for spot, n := range c.jobs[i].units {
		if c.free[spot] >= 0 {
			c.free[spot] += n
		}
		c.jobs[i].units[spot] = 0
	}
	c.jobs[i].spare = 0
	c.given[i].stop = true
}
