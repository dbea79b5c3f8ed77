package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
)

// Config says what is measured.
type Config struct {
	Town
	// Slice is how much of the trace is played with each of the Intervals between two
	// decisions, from the beginning of its busiest fortnight on; 0: no such table.
	Slice     time.Duration
	Intervals []time.Duration
	// Out gets the tables and the line of JSON.
	Out io.Writer
}

// Busiest is where the busiest fortnight of the trace begins.
const Busiest = 14 * day

// Default is what `make bench-sim` measures.
func Default() Config {
	return Config{
		Town:  Town{GPUs: 10_000, Length: 60 * day, Copies: 1, Every: 5 * time.Minute},
		Slice: 4 * day, Intervals: []time.Duration{15 * time.Second, time.Minute, 5 * time.Minute},
	}
}

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	switch {
	case c.GPUs < 16*perNode || c.GPUs > 1_000_000:
		return fmt.Errorf("gpus: %d is not from %d to a million", c.GPUs, 16*perNode)
	case c.Length < time.Hour || c.Length > 60*day:
		return fmt.Errorf("length: %s is not from an hour to the 60 days of the trace", c.Length)
	case c.Every < time.Second || c.Every > time.Hour:
		return fmt.Errorf("every: %s is not from a second to an hour", c.Every)
	case !(c.Copies > 0 && c.Copies <= 100):
		return fmt.Errorf("copies: %v is not above 0 and at most 100", c.Copies)
	case c.Slice < 0 || c.Slice > 60*day-Busiest:
		return fmt.Errorf("slice: %s is not from 0 to %s", c.Slice, 60*day-Busiest)
	}
	return nil
}

// Result is the last line.
type Result struct {
	Jobs            int64   `json:"jobs"`
	GPUs            int64   `json:"gpus"`
	Seconds         float64 `json:"seconds"`
	PeakMiB         float64 `json:"peakMiB"`
	EventsPerSecond float64 `json:"eventsPerSecond"`
}

// garbage is how much of it there may be before it is collected, in percent of what is in
// use: little is, so that collecting it as often as by default costs more than it saves.
const garbage = 400

// busy is how many times as much time as on the processor passes only where others have it.
const busy = 1.5

// BusiestCluster is the one of the trace that has the most jobs then.
const BusiestCluster = "cluster04"

// played is a run, and what it took: by the clock, and of the processor.
type played struct {
	*sim.Result
	queue      *counted
	clock, cpu time.Duration
}

// counted is a policy, and how many jobs wait when it has decided.
type counted struct {
	sim.Policy
	asked, waiting, most int
}

// Decide is that of sim.Policy.
func (c *counted) Decide(w *sim.World) time.Duration {
	again := c.Policy.Decide(w)
	n := len(w.Waiting())
	c.asked, c.waiting, c.most = c.asked+1, c.waiting+n, max(c.most, n)
	return again
}

func (c *counted) mean() float64 { return float64(c.waiting) / float64(max(c.asked, 1)) }

// play plays a town once.
func play(t Town) (*played, error) {
	p := &played{}
	began := time.Now()
	used, err := Processor()
	if err != nil {
		return nil, err
	}
	s, err := t.Scenario()
	if err != nil {
		return nil, fmt.Errorf("making the town: %w", err)
	}
	options := product.Defaults()
	options.Every = t.Every
	p.queue = &counted{Policy: product.New(lend.DefaultPolicy(), options)}
	if p.Result, err = sim.Run(s, p.queue, nil); err != nil {
		return nil, fmt.Errorf("playing the town: %w", err)
	}
	now, err := Processor()
	p.clock, p.cpu = time.Since(began), now-used
	return p, err
}

// Run plays and measures, on one processor.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	whole, err := play(c.Town)
	if err != nil {
		return err
	}
	peak, err := peakMiB() // before anything else could raise it
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "%d jobs over %s on %d GPUs, a decision at most every %s: %.2f s by the clock, %.2f s of one processor, with reading the traces; garbage is collected at %d%% of what is in use\n",
		whole.Submitted, c.Length, c.GPUs, c.Every, whole.clock.Seconds(), whole.cpu.Seconds(), garbage)
	fmt.Fprintf(c.Out, "%d events, of which the core was asked %d times; %d jobs ended, %.0f GPU-hours of training on what was lent, %d evictions\n",
		whole.Events, whole.Decisions, whole.Finished, whole.Lent, whole.Evictions)
	c.warn(whole)
	fmt.Fprintln(c.Out)
	if err := c.days(); err != nil {
		return err
	}
	if err := c.intervals(); err != nil {
		return err
	}
	return json.NewEncoder(c.Out).Encode(Result{
		Jobs: whole.Submitted, GPUs: c.GPUs, Seconds: round(whole.clock.Seconds()), PeakMiB: round(peak),
		EventsPerSecond: math.Round(float64(whole.Events) / whole.clock.Seconds()),
	})
}

// days plays two of 70 nodes: with as many jobs as there mostly are, and with many more than
// can run, all of one tenant.
func (c *Config) days() error {
	few := Town{GPUs: 70 * perNode, From: Busiest, Length: day, Copies: 0.5, Every: 15 * time.Second}
	long := few
	long.Copies, long.Cluster = 6, BusiestCluster
	for _, t := range []Town{few, long} {
		p, err := play(t)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "a day of 70 nodes with %d jobs, of which %.0f wait on average and %d at most, a decision every %s: %.3f s by the clock, %.3f s of the processor\n",
			p.Submitted, p.queue.mean(), p.queue.most, t.Every, p.clock.Seconds(), p.cpu.Seconds())
		c.warn(p)
	}
	_, err := fmt.Fprintln(c.Out)
	return err
}

// warn says where the clock tells of more than this process.
func (c *Config) warn(p *played) {
	if p.clock.Seconds() > busy*p.cpu.Seconds() {
		fmt.Fprintf(c.Out, "the machine was busy: by the clock that took %.1f times as long as the processor worked on it\n", p.clock.Seconds()/p.cpu.Seconds())
	}
}

// intervals shows what the time between two decisions does.
func (c *Config) intervals() error {
	if c.Slice == 0 {
		return nil
	}
	fmt.Fprintf(c.Out, "the same cluster over %s of the busiest fortnight, by the time between two decisions:\n", c.Slice)
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "every\tjobs\tlent GPU-h\tmean wait s\tevictions\tshort %\tasked\tseconds\tof the processor\t")
	for _, every := range c.Intervals {
		t := c.Town
		t.From, t.Length, t.Every = Busiest, c.Slice, every
		p, err := play(t)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.1f\t%d\t%.3f\t%d\t%.2f\t%.2f\t\n", every, p.Submitted, p.Lent, p.QueueingMean, p.Evictions, 100*p.ShortShare, p.Decisions, p.clock.Seconds(), p.cpu.Seconds())
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func round(v float64) float64 { return math.Round(v*100) / 100 }
