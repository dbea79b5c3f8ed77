package forecast

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"
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
	rules = append(rules, perfect)
	var trials []*trial
	for i := range curves {
		for _, r := range rules {
			trials = append(trials, &trial{curve: &curves[i], rule: r, notice: notice})
		}
		for _, other := range c.Others {
			for _, r := range []rule{broker, perfect} {
				trials = append(trials, &trial{curve: &curves[i], rule: r, notice: int(other / time.Minute)})
			}
		}
	}
	play(trials)
	return report(c, curves, trials)
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

// line is the last word on one curve.
type line struct {
	Curve     string  `json:"curve"`
	Share     float64 `json:"lentShareOfOracle"`
	Short     float64 `json:"shortWindowsShare"`
	Shortfall float64 `json:"worstShortfall"`
}

func report(c Config, curves []curve, trials []*trial) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Units come free %s after they were asked back. lent: average share of all units; of oracle: share of what\n"+
		"is lent by who knows the future; short: share of windows of ten minutes with too few units; worst: share of\n"+
		"all units that were missing at worst. The headroom's quantile is %g, the padded rules' too.\n\n", c.Notice, c.Quantile)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "CURVE\tWINDOWS\tNOTICE\tRULE\tLENT\tOF ORACLE\tSHORT\tWORST\t")
	var lines []line
	for i := range curves {
		for _, t := range trials {
			if t.curve != &curves[i] {
				continue
			}
			s, share := t.score, t.score.lent/oracleOf(trials, t).lent
			fmt.Fprintf(table, "%s\t%d\t%dm\t%s\t%.3f\t%.2f\t%.2f%%\t%.3f\t\n", t.curve.name, s.windows, t.notice, t.rule.name, s.lent, share, 100*s.short, s.worst)
			if t.rule.name == "ebbtide" && t.notice == int(c.Notice/time.Minute) {
				lines = append(lines, line{t.curve.name, round(share), round(s.short), round(s.worst)})
			}
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	b.WriteByte('\n')
	for _, l := range lines {
		text, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("write the result of %s: %w", l.Curve, err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// oracleOf is how the oracle did where a trial was made.
func oracleOf(trials []*trial, of *trial) score {
	for _, t := range trials {
		if t.curve == of.curve && t.notice == of.notice && t.rule.name == "oracle" {
			return t.score
		}
	}
	return score{}
}

func round(v float64) float64 { return float64(int64(v*1e4+0.5)) / 1e4 }
