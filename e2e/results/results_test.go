package results

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/results/report"
	"github.com/ebbtide/ebbtide/e2e/results/town"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// tiny is a day of the main town, of a tenth of its size and with too many jobs.
func tiny(t *testing.T) *town.Town {
	t.Helper()
	c := town.Default()
	c.Owned, c.Pool, c.Times, c.Length, c.Warmup, c.Drain = 16, 0.1, 0.3, town.Day, town.Day/4, 0
	made, err := town.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// What one run says, another says as well, and the town itself holds for each.
func TestTrialsAreTheSameEachTime(t *testing.T) {
	p := &plan{seed: 1, terms: defaults(), log: t.Output()}
	made := tiny(t)
	for i := range made.Services {
		l := &made.Services[i].Lender
		l.LowWater, l.HighWater = 0.7, 0.85
	}
	p.terms.forecast = false
	none := p.add("no lending", made, theirs("pools-apart"))
	trials := []*trial.Trial{none, p.add("once", made, p.ours()), p.add("twice", made, p.ours()), p.add("lyra", made, theirs("lyra"))}
	if err := p.play(t.Context(), &report.Report{}); err != nil {
		t.Fatal(err)
	}
	ref := trial.Reference{None: []*trial.Trial{none}}
	once, twice := ref.Row(trials[1]), ref.Row(trials[2])
	if once != twice {
		t.Errorf("two runs of the same differ:\n%+v\n%+v", once, twice)
	}
	if once.LentGPUHours <= 0 || once.TrainingGPUHours <= none.Result.Own {
		t.Errorf("nothing was lent: %+v", once)
	}
	if once.Loans == 0 || once.Loans > once.Jobs+once.Evictions+trials[1].Result.Started {
		t.Errorf("%d loans of %d jobs and %d evictions", once.Loans, once.Jobs, once.Evictions)
	}
	if again := ref.Row(none); again.HarvestGPUHours != 0 || again.UtilisationGain != 0 || again.QueueingSpeedup != 1 {
		t.Errorf("no lending differs from itself: %+v", again)
	}
}

// What is being played ends when nobody wants to know any more, and so does what is not yet.
func TestPlayEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := &plan{seed: 1, terms: defaults(), log: t.Output()}
	made := tiny(t)
	decided := 0
	one := p.add("ended", made, func(s *sim.Scenario) (sim.Policy, error) {
		policy, err := theirs("lyra")(s)
		return counted{policy, func() {
			if decided++; decided == 10 {
				stop()
			}
		}}, err
	})
	if err := p.play(ctx, &report.Report{}); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if decided != 10 {
		t.Errorf("%d decisions, of which 10 were wanted", decided)
	}
	if one.Policy = nil; !errors.Is(one.Play(ctx), context.Canceled) {
		t.Error("what was not begun is begun")
	}
}

// counted is a policy of which each decision is told.
type counted struct {
	sim.Policy
	tell func()
}

func (c counted) Decide(w *sim.World) time.Duration {
	c.tell()
	return c.Policy.Decide(w)
}

func TestChoose(t *testing.T) {
	row := func(training float64, evictions int64, p99 float64) trial.Row {
		return trial.Row{TrainingGPUHours: training, Evictions: evictions, OnlineWaitP99: p99}
	}
	for name, tc := range map[string]struct {
		rows []trial.Row
		want int
	}{
		"the fewest evictions within the slack": {[]trial.Row{row(1000, 9, 0), row(990, 5, 0), row(970, 1, 0)}, 1},
		"none that lets replicas wait too long": {[]trial.Row{row(1000, 9, 0), row(1000, 1, 61)}, 0},
		"the most does not count if it may not": {[]trial.Row{row(1000, 1, 61), row(900, 9, 0), row(890, 3, 0)}, 2},
		"the first of equal ones":               {[]trial.Row{row(1000, 4, 0), row(1000, 4, 0)}, 0},
		"as it was if none may":                 {[]trial.Row{row(1000, 4, 99), row(1000, 3, 99)}, 0},
	} {
		if got := choose(tc.rows, time.Minute); got != tc.want {
			t.Errorf("%s: row %d, want %d", name, got, tc.want)
		}
	}
}

// Every setting of a knob changes the terms, and none changes what another does.
func TestKnobs(t *testing.T) {
	seen := []string{defaults().String()}
	for _, k := range knobs() {
		for _, s := range k.to {
			one := defaults()
			s.set(&one)
			if told := one.String(); slices.Contains(seen, told) {
				t.Errorf("%s %s: %s, as another", k.name, s.name, told)
			} else {
				seen = append(seen, told)
			}
		}
	}
}

// Replicas that wait are seen for as long as the result says.
func TestWaitsAreSeen(t *testing.T) {
	p := &plan{seed: 1, terms: defaults(), log: t.Output()}
	one := p.add("deepboot", tiny(t), theirs("deepboot"))
	if err := p.play(t.Context(), &report.Report{}); err != nil {
		t.Fatal(err)
	}
	longest := time.Duration(0)
	for _, d := range one.Seen.Longest {
		longest = max(longest, d)
	}
	told := one.Result.OnlineWait.Quantile(1)
	if told == 0 || longest < told*98/100 {
		t.Errorf("the longest wait seen is %s, the result says %s", longest, told)
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 30 * time.Second: "30s", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 20 * time.Hour: "20h", 61 * time.Second: "1m1s"} {
		if got := brief(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
