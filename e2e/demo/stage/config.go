// Package stage is what the demos have in common: their flags, a lab with a service that
// follows a published day of load and teams that borrow from it, the course of a replay,
// and the account that is given of it.
//
// A demo says what its nodes, units and jobs are, and what else it looks at.
package stage

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/ebbtide/ebbtide/e2e/demo/day"
)

const (
	// Frame is how often a replay looks at the curve and takes a sample.
	Frame = 200 * time.Millisecond
	// Hold is how long the auditors wait to put events in order, Settle the time for two
	// programs to agree.
	Hold   = 700 * time.Millisecond
	Settle = 5 * time.Second
	// Noon is when the day begins.
	Noon = 12 * time.Hour
	// mondayNoon is where in the Azure week the day begins.
	mondayNoon = 36 * time.Hour
)

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
	// Seed fixes all chance in the load and the jobs.
	Seed uint64
	// Check makes missed targets an error, and leaves a live line out.
	Check bool
	// Dir keeps the lab's folder; empty: a temporary one.
	Dir string
	// Programs is a folder with all binaries, taken as they are; empty: the repository's
	// bin/, built where stale.
	Programs string
	// Out gets the picture and the summary, Log the live line and the rest.
	Out, Log io.Writer
}

// Validate returns all that is wrong with the configuration, whose nodes are within
// bounds, or nil.
func (c Config) Validate(leastNodes, mostNodes int) error {
	var errs []error
	check := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	check(c.Nodes >= leastNodes && c.Nodes <= mostNodes, "--nodes is %d, must be %d to %d", c.Nodes, leastNodes, mostNodes)
	check(c.Speed >= 1 && c.Speed <= 3600, "--speed is %v, must be 1 to 3600", c.Speed)
	check(c.From >= 0 && c.From < c.To && c.To <= day.Length, "--from %s and --to %s must be within a day, the first before the second", c.From, c.To)
	check(c.LowWater > 0 && c.LowWater < c.HighWater && c.HighWater <= 100, "--low-water %d%% must be above 0 and below --high-water %d%%", c.LowWater, c.HighWater)
	check(c.Warm >= 0, "--warm is %d, must not be negative", c.Warm)
	check(c.MaxGrace >= time.Second && c.MaxGrace <= time.Minute, "--max-grace is %s, must be 1s to 1m", c.MaxGrace)
	check(c.ModelLoad >= 0 && c.ModelLoad <= time.Minute, "--model-load is %s, must be 0s to 1m", c.ModelLoad)
	check(c.Target > 0 && c.Target <= 1, "target is %v, must be above 0 and at most 1", c.Target)
	return errors.Join(errs...)
}

// Notice is how long before its need the oracle stops lending a unit: the grace
// and the model load, in the time of the day.
func (c Config) Notice() time.Duration { return c.OfDay(c.MaxGrace + c.ModelLoad) }

// Compressed is how long a duration of the day lasts.
func (c Config) Compressed(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.Speed).Round(time.Millisecond)
}

// OfDay is how much of the day a duration is.
func (c Config) OfDay(real time.Duration) time.Duration {
	return time.Duration(float64(real) * c.Speed)
}

// lendSteps is the default of 10% in two minutes of the day, in whole seconds.
func (c Config) lendSteps() *autoscalingv2.HPAScalingRules {
	inOneSecond := math.Ceil(10 * float64(time.Second) / float64(c.Compressed(2*time.Minute)))
	return &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PercentScalingPolicy, Value: int32(min(max(inOneSecond, 1), 100)), PeriodSeconds: 1},
	}}
}

// ClockTime is the time on the wall at a moment of the day.
func ClockTime(at time.Duration) string {
	at = (at + Noon) % (24 * time.Hour)
	return fmt.Sprintf("%02d:%02d", int(at.Hours()), int(at.Minutes())%60)
}
