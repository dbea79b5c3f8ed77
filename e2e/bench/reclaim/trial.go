package reclaim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	gpusPerNode = 8
	// leastNodesB hold what the waves of case b ask for in all: 120 + 16 + 32 + 64 GPUs.
	leastNodesB = 29
)

// gang is a training job of pods with one GPU each.
type gang struct {
	name string
	pods int64
	// age of the job when the cluster is full, and the time between its checkpoints; 0:
	// it saves nothing.
	age, every time.Duration
}

// unsaved is what the gang would lose if it were stopped so long after the cluster was
// full.
func (g gang) unsaved(after time.Duration) time.Duration {
	run := g.age + max(after, 0)
	if g.every <= 0 {
		return run
	}
	return run % g.every
}

// wave is a number of online pods that come at once, each with so many GPUs.
type wave struct{ pods, units int64 }

func (w wave) String() string { return fmt.Sprintf("%d × %d", w.pods, w.units) }

// trial is one case as it is played, the same for both systems.
type trial struct {
	name, title string
	nodes       int
	rounds      int
	// gangs fill all nodes, the oldest first.
	gangs []gang
	waves []wave
	// batches in which the gangs are started, one after the other.
	batches int
	aims    func(mine, other []row) []aim
}

// trials returns what the configuration asks for; case b is two of them.
func (c Config) trials() ([]trial, error) {
	jobs, err := traces.ITPJobs()
	if err != nil {
		return nil, fmt.Errorf("read the training jobs: %w", err)
	}
	var trials []trial
	for _, name := range c.Cases {
		// Each case draws for itself, so that it does not depend on which others run.
		lots := rand.New(rand.NewPCG(c.Seed, uint64(name[0])))
		switch name {
		case "a":
			trials = append(trials, c.three(lots, jobs))
		case "b":
			sizes := shares(int64(c.NodesB) * gpusPerNode)
			trials = append(trials, c.mixed(drawn(lots, jobs, sizes)), c.alike(equal(lots, sizes)))
		case "c":
			trials = append(trials, c.single(lots, jobs))
		}
	}
	return trials, nil
}

func (c Config) three(lots *rand.Rand, jobs []traces.Job) trial {
	return trial{
		name: "a", title: "3 nodes full of three gangs of 8, eight online pods", nodes: 3, rounds: c.Rounds,
		gangs: drawn(lots, jobs, []int64{8, 8, 8}), waves: []wave{{8, 1}}, batches: 3, aims: aimsA,
	}
}

var wavesB = []wave{{8, 1}, {16, 1}, {32, 1}, {64, 1}, {8, 2}, {8, 4}, {8, 8}}

func (c Config) mixed(gangs []gang) trial {
	return trial{
		name: "b", title: fmt.Sprintf("%d nodes full of gangs of 1 to 64, ages and checkpoints as recorded", c.NodesB),
		nodes: c.NodesB, rounds: 1, gangs: gangs, waves: wavesB, batches: 20, aims: aimsB,
	}
}

func (c Config) alike(gangs []gang) trial {
	return trial{
		name: "b-equal", title: fmt.Sprintf("%d nodes full of gangs of 1 to 64, all of the same age without a checkpoint", c.NodesB),
		nodes: c.NodesB, rounds: 1, gangs: gangs, waves: wavesB, batches: 20, aims: aimsEqual,
	}
}

func (c Config) single(lots *rand.Rand, jobs []traces.Job) trial {
	sizes := make([]int64, c.NodesC*gpusPerNode)
	for i := range sizes {
		sizes[i] = 1
	}
	return trial{
		name: "c", title: fmt.Sprintf("%d nodes full of jobs of one GPU, single online pods one after the other", c.NodesC),
		nodes: c.NodesC, rounds: 1, gangs: drawn(lots, jobs, sizes), waves: slices.Repeat([]wave{{1, 1}}, c.Single), batches: 20, aims: aimsC,
	}
}

// shares returns sizes of gangs that add up to the units: of each of 64, 32, …, 1 as
// many as come closest to an equal share of what the larger ones left.
func shares(units int64) []int64 {
	var sizes []int64
	kinds := int64(7)
	for size := int64(64); size >= 1; size /= 2 {
		n := (2*units + kinds*size) / (2 * kinds * size) // rounded
		n = min(n, units/size)
		if size == 1 {
			n = units
		}
		sizes = append(sizes, slices.Repeat([]int64{size}, int(n))...)
		units -= n * size
		kinds--
	}
	return sizes
}

// Jobs of the recorded cluster save ten times in their lives, but no more often than
// every leastEvery and no less often than every mostEvery.
const (
	savesPerJob = 10
	leastEvery  = 10 * time.Minute
	mostEvery   = 2 * time.Hour
)

// drawn returns gangs of the sizes with ages and intervals of recorded jobs, as one
// would meet them running: a job by its duration, at a uniform point of it.
func drawn(lots *rand.Rand, jobs []traces.Job, sizes []int64) []gang {
	ends := make([]time.Duration, len(jobs))
	var sum time.Duration
	for i, j := range jobs {
		sum += j.Duration
		ends[i] = sum
	}
	gangs := make([]gang, len(sizes))
	for i, size := range sizes {
		at := time.Duration(lots.Int64N(int64(sum)))
		k, _ := slices.BinarySearch(ends, at+1)
		gangs[i] = gang{
			pods: size, age: at - (ends[k] - jobs[k].Duration),
			every: min(max(jobs[k].Duration/savesPerJob, leastEvery), mostEvery),
		}
	}
	slices.SortStableFunc(gangs, func(a, b gang) int { return cmp.Compare(b.age, a.age) })
	return named(gangs)
}

// equalAge of all gangs, which have saved nothing.
const equalAge = time.Hour

// equal returns gangs of the sizes in random order, all of the same age.
func equal(lots *rand.Rand, sizes []int64) []gang {
	gangs := make([]gang, len(sizes))
	for i, at := range lots.Perm(len(sizes)) {
		gangs[i] = gang{pods: sizes[at], age: equalAge}
	}
	return named(gangs)
}

func named(gangs []gang) []gang {
	for i := range gangs {
		gangs[i].name = fmt.Sprintf("job-%04d-of-%d", i, gangs[i].pods)
	}
	return gangs
}

// batch returns the gangs that are started in the i-th of the batches.
func (t trial) batch(i int) []gang {
	n := len(t.gangs)
	return t.gangs[i*n/t.batches : (i+1)*n/t.batches]
}

// asked is how many GPUs the waves ask for, by the size of their pods.
func (t trial) asked() map[int64]int64 {
	units := map[int64]int64{}
	for _, w := range t.waves {
		units[w.units] += w.pods * w.units
	}
	return units
}

// mostUnsaved is the most that any gang has not saved when the cluster is full.
func (t trial) mostUnsaved() time.Duration {
	var most time.Duration
	for _, g := range t.gangs {
		most = max(most, g.unsaved(0))
	}
	return most
}
