// Package demo replays one real day of online load on a real control plane, with
// Ebbtide lending and taking back its GPUs, and says what came of it.
//
// The lender's replicas follow the node curve that DeepSeek published, scaled to
// the cluster; the requests that they serve follow it too, with the short-term
// variation of an Azure service; the borrowers are jobs of a Microsoft training
// cluster, submitted as ordinary users so that demand is never the limit. One
// day lasts 24h/Speed.
//
// What the programs themselves need cannot be compressed: a grace of 3 s is 18
// minutes of the replayed day at the default speed. What is policy (dwell,
// cooldown, the least loan, checkpoint intervals) is divided by the speed.
//
// Loans, reclaims, evictions, waits and laws are counted by package audit, which
// watches the API server. What only the broker knows is read from its ledger and
// from its record of decisions, and held against something else: the ledger's hours
// count no higher than what bound pods were seen to hold, the record must have no
// gap, replay, and tell of every loan that was seen asked back, and what it says is
// owed must follow from the cluster that it saw.
package demo

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/day"
)

// gpusPerNode of every node; a replica of the lender takes a whole one.
const gpusPerNode = 8

// Config says what is replayed, and how.
type Config struct {
	// Nodes with 8 GPUs each.
	Nodes int
	// Speed is how many times faster than the day the replay runs.
	Speed float64
	// From and To are the part of the day, which begins at noon.
	From, To time.Duration
	// LowWater and HighWater of the LendingPolicy, in percent of the slots of all
	// owned units.
	LowWater, HighWater int
	// Warm units that the lender keeps free above its need.
	Warm int64
	// MaxGrace of the lender and ModelLoad of its replicas, in real time.
	MaxGrace, ModelLoad time.Duration
	// Target is the share of a replica's slots that the load is sized for. An
	// autoscaler that aims for 0.7 rounds up, and so stays below.
	Target float64
	// Seed fixes all chance in the load.
	Seed uint64
	// Check makes missed targets an error, and leaves the live line out.
	Check bool
	// Dir keeps the lab's folder; empty: a temporary one.
	Dir string
	// Out gets the picture and the summary, Log the live line and the rest.
	Out, Log io.Writer
}

// Default is the demo of `make demo`.
func Default() Config {
	return Config{
		Nodes: 70, Speed: 360, To: day.Length,
		LowWater: 50, HighWater: 80, Warm: 1,
		MaxGrace: 3 * time.Second, ModelLoad: 2 * time.Second,
		Target: 0.65, Seed: 1,
	}
}

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(c.Nodes >= 4 && c.Nodes <= 1000, "--nodes is %d, must be 4 to 1000", c.Nodes)
	check(c.Speed >= 1 && c.Speed <= 3600, "--speed is %v, must be 1 to 3600", c.Speed)
	check(c.From >= 0 && c.From < c.To && c.To <= day.Length, "--from %s and --to %s must be within a day, the first before the second", c.From, c.To)
	check(c.LowWater > 0 && c.LowWater < c.HighWater && c.HighWater <= 100, "--low-water %d%% must be above 0 and below --high-water %d%%", c.LowWater, c.HighWater)
	check(c.Warm >= 0, "--warm is %d, must not be negative", c.Warm)
	check(c.MaxGrace >= time.Second && c.MaxGrace <= time.Minute, "--max-grace is %s, must be 1s to 1m", c.MaxGrace)
	check(c.ModelLoad >= 0 && c.ModelLoad <= time.Minute, "--model-load is %s, must be 0s to 1m", c.ModelLoad)
	check(c.Target > 0 && c.Target <= 1, "target is %v, must be above 0 and at most 1", c.Target)
	return errors.Join(errs...)
}

func (c Config) units() int64 { return int64(c.Nodes) * gpusPerNode }

// notice is how long before its need the oracle stops lending a unit: the grace
// and the model load, in the time of the day.
func (c Config) notice() time.Duration {
	return time.Duration(float64(c.MaxGrace+c.ModelLoad) * c.Speed)
}

// compressed is how long a duration of the day lasts.
func (c Config) compressed(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.Speed).Round(time.Millisecond)
}

// introduce says what is about to happen.
func (c Config) introduce() {
	pause := 5 * time.Minute
	ofDay := func(real time.Duration) time.Duration {
		return time.Duration(float64(real) * c.Speed).Round(time.Minute)
	}
	fmt.Fprintf(c.Log, "demo: %d nodes × %d GPUs, %s of the day in %s (%v times as fast)\n",
		c.Nodes, gpusPerNode, c.To-c.From, c.compressed(c.To-c.From).Round(time.Second), c.Speed)
	fmt.Fprintf(c.Log, "demo: low water %d%%, high water %d%%, dwell and cooldown %s (%s real), grace %s real (%s of the day), model load %s real (%s)\n",
		c.LowWater, c.HighWater, pause, c.compressed(pause), c.MaxGrace, ofDay(c.MaxGrace), c.ModelLoad, ofDay(c.ModelLoad))
}
