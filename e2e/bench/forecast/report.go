package forecast

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// line is the last word on one curve.
type line struct {
	Curve     string  `json:"curve"`
	Share     float64 `json:"lentShareOfOracle"`
	Short     float64 `json:"shortWindowsShare"`
	Shortfall float64 `json:"worstShortfall"`
}

// report writes the tables and the lines.
func report(c Config, curves []curve, trials []*trial) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Units come free %s after they were asked back. lent: average share of all units; of oracle: share of what\n"+
		"is lent by who knows the future; short: share of windows of ten minutes with too few units; worst: share of\n"+
		"all units that were missing at worst. The headroom's quantile is %g, the padded rules' too. A load stays what\n"+
		"it was recorded as, and then jumps; ramped: it goes in straight lines. Best in hindsight: the best of three\n"+
		"bounds, with the factor that these very minutes call for.\n\n", c.Notice, c.Quantile)
	if err := compare(&b, trials); err != nil {
		return err
	}
	if err := judgeAims(&b, c, curves, trials); err != nil {
		return err
	}
	if err := takeApart(&b, c, curves, trials); err != nil {
		return err
	}
	for i := range curves {
		t := find(trials, curves[i].name, "ebbtide", c.minutes())
		if t == nil {
			continue
		}
		text, err := json.Marshal(line{t.curve.name, round(shareOf(trials, t)), round(t.score.short), round(t.score.worst)})
		if err != nil {
			return fmt.Errorf("write the result of %s: %w", t.curve.name, err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// table writes rows under a title of columns, and an empty line.
func table(b *strings.Builder, title string, rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, title)
	rows(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	b.WriteByte('\n')
	return nil
}

func compare(b *strings.Builder, trials []*trial) error {
	return table(b, "CURVE\tWINDOWS\tNOTICE\tRULE\tLENT\tOF ORACLE\tSHORT\tWORST\t", func(w io.Writer) {
		for _, t := range trials {
			s := t.score
			fmt.Fprintf(w, "%s\t%d\t%dm\t%s\t%.3f\t%.2f\t%.2f%%\t%.3f\t\n",
				t.curve.name, s.windows, t.notice, t.rule.name, s.lent, shareOf(trials, t), 100*s.short, s.worst)
		}
	})
}

// judgeAims says on which curves the aims count, and whether they are reached. A curve is
// forecastable if the broker's rule never calls it anything else in the minutes scored.
func judgeAims(b *strings.Builder, c Config, curves []curve, trials []*trial) error {
	fmt.Fprintf(b, "The aims: on forecastable curves at least %g of the oracle, at most %g %% short windows and %g of all units missing;\n"+
		"nowhere worse than the band in both what is lent and how often units are short. Forecastable: by the broker's own\n"+
		"rule, by which a variance over mean of more than %g within the hours of a day, in a load that scatters by more than\n"+
		"a third of its mean, is not; in so many of the minutes scored.\n\n",
		leastShare, 100*mostShort, mostMissing, lend.DefaultPolicy().DispersionLimit)
	return table(b, "CURVE\tDAYS BEFORE\tFORECASTABLE\tOF ORACLE\tHINDSIGHT\tSHORT\tWORST\tNOT WORSE THAN THE BAND\t", func(w io.Writer) {
		for i := range curves {
			cv := &curves[i]
			us, best, simple := find(trials, cv.name, "ebbtide", c.minutes()), find(trials, cv.name, "best in hindsight", c.minutes()), find(trials, cv.name, "band 30/70", c.minutes())
			if us == nil || best == nil || simple == nil {
				continue
			}
			calm := forecastable(cv)
			fmt.Fprintf(w, "%s\t%d\t%.0f%% %s\t%.2f %s\t%.2f\t%.2f%% %s\t%.3f %s\t%s\t\n", cv.name, cv.from/day,
				100*calm, mark(calm == 1), shareOf(trials, us), mark(shareOf(trials, us) >= leastShare), shareOf(trials, best),
				100*us.score.short, mark(us.score.short <= mostShort), us.score.worst, mark(us.score.worst <= mostMissing),
				mark(us.score.lent >= simple.score.lent || us.score.short <= simple.score.short))
		}
	})
}

// leastShare of what the oracle lends is aimed at.
const leastShare = 0.75

func mark(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// takeApart says what keeps units from being lent.
func takeApart(b *strings.Builder, c Config, curves []curve, trials []*trial) error {
	b.WriteString("Where the units were, as shares of all: lent; needed by the load of the minute; and beyond that kept for the highest of\n" +
		"the last hour, the season, the growth; for all else: steps, dwelling, cooldown, warm units, whole units, minutes unknown.\n\n")
	return table(b, "CURVE\tLENT\tLOAD\tLAST HOUR\tSEASON\tGROWTH\tALL ELSE\t", func(w io.Writer) {
		for i := range curves {
			t := find(trials, curves[i].name, "ebbtide", c.minutes())
			if t == nil {
				continue
			}
			s, k := t.score, t.score.kept
			fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t\n", t.curve.name,
				s.lent, k.load, k.recent, k.season, k.growth, 1-s.lent-k.load-k.recent-k.season-k.growth)
		}
	})
}

func (c Config) minutes() int { return int(c.Notice / time.Minute) }

// find is the trial of a rule on a curve; nil if there was none.
func find(trials []*trial, curve, rule string, notice int) *trial {
	for _, t := range trials {
		if t.curve.name == curve && t.rule.name == rule && t.notice == notice {
			return t
		}
	}
	return nil
}

// shareOf is what a trial lent of what the oracle lent.
func shareOf(trials []*trial, of *trial) float64 {
	if t := find(trials, of.curve.name, "oracle", of.notice); t != nil && t.score.lent > 0 {
		return of.score.lent / t.score.lent
	}
	return 0
}

func round(v float64) float64 { return float64(int64(v*1e4+0.5)) / 1e4 }
