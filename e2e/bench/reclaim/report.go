package reclaim

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// aim is a target and whether it was met.
type aim struct {
	text string
	met  bool
}

// report writes a case's table and aims, and returns its line of JSON.
func report(out io.Writer, t trial, rounds []outcome) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Case %s: %s.\n", t.name, t.title)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "ROUND\tWAVE\tSYSTEM\tEVICTED\tBROKEN\tLOST GPU-H\tASKED\tGONE\tBOUND\tMEAN\tP99\tNET P99\t")
	for i, o := range rounds {
		for k := range o[stock] {
			for _, s := range []system{stock, ebbtide} {
				r := o[s][k]
				label := r.wave.String()
				if r.waves > 1 {
					label = fmt.Sprintf("%d times %s", r.waves, label)
				}
				writeRow(table, i, label, s, r)
			}
		}
		if len(o[stock]) > 1 {
			for _, s := range []system{stock, ebbtide} {
				writeRow(table, i, "all", s, total(o[s]))
			}
		}
	}
	if err := table.Flush(); err != nil {
		return "", fmt.Errorf("write the comparison: %w", err)
	}
	b.WriteString(legend)
	for i, o := range rounds {
		if len(o[stock]) > 1 {
			fmt.Fprintf(&b, "Lost in round %d up to and with each wave, as a share of stock's: %s.\n", i+1, soFar(o))
		}
	}
	for _, a := range judge(t, rounds) {
		verdict := "met"
		if !a.met {
			verdict = "MISSED"
		}
		fmt.Fprintf(&b, "%6s: %s\n", verdict, a.text)
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(out, b.String()); err != nil {
		return "", fmt.Errorf("write the comparison: %w", err)
	}
	return line(t, rounds)
}

const legend = `Seconds from a wave's beginning until the last victim was asked to stop, all victims were GONE and
the last pod was BOUND (of several waves, the longest); from a pod's making to its binding, the MEAN,
the 99th percentile, and that net of the time that the wave's slowest victim took to stop.
`

func writeRow(out io.Writer, round int, label string, s system, r row) {
	fmt.Fprintf(out, "%d\t%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", round+1, label, s, r.evicted, r.broken, r.lost/3600,
		r.asked.Seconds(), r.gone.Seconds(), r.took.Seconds(), mean(r.waits).Seconds(), quantile(r.waits, 0.99).Seconds(), quantile(r.net, 0.99).Seconds())
}

// judge holds every round against the aims; one is met if it was in all of them.
func judge(t trial, rounds []outcome) []aim {
	var all []aim
	for i, o := range rounds {
		aims := t.aims(o[ebbtide], o[stock])
		if i == 0 {
			all = aims
			continue
		}
		for k := range all {
			all[k].met = all[k].met && aims[k].met
		}
	}
	return all
}

func aimsA(mine, _ []row) []aim {
	sum := total(mine)
	return []aim{
		{"8 pods evicted", sum.evicted == 8},
		{"1 job broken", sum.broken == 1},
		{"bound within 2 s", sum.took <= 2*time.Second},
	}
}

func aimsB(mine, other []row) []aim {
	return []aim{
		{"each wave bound within 3 s", total(mine).took <= 3*time.Second},
		{"lost work at most 0.15 of stock's over all waves", ratio(total(mine), total(other)) <= 0.15},
		{"lost work in no wave above stock's", worst(mine, other) <= 1},
	}
}

func aimsEqual(mine, other []row) []aim {
	sum := total(mine[:min(len(mine), 4)])
	return append([]aim{
		{"120 pods evicted over the first four waves", sum.evicted == 120},
		{"at most 8 jobs broken over the first four waves", sum.broken <= 8},
	}, aimsB(mine, other)[:1]...)
}

func aimsC(mine, _ []row) []aim {
	return []aim{{"P99 from made to bound, net of the victim's own stopping, at most 1 s", quantile(total(mine).net, 0.99) <= time.Second}}
}

// ratio of what was lost; infinite where only the first lost anything, 0 where neither did.
func ratio(mine, other row) float64 {
	if mine.lost == 0 {
		return 0
	}
	return mine.lost / other.lost
}

// worst is the highest ratio of any shape of waves.
func worst(mine, other []row) float64 {
	most := 0.0
	for i := range mine {
		most = max(most, ratio(mine[i], other[i]))
	}
	return most
}

// soFar is, after each shape of waves, what Ebbtide has lost until then as a share of
// what stock has. Stock takes survivors of gangs that it broke before, at no loss of that
// wave: what they had was lost with an earlier one.
func soFar(o outcome) string {
	shares := make([]string, 0, len(o[stock]))
	for i := range o[stock] {
		shares = append(shares, fmt.Sprintf("%.3f", ratio(total(o[ebbtide][:i+1]), total(o[stock][:i+1]))))
	}
	return strings.Join(shares, ", ")
}

// figures of one system in the line of JSON.
type figures struct {
	EvictedPods    float64 `json:"evictedPods"`
	BrokenJobs     float64 `json:"brokenJobs"`
	LostGPUSeconds float64 `json:"lostGPUSeconds"`
	// PendingToBoundP99Seconds is net of the victim's own stopping in case c.
	PendingToBoundP99Seconds float64 `json:"pendingToBoundP99Seconds"`
}

// line is the case in JSON: of several rounds the median of each number. A ratio to
// nothing is null.
func line(t trial, rounds []outcome) (string, error) {
	of := func(s system) figures {
		number := func(get func(sum row) float64) float64 {
			values := make([]float64, 0, len(rounds))
			for _, o := range rounds {
				values = append(values, get(total(o[s])))
			}
			return median(values)
		}
		return figures{
			EvictedPods:    number(func(sum row) float64 { return float64(sum.evicted) }),
			BrokenJobs:     number(func(sum row) float64 { return float64(sum.broken) }),
			LostGPUSeconds: math.Round(number(func(sum row) float64 { return sum.lost })),
			PendingToBoundP99Seconds: number(func(sum row) float64 {
				waits := sum.waits
				if t.name == "c" {
					waits = sum.net
				}
				return thousandths(quantile(waits, 0.99).Seconds())
			}),
		}
	}
	number := func(get func(mine, other []row) float64) *float64 {
		values := make([]float64, 0, len(rounds))
		for _, o := range rounds {
			values = append(values, get(o[ebbtide], o[stock]))
		}
		if m := thousandths(median(values)); !math.IsInf(m, 0) && !math.IsNaN(m) {
			return &m
		}
		return nil
	}
	text, err := json.Marshal(struct {
		Case           string   `json:"case"`
		Stock          figures  `json:"stock"`
		Ebbtide        figures  `json:"ebbtide"`
		LostWorkRatio  *float64 `json:"lostWorkRatio"`
		WorstWaveRatio *float64 `json:"worstWaveRatio"`
	}{
		t.name, of(stock), of(ebbtide),
		number(func(mine, other []row) float64 { return ratio(total(mine), total(other)) }), number(worst),
	})
	if err != nil {
		return "", fmt.Errorf("write the result of case %s: %w", t.name, err)
	}
	return string(text), nil
}

func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }

// median of a non-empty list; the mean of the middle two where there are two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
