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
	// Length of what is played of each, of which the second half counts, and Every the time
	// between two decisions.
	Length, Every time.Duration
	// Out gets the table and the line of JSON.
	Out io.Writer
}

// Default is what `make bench-scale` measures.
func Default() Config {
	return Config{GPUs: []int64{1000, 3000, 10_000, 30_000}, Length: 24 * time.Hour, Every: time.Minute}
}

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
	if c.Length < time.Hour || c.Every < time.Second || c.Every > c.Length {
		return fmt.Errorf("length, every: %s and %s are not at least an hour and a second", c.Length, c.Every)
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
}

// jobsPerGPU is how often a job of the trace is played in a cluster of 10,000 GPUs, for
// each of these.
const jobsPerGPU = 2.0 / 10_000

type row struct {
	gpus          int64
	w             *watcher
	p50, p99      float64
	cpu50, cpu99  float64
	heap          float64
	loans, queued float64
}

func measure(c *Config, gpus int64) (*row, error) {
	w, err := watch(bench.Town{GPUs: gpus, From: bench.Busiest, Length: c.Length, Copies: jobsPerGPU * float64(gpus), Every: c.Every})
	if err != nil {
		return nil, err
	}
	heap, err := w.size()
	if err != nil {
		return nil, err
	}
	n := float64(w.asked)
	return &row{
		gpus: gpus, w: w, p50: quantile(w.clock, 0.5), p99: quantile(w.clock, 0.99), cpu50: quantile(w.cpu, 0.5), cpu99: quantile(w.cpu, 0.99),
		heap: heap, loans: float64(w.loans) / n, queued: float64(w.jobs) / n,
	}, nil
}

// Run measures all sizes and prints them.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	var rows []*row
	for _, gpus := range c.GPUs {
		r, err := measure(&c, gpus)
		if err != nil {
			return fmt.Errorf("%d GPUs: %w", gpus, err)
		}
		rows = append(rows, r)
	}
	if err := c.table(rows); err != nil {
		return err
	}
	last := rows[len(rows)-1]
	return json.NewEncoder(c.Out).Encode(Result{
		GPUs: last.gpus, P50: round(last.p50), P99: round(last.p99), HeapMiB: round(last.heap), GrowthExponent: round(exponent(rows)),
	})
}

func (c *Config) table(rows []*row) error {
	fmt.Fprintf(c.Out, "One decision, of those in the second half of %s: milliseconds by the clock and of the processor.\n", c.Length)
	fmt.Fprintf(c.Out, "× is beside the row above; as many times as the GPUs is linear. Heap is a snapshot, what is kept of it, the state and the plan:\n")
	fmt.Fprintf(c.Out, "the live broker's caches of API objects are not simulated and come on top.\n\n")
	t := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "GPUs\t×\tloans\tjobs\tmade\tacted\tp50\tp99\tcpu p50\t×\tcpu p99\theap MiB\t×\t")
	for i, r := range rows {
		ratio := func(of func(*row) float64) string {
			if i == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", of(r)/of(rows[i-1]))
		}
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%.0f\t%d\t%d\t%.3f\t%.3f\t%.3f\t%s\t%.3f\t%.2f\t%s\t\n", r.gpus, ratio(func(r *row) float64 { return float64(r.gpus) }),
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
		a, b := math.Log(float64(r.gpus)), math.Log(r.cpu50)
		x, y, xx, xy = x+a, y+b, xx+a*a, xy+a*b
	}
	n := float64(len(rows))
	return (n*xy - x*y) / (n*xx - x*x)
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
