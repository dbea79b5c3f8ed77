package forecast

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// bins is a curve of windows of one load each, scored from the first on.
func bins(loads ...float64) *curve {
	c := &curve{name: "test"}
	for _, v := range loads {
		for range window {
			c.minutes = append(c.minutes, v)
		}
	}
	return c
}

func play1(r func(*curve, int) []holding, c *curve, notice int) score {
	return judge(c, r(c, notice))
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestOracleIsNeverShortAndLosesNothing(t *testing.T) {
	c := bins(0.2, 0.2, 1, 0.2, 0.2)
	s := play1(oracle, c, window)
	// It lends .8 in the first window, nothing in the one before the peak, but for what is
	// no longer to come back in it.
	if s.short != 0 || s.worst != 0 || !near(s.lent, (0.8+0+0+0.8+0.8)/5) {
		t.Errorf("oracle: %+v", s)
	}
}

func TestLastValueIsShortWhereTheLoadRises(t *testing.T) {
	last := simple(window, 0.99)[0]
	if s := play1(last.play, bins(0.2, 0.2, 1, 0.2, 0.2), window); !near(s.short, 0.2) || !near(s.worst, 0.8) {
		t.Errorf("last value: %+v, want one window of five short by 0.8", s)
	}
	// What comes back sooner is missing for less long, but it is missing.
	if s := play1(last.play, bins(0.2, 0.2, 1, 0.2, 0.2), 1); !near(s.short, 0.2) {
		t.Errorf("last value with a notice of a minute: %+v", s)
	}
	if s := play1(last.play, bins(0.5, 0.4, 0.3), window); s.short != 0 {
		t.Errorf("last value of a falling load: %+v", s)
	}
}

// In hindsight it is known that half as much again is enough.
func TestHindsight(t *testing.T) {
	s := play1(hindsight, bins(0.2, 0.2, 0.3, 0.3, 0.2, 0.3, 0.2), window)
	if s.short != 0 || s.lent < 0.62 || s.lent > 0.65 {
		t.Errorf("hindsight: %+v, want about 0.64 lent", s)
	}
	if s := play1(hindsight, bins(0.01, 1), window); s.short > mostShort || s.worst > mostMissing {
		t.Errorf("hindsight of a jump by more than any factor: %+v", s)
	}
}

// What is lent and what is kept is all there is, but for what the broker's steps leave.
func TestKeptAddsUp(t *testing.T) {
	var loads []float64
	for i := range 2 * day / window {
		loads = append(loads, 0.2+0.1*float64(i%7)/7)
	}
	c := bins(loads...)
	c.from = day
	s := play1(ours("ebbtide", byNeed, 0.99).play, c, window)
	all := s.lent + s.kept.load + s.kept.recent + s.kept.season + s.kept.growth
	if all > 1.001 || all < 0.9 || s.kept.load <= 0.2 || s.kept.recent <= 0 || s.kept.season != 0 {
		t.Errorf("%+v: %v in all", s, all)
	}
}

func TestBand(t *testing.T) {
	// From all units down by a twentieth for each window below 30 %, and half as many more
	// for one above 70 %.
	held := band(bins(0.1, 0.1, 0.1, 0.65, 0.8), window)
	for w, want := range []float64{0.05, 0.10, 0.15, 0, 0} {
		if got := held[w*window].lent; !near(got, want) {
			t.Errorf("window %d: lent %v, want %v", w, got, want)
		}
	}
}

func TestHolesAreNotScored(t *testing.T) {
	hole := math.NaN()
	for _, r := range append(simple(window, 0.99), rule{"oracle", oracle}, ours("ebbtide", byNeed, 0.99)) {
		s := play1(r.play, bins(0.2, hole, hole, 0.2), window)
		if s.windows != 2 || math.IsNaN(s.lent) || s.short != 0 {
			t.Errorf("%s: %+v, want two windows, none short", r.name, s)
		}
	}
}

// The broker lends nothing more in a hole, and takes back step by step in a long one.
func TestBrokerInAHole(t *testing.T) {
	c := bins(0.2, 0.2, 0.2, 0.2, math.NaN(), math.NaN(), 0.2)
	held := ours("ebbtide", byNeed, 0.99).play(c, window)
	before := held[4*window-1].lent
	if before < 0.5 {
		t.Fatalf("lent %v before the hole", before)
	}
	for i := 4 * window; i < 6*window; i++ {
		if held[i].lent > held[i-1].lent {
			t.Errorf("minute %d of the hole: lent %v after %v", i-4*window, held[i].lent, held[i-1].lent)
		}
	}
	if at := held[6*window-1].lent; at >= before {
		t.Errorf("lent %v at the end of the hole, as before", at)
	}
}

// Whatever is missing of a recording, and whenever: while it is missing nothing more is
// lent.
func TestLendingNeverRisesInAHole(t *testing.T) {
	curves, err := loadCurves()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SampledFrom(curves).Draw(t, "curve")
		from := rapid.IntRange(0, len(whole.minutes)-4*60).Draw(t, "from")
		c := &curve{minutes: slices.Clone(whole.minutes[from : from+4*60])}
		hole := rapid.IntRange(60, 3*60).Draw(t, "hole")
		length := rapid.IntRange(1, 60).Draw(t, "length")
		for i := hole; i < hole+length; i++ {
			c.minutes[i] = math.NaN()
		}
		held := ours("ebbtide", byNeed, 0.99).play(c, window)
		for i := hole; i < hole+length; i++ {
			if held[i].lent > held[i-1].lent {
				t.Fatalf("minute %d of the hole: lent %v after %v", i-hole, held[i].lent, held[i-1].lent)
			}
		}
	})
}

// The weeks of Azure are long enough to learn from, and what was aimed at is reached on
// them. On no recording of a day, where there is nothing to learn from, is the broker
// worse than the band in what it lends and in how often the service is short.
func TestRecordings(t *testing.T) {
	curves, err := loadCurves()
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	for i := range curves {
		curve := &curves[i]
		if len(curve.minutes) > 8*day {
			continue // two weeks take too long for a test
		}
		best, s, simple := play1(oracle, curve, window), play1(ours("ebbtide", byNeed, c.Quantile).play, curve, window), play1(band, curve, window)
		t.Logf("%s: oracle %+v, ebbtide %+v, band %+v", curve.name, best, s, simple)
		if s.lent < simple.lent && s.short > simple.short {
			t.Errorf("%s: worse than the band", curve.name)
		}
		if s.worst > 0.2 {
			t.Errorf("%s: short by %v", curve.name, s.worst)
		}
		if curve.from > 0 && (s.lent < 0.75*best.lent || s.short > 0.003) {
			t.Errorf("%s: lent %v of %v, short in %v of the windows", curve.name, s.lent, best.lent, s.short)
		}
	}
}

// A peak that comes at the same time each day finds its units. Before the season has been
// known for a week, the growth is also that of days on which it was not expected.
func TestBrokerKnowsTheDay(t *testing.T) {
	var loads []float64
	for i := range 16 * day / window {
		v := 0.2
		if s := i % (day / window); s >= 60 && s < 70 {
			v = 1
		}
		loads = append(loads, v)
	}
	c := bins(loads...)
	c.from = 15 * day
	s := play1(ours("ebbtide", byNeed, 0.99).play, c, window)
	reactive := play1(simple(window, 0.99)[0].play, c, window)
	if s.short != 0 || s.lent < 0.3 || reactive.short == 0 {
		t.Errorf("ebbtide %+v, last value %+v: want the former never short", s, reactive)
	}
}
