package forecast

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Config says what is measured.
type Config struct {
	// Notice is how long after it was asked back a unit is free, in whole minutes.
	Notice time.Duration
	// Others are more of them, for which only the broker and the oracle are shown.
	Others []time.Duration
	// Quantile of the policy's headroom.
	Quantile float64
	// Out gets the table and the lines of JSON.
	Out io.Writer
}

// Default is what `make bench-forecast` measures. The quantile allows for as many short
// windows as are aimed at.
func Default() Config {
	return Config{Notice: 10 * time.Minute, Others: []time.Duration{5 * time.Minute, time.Minute}, Quantile: 0.997}
}

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	for _, n := range append([]time.Duration{c.Notice}, c.Others...) {
		if n < time.Minute || n > 24*time.Hour || n%time.Minute != 0 {
			return fmt.Errorf("notice: %s is not a whole number of minutes from 1m to 24h", n)
		}
	}
	if !(c.Quantile > 0 && c.Quantile < 1) {
		return fmt.Errorf("quantile: %g is not above 0 and below 1", c.Quantile)
	}
	return nil
}

// The broker lends by need alone with the first marks, and with the second ones, which
// are the defaults of a policy, only in troughs.
var (
	byNeed   = marks{low: 0.70, high: 0.85}
	byTrough = marks{low: 0.30, high: 0.70}
)

// trial is a rule on a curve.
type trial struct {
	curve  *curve
	rule   rule
	notice int
	score  score
}

// Run plays all rules over all curves and prints how they did.
func Run(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	curves, err := loadCurves()
	if err != nil {
		return err
	}
	notice := int(c.Notice / time.Minute)
	broker := ours("ebbtide", byNeed, c.Quantile)
	perfect := rule{"oracle", oracle}
	rules := append([]rule{broker, ours("ebbtide, marks 30/70", byTrough, c.Quantile)}, simple(notice, c.Quantile)...)
	rules = append(rules, rule{"best in hindsight", hindsight}, perfect)
	var trials []*trial
	for i := range curves {
		ramped := curves[i].ramped()
		for _, r := range rules {
			trials = append(trials, &trial{curve: &curves[i], rule: r, notice: notice})
		}
		for _, r := range []rule{broker, perfect} {
			for _, other := range c.Others {
				trials = append(trials, &trial{curve: &curves[i], rule: r, notice: int(other / time.Minute)})
			}
			for _, other := range c.rampedNotices() {
				trials = append(trials, &trial{curve: &ramped, rule: r, notice: int(other / time.Minute)})
			}
		}
	}
	play(trials)
	return report(c, curves, trials)
}

// rampedNotices are those for which ramped curves are played: the one, and the shortest.
func (c Config) rampedNotices() []time.Duration {
	if len(c.Others) == 0 {
		return []time.Duration{c.Notice}
	}
	return []time.Duration{c.Notice, slices.Min(c.Others)}
}

// play runs the trials, as many at once as there are processors.
func play(trials []*trial) {
	var running sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, t := range trials {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.score = judge(t.curve, t.rule.play(t.curve, t.notice))
		})
	}
	running.Wait()
}
