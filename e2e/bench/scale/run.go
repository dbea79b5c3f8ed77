package scale

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	bench "github.com/ebbtide/ebbtide/e2e/bench/sim"
)

// Config says what is measured.
type Config struct {
	// GPUs of the clusters, ascending. Their jobs grow with them.
	GPUs []int64
	// Waiting are the lengths of the queues, ascending, with which the cluster of Queued GPUs
	// is measured; none: no such table.
	Waiting []int
	Queued  int64
	// Length of what is played of each, of which the second half counts, and Every the time
	// between two decisions.
	Length, Every time.Duration
	// Out gets the table and the line of JSON.
	Out io.Writer
}

// Default is what `make bench-scale` measures.
func Default() Config {
	return Config{
		GPUs: []int64{1000, 3000, 10_000, 30_000}, Length: 24 * time.Hour, Every: time.Minute,
		Waiting: []int{1000, 3000, 10_000}, Queued: 3000,
	}
}

// mostWaiting bounds the jobs of a queue that is asked for.
const mostWaiting = 15_000

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	if len(c.GPUs) < 2 {
		return fmt.Errorf("gpus: there are %d clusters, must be at least 2", len(c.GPUs))
	}
	for i, n := range c.GPUs {
		if n < 128 || i > 0 && n <= c.GPUs[i-1] {
			return fmt.Errorf("gpus: %d is not at least 128 and more than the one before", n)
		}
	}
	if err := c.validateQueues(); err != nil {
		return err
	}
	if c.Length < time.Hour || c.Every < time.Second || c.Every > c.Length {
		return fmt.Errorf("length, every: %s and %s are not at least an hour and a second", c.Length, c.Every)
	}
	return nil
}

func (c Config) validateQueues() error {
	for i, n := range c.Waiting {
		if n < 1 || n > mostWaiting || i > 0 && n <= c.Waiting[i-1] {
			return fmt.Errorf("waiting: %d is not from 1 to %d and more than the one before", n, mostWaiting)
		}
	}
	if len(c.Waiting) == 1 || len(c.Waiting) > 0 && c.Queued < 128 {
		return fmt.Errorf("waiting, queued: %d queues and %d GPUs are not at least 2 and 128", len(c.Waiting), c.Queued)
	}
	return nil
}

// Result is the last line: the largest cluster, and how the middle decision grows.
type Result struct {
	GPUs    int64   `json:"gpus"`
	P50     float64 `json:"decideMillisecondsP50"`
	P99     float64 `json:"decideMillisecondsP99"`
	HeapMiB float64 `json:"heapMiB"`
	// GrowthExponent is k of GPUs^k, through all sizes, by the processor: 1 is linear.
	GrowthExponent float64 `json:"growthExponent"`
	// WaitingExponent is the same of jobs that wait.
	WaitingExponent float64 `json:"waitingExponent"`
}

// jobsPerGPU is how often a job of the trace is played in a cluster of 10,000 GPUs, for
// each of these.
const jobsPerGPU = 2.0 / 10_000

type row struct {
	of            float64 // what it grows with
	w             *watcher
	p50, p99      float64
	cpu50, cpu99  float64
	heap          float64
	loans, queued float64
}

// sized are clusters of all sizes.
func (c *Config) sized() (rows []*row, err error) {
	for _, gpus := range c.GPUs {
		r, err := measure(bench.Town{GPUs: gpus, From: bench.Busiest, Length: c.Length, Copies: jobsPerGPU * float64(gpus), Every: c.Every})
		if err != nil {
			return nil, fmt.Errorf("%d GPUs: %w", gpus, err)
		}
		r.of = float64(gpus)
		rows = append(rows, r)
	}
	return rows, nil
}

// queued are clusters of one size in which as many jobs wait from the beginning on.
func (c *Config) queued() (rows []*row, err error) {
	for _, n := range c.Waiting {
		r, err := measure(bench.Town{
			GPUs: c.Queued, From: bench.Busiest, Length: min(c.Length, queueLength), Copies: 1, Every: c.Every, Cluster: bench.BusiestCluster, Backlog: n,
		})
		if err != nil {
			return nil, fmt.Errorf("%d waiting jobs: %w", n, err)
		}
		r.of = r.queued
		rows = append(rows, r)
	}
	return rows, nil
}

// queueLength is how long queues are played: so short that they hardly become shorter.
const queueLength = 6 * time.Hour

func measure(t bench.Town) (*row, error) {
	w, err := watch(t)
	if err != nil {
		return nil, err
	}
	heap, err := w.size()
	if err != nil {
		return nil, err
	}
	n := float64(w.asked)
	return &row{
		w: w, p50: quantile(w.clock, 0.5), p99: quantile(w.clock, 0.99), cpu50: quantile(w.cpu, 0.5), cpu99: quantile(w.cpu, 0.99),
		heap: heap, loans: float64(w.loans) / n, queued: float64(w.jobs) / n,
	}, nil
}

// Run measures all sizes and prints them.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	rows, err := c.sized()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "One decision, of those in the second half of %s: milliseconds by the clock and of the processor.\n", c.Length)
	fmt.Fprintf(c.Out, "× is beside the row above; as many times as the GPUs is linear. Heap is a snapshot, what is kept of it, the state and the plan:\n")
	fmt.Fprintf(c.Out, "the live broker's caches of API objects are not simulated and come on top.\n\n")
	if err := c.table("GPUs", rows); err != nil {
		return err
	}
	last := rows[len(rows)-1]
	r := Result{GPUs: c.GPUs[len(c.GPUs)-1], P50: round(last.p50), P99: round(last.p99), HeapMiB: round(last.heap), GrowthExponent: round(exponent(rows))}
	if len(c.Waiting) > 0 {
		queues, err := c.queued()
		if err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "The same by how many jobs wait, all of one tenant, on %d GPUs, in the second half of %s:\n\n", c.Queued, min(c.Length, queueLength))
		if err := c.table("waiting", queues); err != nil {
			return err
		}
		r.WaitingExponent = round(exponent(queues))
	}
	return json.NewEncoder(c.Out).Encode(r)
}

func (c *Config) table(of string, rows []*row) error {
	t := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, of+"\t×\tloans\tjobs\tmade\tacted\tp50\tp99\tcpu p50\t×\tcpu p99\theap MiB\t×\t")
	for i, r := range rows {
		ratio := func(of func(*row) float64) string {
			if i == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", of(r)/of(rows[i-1]))
		}
		fmt.Fprintf(t, "%.0f\t%s\t%.0f\t%.0f\t%d\t%d\t%.3f\t%.3f\t%.3f\t%s\t%.3f\t%.2f\t%s\t\n", r.of, ratio(func(r *row) float64 { return r.of }),
			r.loans, r.queued, r.w.asked, r.w.acted, r.p50, r.p99, r.cpu50, ratio(func(r *row) float64 { return r.cpu50 }), r.cpu99,
			r.heap, ratio(func(r *row) float64 { return r.heap }))
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// exponent is the slope of a straight line through the logarithms.
func exponent(rows []*row) float64 {
	var x, y, xx, xy float64
	for _, r := range rows {
		a, b := math.Log(r.of), math.Log(r.cpu50)
		x, y, xx, xy = x+a, y+b, xx+a*a, xy+a*b
	}
	n := float64(len(rows))
	return (n*xy - x*y) / (n*xx - x*x)
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
