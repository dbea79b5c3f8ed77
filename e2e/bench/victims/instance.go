package victims

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	flavor  = "gpu"
	perNode = 8
	// restart is what it costs a loan to start again, for each of its units.
	restart = time.Minute
)

// instance is one choice to make.
type instance struct {
	rooms      []lend.Room
	owed       []lend.Owed
	candidates []lend.Candidate
}

// ages draws how long a running job has run already.
type ages struct {
	durations []time.Duration
	until     []float64 // sums of the durations, in seconds
}

func newAges() (*ages, error) {
	jobs, err := traces.ITPJobs()
	if err != nil {
		return nil, fmt.Errorf("read the ages of jobs: %w", err)
	}
	a := &ages{}
	var sum float64
	for _, j := range jobs {
		sum += j.Duration.Seconds()
		a.durations, a.until = append(a.durations, j.Duration), append(a.until, sum)
	}
	return a, nil
}

// draw picks a moment of all jobs' run times.
func (a *ages) draw(r *rand.Rand) time.Duration {
	at := r.Float64() * a.until[len(a.until)-1]
	i := min(sort.SearchFloat64s(a.until, at), len(a.durations)-1)
	return time.Duration(r.Float64() * float64(a.durations[i]))
}

var now = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// kind says how long loans ran since they last saved their work.
type kind int

const (
	// recorded: as jobs of the recorded cluster, most of which save at intervals.
	recorded kind = iota
	// alike: all at the same moment, so that only units and shapes count.
	alike
	// halfHourly: all save every half hour. Nobody's loss dwarfs the others', which makes
	// the choice hard.
	halfHourly
	kinds
)

// loan makes a candidate of a name and grants.
func (a *ages) loan(r *rand.Rand, k kind, name string, grants []lend.Grant) lend.Candidate {
	age := a.draw(r)
	unsaved := age
	switch {
	case k == alike:
		age, unsaved = time.Hour, time.Hour
	case k == halfHourly:
		unsaved = age % (30 * time.Minute)
	case k == recorded && r.IntN(5) < 3: // minutes to hours, evenly on a logarithmic scale
		every := time.Duration(math.Exp(r.Float64()*math.Log(48)) * float64(5*time.Minute))
		unsaved = age % every
	}
	var units int64
	for _, g := range grants {
		units += g.Count
	}
	return lend.Candidate{
		Name: name, Grants: grants, Since: now.Add(-age),
		LostWork: float64(units) * math.Round((unsaved + restart).Seconds()),
	}
}

// small draws instances until somebody has to stop and that is enough.
func (a *ages) small(seed uint64) instance {
	r := rand.New(rand.NewPCG(seed, 11))
	for {
		in := a.drawSmall(r, kind(seed%uint64(kinds)))
		none, all := make([]int64, len(in.rooms)), make([]int64, len(in.rooms))
		for i, room := range in.rooms {
			none[i], all[i] = room.Free, room.Free
			for _, c := range in.candidates {
				for _, g := range c.Grants {
					if g.Node == room.Node {
						all[i] += g.Count
					}
				}
			}
		}
		if !in.roomFor(none) && in.roomFor(all) {
			return in
		}
	}
}

// drawSmall draws up to 6 nodes with up to 12 loans, of which a third are spread over
// several nodes.
func (a *ages) drawSmall(r *rand.Rand, k kind) instance {
	free := make([]int64, 1+r.IntN(6))
	for i := range free {
		free[i] = perNode
	}
	var in instance
	for n := range 1 + r.IntN(12) {
		var grants []lend.Grant
		spread := 1
		if r.IntN(3) == 0 {
			spread += 1 + r.IntN(3)
		}
		each := int64(1) << r.IntN(4)
		for _, i := range r.Perm(len(free)) {
			if len(grants) < spread && free[i] >= each {
				free[i] -= each
				grants = append(grants, lend.Grant{Node: node(i), Flavor: flavor, Count: each})
			}
		}
		if len(grants) > 0 {
			in.candidates = append(in.candidates, a.loan(r, k, fmt.Sprintf("loan-%02d", n), grants))
		}
	}
	in.addRooms(r, free)
	for range 1 + r.IntN(2) {
		in.owe(int64(1)<<r.IntN(4), 1+r.Int64N(6))
	}
	return in
}

// addRooms lets some of what is free be in use by others.
func (in *instance) addRooms(r *rand.Rand, free []int64) {
	for i, units := range free {
		if r.IntN(2) == 0 {
			units = r.Int64N(units + 1)
		}
		in.rooms = append(in.rooms, lend.Room{Node: node(i), Flavor: flavor, Free: units})
	}
}

func (in *instance) owe(size, pods int64) {
	in.owed = append(in.owed, lend.Owed{Flavor: flavor, UnitsPerPod: size, Pods: pods})
}

func node(i int) string { return fmt.Sprintf("node-%03d", i) }

// waves are what is owed at once in a larger instance, as size and pods.
var waves = [][][2]int64{
	{{1, 8}}, {{1, 16}}, {{1, 32}}, {{1, 64}}, {{2, 8}}, {{4, 8}}, {{8, 8}}, {{8, 2}, {4, 4}, {1, 8}},
}

// large draws a cluster of 30 to 100 nodes full of gangs of 1, 2, 4 … 64 one-unit pods,
// with equally many units in gangs of each size, placed in random order.
func (a *ages) large(seed uint64) instance {
	r := rand.New(rand.NewPCG(seed, 2))
	nodes := 30 + r.IntN(71)
	var sizes []int64
	for size := int64(1); size <= 64; size *= 2 {
		for n := int64(nodes) * perNode / 7 / size; n > 0; n-- {
			sizes = append(sizes, size)
		}
	}
	r.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	var in instance
	next, left := 0, int64(perNode)
	for n, units := range sizes {
		var grants []lend.Grant
		for units > 0 {
			count := min(units, left)
			grants = append(grants, lend.Grant{Node: node(next), Flavor: flavor, Count: count})
			units -= count
			if left -= count; left == 0 {
				next, left = next+1, perNode
			}
		}
		in.candidates = append(in.candidates, a.loan(r, kind(seed/uint64(len(waves))%uint64(kinds)), fmt.Sprintf("loan-%03d", n), grants))
	}
	for i := range nodes {
		// What no gang filled is in use by others.
		in.rooms = append(in.rooms, lend.Room{Node: node(i), Flavor: flavor})
	}
	for _, o := range waves[seed%uint64(len(waves))] {
		in.owe(o[0], o[1])
	}
	return in
}
