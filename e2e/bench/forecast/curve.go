package forecast

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/traces"
)

// minutes of a window, by which short ones are counted.
const window = 10

// curve is a load in each minute as a share of its highest, NaN where the recording has
// a hole.
type curve struct {
	name    string
	minutes []float64
	// from is the first minute that is scored: the past before it is there to learn from.
	from int
	// bins are the minutes in which a value of the recording begins.
	bins []int
}

// ramped is a curve on which the load goes in a straight line from the middle of each value
// of the recording to that of the next, where both are known, instead of staying and then
// jumping. The truth within a value is not recorded; it may be rougher than this.
func (c *curve) ramped() curve {
	r := *c
	r.name, r.minutes = c.name+", ramped", slices.Clone(c.minutes)
	middle := func(i int) float64 {
		end := len(c.minutes)
		if i+1 < len(c.bins) {
			end = c.bins[i+1]
		}
		return float64(c.bins[i]+end-1) / 2
	}
	for i := range len(c.bins) - 1 {
		from, to := middle(i), middle(i+1)
		a, b := c.minutes[c.bins[i]], c.minutes[c.bins[i+1]]
		if math.IsNaN(a) || math.IsNaN(b) {
			continue
		}
		for t := int(math.Ceil(from)); float64(t) < to; t++ {
			r.minutes[t] = a + (b-a)*(float64(t)-from)/(to-from)
		}
	}
	return r
}

const day = 24 * 60

// loadCurves reads all recordings.
func loadCurves() ([]curve, error) {
	var curves []curve
	for _, service := range []string{"code", "conv"} {
		rates, err := traces.AzureWeek(service)
		if err != nil {
			return nil, fmt.Errorf("load curve: %w", err)
		}
		var b builder
		for _, r := range rates {
			b.add(r.At, r.PerMinute)
		}
		curves = append(curves, b.curve("azure-"+service, 7*time.Minute))
	}
	for _, service := range []string{"m-small", "m-mid", "deepseek-r1", "mm-image"} {
		bins, err := traces.ModelRates(service)
		if err != nil {
			return nil, fmt.Errorf("load curve: %w", err)
		}
		var b builder
		for _, bin := range bins {
			rate := bin.PerSecond
			if bin.Gap {
				rate = math.NaN()
			}
			b.add(bin.At, rate)
		}
		curves = append(curves, b.curve("servegen-"+service, 10*time.Minute))
	}
	steps, err := traces.DeepSeekDay()
	if err != nil {
		return nil, fmt.Errorf("load curve: %w", err)
	}
	var b builder
	for _, s := range steps {
		b.add(s.Start, float64(s.Nodes))
	}
	last := steps[len(steps)-1]
	return append(curves, b.curve("deepseek-day", last.Length)), nil
}

// builder lays points out by the minute.
type builder struct {
	minutes []float64
	last    float64
	bins    []int
}

// add begins a bin.
func (b *builder) add(at time.Duration, value float64) {
	b.until(at)
	b.last = value
	b.bins = append(b.bins, len(b.minutes))
}

func (b *builder) until(at time.Duration) {
	for len(b.minutes) < int(at/time.Minute) {
		b.minutes = append(b.minutes, b.last)
	}
}

// curve ends the last bin. Seven days are for learning where there are more than eight,
// all but the last where there are more than two, and none otherwise.
func (b *builder) curve(name string, lastBin time.Duration) curve {
	b.until(time.Duration(len(b.minutes))*time.Minute + lastBin)
	c := curve{name: name, bins: b.bins}
	peak := 0.0
	for _, v := range b.minutes {
		if v > peak {
			peak = v
		}
	}
	for _, v := range b.minutes {
		c.minutes = append(c.minutes, v/peak)
	}
	switch days := (len(c.minutes) + day/2) / day; {
	case days > 8:
		c.from = 7 * day
	case days > 2:
		c.from = (days - 1) * day
	}
	return c
}

// highest load from one minute to another, both included; 0 where nothing is known.
func (c *curve) highest(from, to int) (highest float64) {
	for i := max(from, 0); i <= min(to, len(c.minutes)-1); i++ {
		if c.minutes[i] > highest {
			highest = c.minutes[i]
		}
	}
	return highest
}
