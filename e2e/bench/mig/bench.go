package mig

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync"
	"text/tabwriter"

	"github.com/ebbtide/ebbtide/mig"
)

// BenchConfig says what is measured.
type BenchConfig struct {
	// GPUs of the cluster, all A100.
	GPUs int
	// Loads are how much of the compute slices is asked for, on average.
	Loads []float64
	// Seeds is how many runs there are of each load, with Arrivals slices each. The first
	// twentieth fills the cluster and does not count.
	Seeds, Arrivals int
	// SmallSeeds and SmallArrivals are the same of one GPU, of which the optimum is found by
	// trying everything.
	SmallSeeds, SmallArrivals int
	// Check fails if least loss rejects more than half of what first fit does at a load of 0.75.
	Check bool
	// Out gets the table and the line of JSON.
	Out io.Writer
}

// DefaultBench is what `make bench-mig` measures.
func DefaultBench() BenchConfig {
	return BenchConfig{GPUs: 50, Loads: []float64{0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95}, Seeds: 5, Arrivals: 40000, SmallSeeds: 20, SmallArrivals: 200}
}

// firstSeed is of the runs that are judged. Seeds from 100 on were looked at while the rules
// were chosen.
const firstSeed = 1000

// Validate returns what is wrong with the configuration, or nil.
func (c BenchConfig) Validate() error {
	switch {
	case c.GPUs < 1:
		return fmt.Errorf("gpus: %d is not at least 1", c.GPUs)
	case c.Seeds < 1:
		return fmt.Errorf("seeds: %d is not at least 1", c.Seeds)
	case c.Arrivals < 20:
		return fmt.Errorf("arrivals: %d is not at least 20", c.Arrivals)
	case c.SmallSeeds < 1:
		return fmt.Errorf("smallSeeds: %d is not at least 1", c.SmallSeeds)
	case c.SmallArrivals < 20 || c.SmallArrivals > mostSmallArrivals:
		return fmt.Errorf("smallArrivals: %d is not from 20 to %d", c.SmallArrivals, mostSmallArrivals)
	case len(c.Loads) == 0:
		return fmt.Errorf("loads: there are none")
	}
	for _, l := range c.Loads {
		if l <= 0 {
			return fmt.Errorf("loads: %g is not above 0", l)
		}
	}
	return nil
}

// The columns beside the policies: what moving gives, and what nobody can do better than.
const (
	movingName  = "moving"
	boundName   = "bound"
	optimumName = "optimum"
)

// benchLine is the last word: percent of slices without a place, by load and policy.
type benchLine struct {
	GPUs     int                           `json:"gpus"`
	Seeds    int                           `json:"seeds"`
	Arrivals int                           `json:"arrivals"`
	Rejected map[string]map[string]float64 `json:"rejectedPercent"`
	// OfFirstFit is what least loss rejects, as a share of what first fit does, by load;
	// DRAOfFirstFit the same of the DRA driver's order.
	OfFirstFit    map[string]float64 `json:"ofFirstFit"`
	DRAOfFirstFit map[string]float64 `json:"draOfFirstFit"`
	// OneGPU is Rejected on a single GPU, with the offline optimum.
	OneGPU map[string]map[string]float64 `json:"oneGPURejectedPercent"`
}

// Bench plays all policies at all loads, and prints how much each rejects.
func Bench(c BenchConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	last := benchLine{GPUs: c.GPUs, Seeds: c.Seeds, Arrivals: c.Arrivals, Rejected: map[string]map[string]float64{}, OfFirstFit: map[string]float64{}, DRAOfFirstFit: map[string]float64{}, OneGPU: map[string]map[string]float64{}}
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "percent of %d slices without a place on %d A100, by how many of the compute slices are asked for\n\nLOAD\t", c.Seeds*(c.Arrivals-c.Arrivals/20), c.GPUs)
	for _, p := range policies {
		fmt.Fprintf(table, "%s\t", p.name)
	}
	fmt.Fprintf(table, "%s\t%s\tOF FIRST FIT\t\n", movingName, boundName)
	for _, load := range c.Loads {
		row, key := c.row(load), strconv.FormatFloat(load, 'f', 2, 64)
		fmt.Fprintf(table, "%s\t", key)
		for _, p := range policies {
			fmt.Fprintf(table, "%.3f\t", row[p.name])
		}
		of := "-"
		if first := row["firstFit"]; first > 0 {
			last.OfFirstFit[key] = round(row[policies[0].name]/first, 1000)
			last.DRAOfFirstFit[key] = round(row["dra"]/first, 1000)
			of = fmt.Sprintf("%.2f", last.OfFirstFit[key])
		}
		fmt.Fprintf(table, "%.3f\t%.3f\t%s\t\n", row[movingName], row[boundName], of)
		last.Rejected[key] = row
	}
	fmt.Fprintln(table)
	c.oneGPU(table, last.OneGPU)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	for _, p := range policies {
		fmt.Fprintf(c.Out, "%s: %s\n", p.name, p.text)
	}
	fmt.Fprintf(c.Out, "%s: what has no place although all in use may be moved at any time\n", movingName)
	fmt.Fprintf(c.Out, "%s: the fewest that any choice of places and rejections gives that knows what will come, and moves nothing\n", optimumName)
	fmt.Fprintf(c.Out, "%s: what everybody rejects at least, even who knows the future, moves slices and cuts them in pieces\n", boundName)
	text, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	fmt.Fprintf(c.Out, "\n%s\n", text)
	if of, ok := last.OfFirstFit["0.75"]; c.Check && (!ok || of > 0.5) {
		return fmt.Errorf("at a load of 0.75, least loss rejects %g of what first fit does, which is not at most 0.5", of)
	}
	return nil
}

// oneGPU adds what is rejected on a single GPU, where the optimum can be found.
func (c BenchConfig) oneGPU(table io.Writer, rows map[string]map[string]float64) {
	fmt.Fprintf(table, "on one A100, %d slices\n\nLOAD\t", c.SmallSeeds*(c.SmallArrivals-c.SmallArrivals/20))
	for _, p := range policies {
		fmt.Fprintf(table, "%s\t", p.name)
	}
	fmt.Fprintf(table, "%s\t\n", optimumName)
	for _, load := range c.Loads {
		row, key := c.smallRow(load), strconv.FormatFloat(load, 'f', 2, 64)
		fmt.Fprintf(table, "%s\t", key)
		for _, p := range policies {
			fmt.Fprintf(table, "%.2f\t", row[p.name])
		}
		fmt.Fprintf(table, "%.2f\t\n", row[optimumName])
		rows[key] = row
	}
	fmt.Fprintln(table)
}

// row is what each policy rejects at a load, in percent, and the bound.
func (c BenchConfig) row(load float64) map[string]float64 {
	board, _ := mig.Board("A100-40GB") // it is there: the counts of Check and its tests have it
	from := c.Arrivals / 20
	rejected := make([][]int, c.Seeds) // by seed and name
	each(c.Seeds, func(i int) {
		seed := uint64(firstSeed + i)
		all := draw(&board, c.GPUs, load, c.Arrivals, seed)
		for _, p := range policies {
			rejected[i] = append(rejected[i], play(newCluster(board, c.GPUs), p.make(seed), all, from))
		}
		rejected[i] = append(rejected[i], moving(c.GPUs, all, from), fewest(c.GPUs, all, from))
	})
	var names []string
	for _, p := range policies {
		names = append(names, p.name)
	}
	row := map[string]float64{}
	for k, name := range append(names, movingName, boundName) {
		sum := 0
		for i := range rejected {
			sum += rejected[i][k]
		}
		row[name] = round(100*float64(sum)/float64(c.Seeds*(c.Arrivals-from)), 1e4)
	}
	return row
}

// each runs trials, as many at once as there are processors.
func each(n int, one func(int)) {
	var running sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		running.Go(func() {
			for i := w; i < n; i += workers {
				one(i)
			}
		})
	}
	running.Wait()
}
