package town

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// dice are draws from a seed, one stream for each thing that is drawn.
type dice struct{ r *rand.Rand }

func roll(seed, what uint64) *dice { return &dice{rand.New(rand.NewPCG(seed, what))} }

func (d *dice) share() float64  { return d.r.Float64() }
func (d *dice) normal() float64 { return d.r.NormFloat64() }

// Costs are what a town's jobs cost to stop, where a kind of model does not say it.
type Costs struct {
	// CheckpointEvery is the interval of all jobs, Grace how long each may take to stop.
	CheckpointEvery, Grace time.Duration
	// Saves is the share of jobs that save their work when they are asked to stop.
	Saves float64
	// Elastic is the share of the jobs of several GPUs that can go on with half of them.
	Elastic float64
}

// DefaultCosts are those of the main experiment.
func DefaultCosts() Costs {
	return Costs{CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Saves: 0.5, Elastic: 0.2}
}

// kinds of models: how long a full restart takes, and a change of size in place (DeepBoot,
// TPDS 2023).
var kinds = []struct{ restart, reshape time.Duration }{
	{103 * time.Second, 5 * time.Second}, // BERT
	{35 * time.Second, 3 * time.Second},  // ImageNet
	{26 * time.Second, 3 * time.Second},  // YOLOv3
	{25 * time.Second, 2 * time.Second},  // NCF
	{24 * time.Second, 3 * time.Second},  // CIFAR-10
	{18 * time.Second, time.Second},      // DeepSpeech2
}

// exit is how long pods take to go that save nothing.
const exit = 2 * time.Second

// of draws what one job costs. A job that saves when asked to takes a third of its restart
// for that, so that one of six kinds does not make it within 30 s.
func (c Costs) of(d *dice) sim.Costs {
	kind := kinds[int(d.share()*float64(len(kinds)))]
	out := sim.Costs{CheckpointEvery: c.CheckpointEvery, Grace: c.Grace, Exit: exit, Restart: kind.restart, Reshape: kind.reshape}
	if d.share() < c.Saves {
		out.SaveTakes = time.Duration(math.Round(kind.restart.Seconds()/3)) * time.Second
	}
	return out
}
