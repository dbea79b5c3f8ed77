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
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/day"
	"github.com/ebbtide/ebbtide/e2e/demo/stage"
)

// gpusPerNode of every node; a replica of the lender takes a whole one.
const gpusPerNode = 8

// Config says what is replayed, and how.
type Config struct{ stage.Config }

// Default is the demo of `make demo`.
func Default() Config {
	return Config{stage.Config{
		Nodes: 70, Speed: 360, To: day.Length,
		LowWater: 50, HighWater: 80, Warm: 1,
		MaxGrace: 3 * time.Second, ModelLoad: 2 * time.Second,
		Target: 0.65, Seed: 1,
	}}
}

// Validate returns all that is wrong with the configuration, or nil.
func (c Config) Validate() error { return c.Config.Validate(4, 1000) }

func (c Config) units() int64 { return int64(c.Nodes) * gpusPerNode }

// introduce says what is about to happen.
func (c Config) introduce() {
	pause := 5 * time.Minute
	ofDay := func(real time.Duration) time.Duration { return c.OfDay(real).Round(time.Minute) }
	fmt.Fprintf(c.Log, "demo: %d nodes × %d GPUs, %s of the day in %s (%v times as fast)\n",
		c.Nodes, gpusPerNode, c.To-c.From, c.Compressed(c.To-c.From).Round(time.Second), c.Speed)
	fmt.Fprintf(c.Log, "demo: low water %d%%, high water %d%%, dwell and cooldown %s (%s real), grace %s real (%s of the day), model load %s real (%s)\n",
		c.LowWater, c.HighWater, pause, c.Compressed(pause), c.MaxGrace, ofDay(c.MaxGrace), c.ModelLoad, ofDay(c.ModelLoad))
}
