package victims

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Config says what is measured.
type Config struct {
	// Small is how many small instances are compared with the best there is, and Large on
	// how many larger ones the rules are compared.
	Small, Large int
	// Out gets the tables and the line of JSON.
	Out io.Writer
}

// Default is what `make bench-victims` measures.
func Default() Config { return Config{Small: 10000, Large: 240} }

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	if c.Small < 1 {
		return fmt.Errorf("small: %d is not at least 1", c.Small)
	}
	if c.Large < 1 {
		return fmt.Errorf("large: %d is not at least 1", c.Large)
	}
	return nil
}

// chooser is a way of choosing victims.
type chooser struct {
	name   string // in the line of JSON
	choose func(instance) (lend.Choice, bool)
}

func choosers() []chooser {
	all := []chooser{{"ebbtide", func(in instance) (lend.Choice, bool) {
		return lend.Choose(in.rooms, in.owed, in.candidates)
	}}}
	for _, r := range []struct {
		name string
		rule lend.VictimRule
	}{
		{"heuristics", lend.HeuristicsAlone}, {"random", lend.RandomVictims}, {"fewestJobs", lend.FewestJobs},
		{"lyra", lend.LyraCost}, {"gfs", lend.GFSScore},
	} {
		all = append(all, chooser{r.name, func(in instance) (lend.Choice, bool) {
			choice, ok, err := lend.ChooseBy(r.rule, in.rooms, in.owed, in.candidates)
			return choice, ok && err == nil
		}})
	}
	return all
}

// result is what one chooser did with one instance.
type result struct {
	choice      lend.Choice
	took        time.Duration
	units, jobs int64
}

// trial is one instance and what all did with it.
type trial struct {
	best     float64 // cost, where everything was tried
	possible bool
	results  []result
	err      error
}

// Run makes all comparisons and prints them.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	a, err := newAges()
	if err != nil {
		return err
	}
	all := choosers()
	small := play(c.Small, func(i int) trial {
		in := a.small(uint64(i))
		t := in.try(all)
		t.best, t.possible = in.cheapest()
		return t
	})
	large := play(c.Large, func(i int) trial { return a.large(uint64(i)).try(all) })
	for i, t := range append(small[:len(small):len(small)], large...) {
		if t.err != nil {
			return fmt.Errorf("instance %d: %w", i, t.err)
		}
	}
	return report(c, all, small, large)
}

// play runs trials, as many at once as there are processors.
func play(n int, one func(int) trial) []trial {
	trials := make([]trial, n)
	var running sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		running.Go(func() {
			for i := w; i < n; i += workers {
				trials[i] = one(i)
			}
		})
	}
	running.Wait()
	return trials
}

// try lets all choose. An answer that does not make the room it promises is an error.
func (in instance) try(all []chooser) trial {
	var t trial
	for _, c := range all {
		start := time.Now()
		choice, ok := c.choose(in)
		r := result{choice: choice, took: time.Since(start), jobs: int64(len(choice.Victims))}
		free := map[string]int64{}
		for _, v := range choice.Victims {
			for _, g := range in.candidates[v.Index].Grants {
				r.units += g.Count
				free[g.Node] += g.Count
			}
		}
		left := make([]int64, len(in.rooms))
		for i, room := range in.rooms {
			left[i] = room.Free + free[room.Node]
		}
		if ok != in.roomFor(left) && t.err == nil {
			t.err = fmt.Errorf("%s says %t, and its %d victims do not bear that out", c.name, ok, len(choice.Victims))
		}
		t.results = append(t.results, r)
	}
	return t
}

// gap is by how much more than the least the k-th chooser's answers cost, over the
// instances where somebody had to stop.
type gap struct {
	mean, worst float64
	optimal     int
	of          int
}

func gapOf(trials []trial, k int) (g gap, err error) {
	for i, t := range trials {
		choice := t.results[k].choice
		if !t.possible || t.best == 0 {
			continue
		}
		over := choice.Stopped/t.best - 1
		if over < -1e-9 {
			return gap{}, fmt.Errorf("instance %d: an answer costs %g, less than the least, %g", i, choice.Stopped, t.best)
		}
		g.of++
		if over < 1e-9 {
			g.optimal++
			continue
		}
		g.mean += over
		g.worst = max(g.worst, over)
	}
	g.mean /= math.Max(float64(g.of), 1)
	return g, nil
}

// summary is how one chooser did over the larger instances.
type summary struct {
	lost, worst float64 // unit-seconds on average; at worst, as a multiple of Ebbtide's
	units, jobs float64
	took, most  time.Duration
}

func summarise(trials []trial, k int) (s summary) {
	n := float64(len(trials))
	var took time.Duration
	for _, t := range trials {
		r, ours := t.results[k], t.results[0]
		s.lost += r.choice.Stopped / n
		s.worst = max(s.worst, r.choice.Stopped/max(ours.choice.Stopped, 1))
		s.units += float64(r.units) / n
		s.jobs += float64(r.jobs) / n
		took += r.took
		s.most = max(s.most, r.took)
	}
	s.took = took / time.Duration(max(len(trials), 1))
	return s
}

// line is the last word.
type line struct {
	Instances         int                `json:"instances"`
	MeanGap           float64            `json:"meanGap"`
	WorstGap          float64            `json:"worstGap"`
	HeuristicMeanGap  float64            `json:"heuristicMeanGap"`
	HeuristicWorstGap float64            `json:"heuristicWorstGap"`
	LostWork          map[string]float64 `json:"lostWork"`
}

func report(c Config, all []chooser, small, large []trial) error {
	last := line{Instances: len(small), LostWork: map[string]float64{}}
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%d instances of up to 6 nodes and 12 loans: lost work above the least there is\n\n", len(small))
	fmt.Fprintln(table, "RULE\tSTOPS SOMEBODY\tLEAST\tMEAN GAP\tWORST GAP\t")
	for k, ch := range all {
		g, err := gapOf(small, k)
		if err != nil {
			return fmt.Errorf("%s: %w", ch.name, err)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.3f%%\t%.1f%%\t\n", ch.name, g.of, g.optimal, 100*g.mean, 100*g.worst)
		switch ch.name {
		case "ebbtide":
			last.MeanGap, last.WorstGap = round(g.mean), round(g.worst)
		case "heuristics":
			last.HeuristicMeanGap, last.HeuristicWorstGap = round(g.mean), round(g.worst)
		}
	}
	fmt.Fprintf(table, "\n%d instances of 30 to 100 nodes full of gangs of 1 to 64: lost work in unit-seconds\n\n", len(large))
	fmt.Fprintln(table, "RULE\tMEAN LOST WORK\tWORST OF OURS\tEVICTED UNITS\tBROKEN JOBS\tMEAN TIME\tLONGEST\t")
	for k, ch := range all {
		s := summarise(large, k)
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t%.1f\t%.1f\t%s\t%s\t\n", ch.name, s.lost, s.worst, s.units, s.jobs,
			s.took.Round(time.Microsecond), s.most.Round(time.Microsecond))
		if ch.name != "heuristics" {
			last.LostWork[ch.name] = math.Round(s.lost)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	text, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = fmt.Fprintf(c.Out, "\n%s\n", text)
	return err
}

// round keeps six digits behind the point.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }
