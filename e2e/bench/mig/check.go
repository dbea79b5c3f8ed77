package mig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// CheckConfig says what is checked.
type CheckConfig struct {
	// Samples is how many states of each board are drawn that has too many for all.
	Samples int
	// Most is the mean time of one plan, in microseconds, from which on the check fails.
	Most float64
	// Out gets the tables and the line of JSON.
	Out io.Writer
}

// DefaultCheck is what `make check-mig` checks.
func DefaultCheck() CheckConfig { return CheckConfig{Samples: 4000, Most: 5} }

// Validate returns what is wrong with the configuration, or nil.
func (c CheckConfig) Validate() error {
	if c.Samples < 1 {
		return fmt.Errorf("samples: %d is not at least 1", c.Samples)
	}
	if c.Most <= 0 {
		return fmt.Errorf("most: %g is not above 0", c.Most)
	}
	return nil
}

// mostForNode is the mean time of a plan for a node from which on the check fails.
const mostForNode = time.Millisecond

// result is what was found on one board.
type result struct {
	states, cases            int
	mismatches, fixedTouched int
	first                    string // of what is wrong
}

func (r *result) add(o result) {
	r.states += o.states
	r.cases += o.cases
	r.mismatches += o.mismatches
	r.fixedTouched += o.fixedTouched
	if r.first == "" {
		r.first = o.first
	}
}

// checkLine is the last word.
type checkLine struct {
	States           int     `json:"states"`
	Cases            int     `json:"cases"`
	Mismatches       int     `json:"mismatches"`
	FixedTouched     int     `json:"fixedTouched"`
	MeanMicroseconds float64 `json:"meanMicroseconds"`
}

// Check makes all comparisons, prints them, and returns an error if a plan was not the
// best there is, if one touched what it must not, or if plans took too long.
func Check(c CheckConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := checkCounts(c.Out); err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nBOARD\tLAYOUTS\tSTATES\tCASES\tMISMATCHES\tFIXED TOUCHED\tMEAN µs\t")
	var total result
	var mean float64
	for i, s := range subjects() {
		all := layouts(&s.board)
		r := s.check(all, c.Samples)
		took, err := s.meanTime(all)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%.2f\t\n", s.name, len(all), r.states, r.cases, r.mismatches, r.fixedTouched, took)
		total.add(r)
		if i == 0 {
			mean = took
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	nodes, err := planNodes(c.Samples)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\n%d nodes of eight A100, drawn, demand for up to three profiles: %s each on average, %s at most\n",
		nodes.plans, nodes.mean.Round(time.Microsecond), nodes.longest.Round(time.Microsecond))
	if total.first != "" {
		fmt.Fprintf(c.Out, "\nthe first that is wrong: %s\n", total.first)
	}
	text, err := json.Marshal(checkLine{total.states, total.cases, total.mismatches, total.fixedTouched, round(mean, 1000)})
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	fmt.Fprintf(c.Out, "\n%s\n", text)
	switch {
	case total.mismatches > 0 || total.fixedTouched > 0:
		return fmt.Errorf("%d plans of %d are not the best there is, and %d touch what they must not", total.mismatches, total.cases, total.fixedTouched)
	case mean >= c.Most:
		return fmt.Errorf("a plan takes %g µs, which is not below %g", mean, c.Most)
	case nodes.mean >= mostForNode:
		return fmt.Errorf("a plan for a node takes %s, which is not below %s", nodes.mean, mostForNode)
	}
	return nil
}

// checkCounts compares the numbers of layouts with those that are known of the boards.
func checkCounts(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "BOARD\tLAYOUTS\tMAXIMAL\tBY THE PLANNER'S RULES\t")
	var wrong []error
	for _, k := range []struct {
		name, board   string
		profiles      []mig.ProfileID
		sets, maximal int
	}{
		{"A100, 1g to 7g", "A100-40GB", []mig.ProfileID{0, 1, 2, 3, 4}, 298, 19},
		{"A100, and 1g with double memory", "A100-40GB", []mig.ProfileID{0, 1, 2, 3, 4, 9}, 723, 78},
		{"A100, all seven", "A100-40GB", nil, 2319, 239},
		{"A30, all five", "A30-24GB", nil, 76, -1},
		{"RTX PRO 6000, 1g 2g 4g", "RTX-PRO-6000-96GB", []mig.ProfileID{0, 1, 3}, 26, 5},
		{"RTX PRO 6000, all eleven", "RTX-PRO-6000-96GB", nil, 717, -1},
	} {
		g := board(k.board, k.profiles...)
		all := layouts(&g)
		most, ours := maximal(&g, all), 0
		g.Enumerate(nil, func([]mig.Placed) bool { ours++; return true })
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t\n", k.name, len(all), most, ours)
		if len(all) != k.sets || ours != k.sets || k.maximal >= 0 && most != k.maximal {
			wrong = append(wrong, fmt.Errorf("%s: %d layouts, %d maximal, %d by the planner's rules; want %d and %d", k.name, len(all), most, ours, k.sets, k.maximal))
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the counts: %w", err)
	}
	return errors.Join(wrong...)
}

// board is an embedded board with some of its profiles, or all if none are named.
func board(name string, profiles ...mig.ProfileID) mig.Geometry {
	g, _ := mig.Board(name) // what is not there has no layouts, which the counts would show
	if profiles != nil {
		g.Profiles = slices.DeleteFunc(g.Profiles, func(p mig.Profile) bool { return !slices.Contains(profiles, p.ID) })
	}
	return g
}

// subject is a board to check.
type subject struct {
	name  string
	board mig.Geometry
	// sampled: states and demands are drawn, as there are too many of them.
	sampled bool
}

func subjects() []subject {
	return []subject{
		{"A100, 1g to 7g, all states", board("A100-40GB", 0, 1, 2, 3, 4), false},
		{"A30, all five, all states", board("A30-24GB"), false},
		{"A100, all seven, sampled", board("A100-40GB"), true},
		{"RTX PRO 6000, all eleven, sampled", board("RTX-PRO-6000-96GB"), true},
	}
}

// allUses are all that an instance can be used for, with one that nobody has heard of.
var allUses = []mig.Use{mig.Idle, mig.Remnant, mig.Pinned, mig.Busy, mig.Lent, mig.Draining, mig.Foreign, mig.Unknown, "Borrowed"}

// everyUse is up to how many instances a layout is checked with all uses of each. Beyond,
// each is idle, a remnant, or one of the others in turn, which a plan may touch as little.
const everyUse = 1

// usesOf yields what the instances of a layout can be used for.
func usesOf(n int, yield func([]mig.Use)) {
	uses := make([]mig.Use, n)
	turn := 0
	var fill func(i int)
	fill = func(i int) {
		if i == n {
			yield(uses)
			return
		}
		choices := allUses
		if n > everyUse {
			turn++
			choices = []mig.Use{mig.Idle, mig.Remnant, allUses[2+turn%(len(allUses)-2)]}
		}
		for _, u := range choices {
			uses[i] = u
			fill(i + 1)
		}
	}
	fill(0)
}

// demandsOf lists demands: each number of each profile from none to as many as the board
// allows, once with equal weights and once with those of their compute slices.
func demandsOf(g *mig.Geometry) [][]mig.Demand {
	all := [][]mig.Demand{nil}
	for _, p := range g.Profiles {
		for _, d := range all {
			for n := 1; n <= p.Max; n++ {
				all = append(all, append(slices.Clone(d), mig.Demand{Profile: p.ID, Count: n}))
			}
		}
	}
	for _, d := range all {
		if len(d) < 2 {
			continue // a weight makes no difference
		}
		weighted := slices.Clone(d)
		for k := range weighted {
			p, _ := g.Profile(weighted[k].Profile)
			weighted[k].Weight = p.Compute
		}
		all = append(all, weighted)
	}
	return all
}

// check compares plans for a board, on as many processors as there are.
func (s subject) check(all []layout, samples int) result {
	t := mig.NewTable(&s.board)
	workers := runtime.GOMAXPROCS(0)
	results := make([]result, workers)
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			e := examiner{board: &s.board, table: t, layouts: all}
			if s.sampled {
				sample(&s.board, all, rand.New(rand.NewPCG(uint64(w), 31)), samples/workers, e.examine)
			} else {
				exhaust(&s.board, all, w, workers, e.examine)
			}
			results[w] = e.result
		})
	}
	running.Wait()
	var sum result
	for _, r := range results {
		sum.add(r)
	}
	return sum
}

func round(v, digits float64) float64 { return float64(int64(v*digits+0.5)) / digits }
