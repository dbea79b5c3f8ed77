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
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// What each node and card has.
const (
	cardsPerNode  = 8
	slicesPerCard = 7
	pinnedPerCard = 3
	board         = "A100-40GB"
)

// Config says what is replayed, and how. Its nodes have 8 cards each, and its units are
// slices of one.
type Config struct {
	stage.Config
	// MinTrough of the lender, in the time of the day.
	MinTrough time.Duration
}

// Default is the demo of `make demo SCENARIO=mig`: the night in which the curve has its
// trough.
func Default() Config {
	return Config{stage.Config{
		Nodes: 2, Speed: 120, From: 11 * time.Hour, To: 21*time.Hour + 30*time.Minute,
		LowWater: 50, HighWater: 80, Warm: 2,
		MaxGrace: 5 * time.Second, ModelLoad: time.Second,
		Target: 0.65, Seed: 1,
	}, 30 * time.Minute}
}

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	err := c.Config.Validate(1, 100)
	if c.MinTrough < 0 {
		err = errors.Join(err, fmt.Errorf("--min-trough is %s, must not be negative", c.MinTrough))
	}
	return err
}

func (c Config) cards() int64  { return int64(c.Nodes) * cardsPerNode }
func (c Config) slices() int64 { return c.cards() * slicesPerCard }
func (c Config) pinned() int64 { return c.cards() * pinnedPerCard }

func (c Config) introduce() {
	fmt.Fprintf(c.Log, "demo: %d nodes × %d cards × %d slices, of which %d are pinned; %s of the day in %s (%v times as fast)\n",
		c.Nodes, cardsPerNode, slicesPerCard, pinnedPerCard, c.To-c.From, c.Compressed(c.To-c.From).Round(time.Second), c.Speed)
	fmt.Fprintf(c.Log, "demo: low water %d%%, high water %d%%, grace %s, model load %s; a card is reshaped for troughs of %s and more (%s real)\n",
		c.LowWater, c.HighWater, c.MaxGrace, c.ModelLoad, c.MinTrough, c.Compressed(c.MinTrough))
}
