// Package sliced replays a night of online load on GPUs that are cut into slices, on a
// real control plane with simulated cards, and says what came of it.
//
// Every card is an A100 cut in seven, of which three slices are pinned. The service runs
// on slices, one a replica, along the node curve that DeepSeek published. What it leaves
// idle is lent in the shape that it has to jobs of one slice; and where four idle slices
// of a card wait long enough in the trough, the card is reshaped for a job that asks for a
// slice of four, and shaped back before the morning. Meanwhile agents are killed in the
// midst of it, and slices cannot be destroyed.
//
// Loans, evictions, waits and laws are counted by package audit from outside, as in the
// demo of whole GPUs. Whether a pinned slice was touched is read in the log of writes that
// the simulated cards keep, and not in anybody's books.
package sliced

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/day"
)

// What each node and card has.
const (
	cardsPerNode  = 8
	slicesPerCard = 7
	pinnedPerCard = 3
	board         = "A100-40GB"
)

// Config says what is replayed, and how.
type Config struct {
	// Nodes with 8 cards each.
	Nodes int
	// Speed is how many times faster than the day the replay runs.
	Speed float64
	// From and To are the part of the day, which begins at noon.
	From, To time.Duration
	// LowWater and HighWater of the LendingPolicy, in percent of the slots of all owned
	// slices, and Warm slices that the lender keeps free above its need.
	LowWater, HighWater int
	Warm                int64
	// MaxGrace of the lender and ModelLoad of its replicas, in real time.
	MaxGrace, ModelLoad time.Duration
	// MinTrough of the lender, in the time of the day.
	MinTrough time.Duration
	// Target is the share of a replica's slots that the load is sized for.
	Target float64
	// Seed fixes all chance in the load and the jobs.
	Seed uint64
	// Check makes missed targets an error.
	Check bool
	// Dir keeps the lab's folder; empty: a temporary one.
	Dir string
	// Programs is a folder with all binaries, taken as they are; empty: the repository's
	// bin/, built where stale.
	Programs string
	// Out gets the picture and the summary, Log the rest.
	Out, Log io.Writer
}

// Default is the demo of `make demo SCENARIO=mig`: the night in which the curve has its
// trough.
func Default() Config {
	return Config{
		Nodes: 2, Speed: 120, From: 11 * time.Hour, To: 21*time.Hour + 30*time.Minute,
		LowWater: 50, HighWater: 80, Warm: 2,
		MaxGrace: 5 * time.Second, ModelLoad: time.Second, MinTrough: 30 * time.Minute,
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
	check(c.Nodes >= 1 && c.Nodes <= 100, "--nodes is %d, must be 1 to 100", c.Nodes)
	check(c.Speed >= 1 && c.Speed <= 3600, "--speed is %v, must be 1 to 3600", c.Speed)
	check(c.From >= 0 && c.From < c.To && c.To <= day.Length, "--from %s and --to %s must be within a day, the first before the second", c.From, c.To)
	check(c.LowWater > 0 && c.LowWater < c.HighWater && c.HighWater <= 100, "--low-water %d%% must be above 0 and below --high-water %d%%", c.LowWater, c.HighWater)
	check(c.Warm >= 0, "--warm is %d, must not be negative", c.Warm)
	check(c.MaxGrace >= time.Second && c.MaxGrace <= time.Minute, "--max-grace is %s, must be 1s to 1m", c.MaxGrace)
	check(c.ModelLoad >= 0 && c.ModelLoad <= time.Minute, "--model-load is %s, must be 0s to 1m", c.ModelLoad)
	return errors.Join(errs...)
}

func (c Config) cards() int64  { return int64(c.Nodes) * cardsPerNode }
func (c Config) slices() int64 { return c.cards() * slicesPerCard }
func (c Config) pinned() int64 { return c.cards() * pinnedPerCard }

// notice is how long before its need the oracle stops lending a slice, in the time of the
// day.
func (c Config) notice() time.Duration {
	return time.Duration(float64(c.MaxGrace+c.ModelLoad) * c.Speed)
}

// compressed is how long a duration of the day lasts.
func (c Config) compressed(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.Speed).Round(time.Millisecond)
}

func (c Config) introduce() {
	fmt.Fprintf(c.Log, "demo: %d nodes × %d cards × %d slices, of which %d are pinned; %s of the day in %s (%v times as fast)\n",
		c.Nodes, cardsPerNode, slicesPerCard, pinnedPerCard, c.To-c.From, c.compressed(c.To-c.From).Round(time.Second), c.Speed)
	fmt.Fprintf(c.Log, "demo: low water %d%%, high water %d%%, grace %s, model load %s; a card is reshaped for troughs of %s and more (%s real)\n",
		c.LowWater, c.HighWater, c.MaxGrace, c.ModelLoad, c.MinTrough, c.compressed(c.MinTrough))
}
