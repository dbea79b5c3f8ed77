package forecast

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// byMinute adds one value to each minute from begin on; NaN adds none.
func byMinute(values []float64) (f *Forecaster, now time.Time) {
	f = NewForecaster()
	for i, v := range values {
		now = after(time.Duration(i) * Minute)
		f.Add(now, now, v)
	}
	return f, now
}

// sawtooth is three days of a load that rises by one in each minute, from ten to nineteen
// and then to higher ones from hour to hour, so that the last hour does not cover it.
func sawtooth() []float64 {
	v := make([]float64, 3*aDay*aSlot)
	for i := range v {
		v[i] = 10
		if m := i % 200; m >= 190 {
			v[i] = float64(m - 190 + 11)
		}
	}
	return v
}

// What a load grows by within a minute is not what it grows by within ten.
func TestGrowthIsOfTheNotice(t *testing.T) {
	f, now := byMinute(sawtooth())
	for horizon, want := range map[time.Duration]float64{
		0: 1.1, time.Second: 1.1, time.Minute: 1.1, time.Minute + 1: 1.2, 5 * time.Minute: 1.5, 10 * time.Minute: 2,
	} {
		o, _ := f.Look(now, Rule{Horizon: horizon, Quantile: 0.99})
		if math.Abs(o.Growth-want) > 1e-9 {
			t.Errorf("within %s: growth %v, want %v", horizon, o.Growth, want)
		}
	}
}

// A load that comes back to what it was within the hour has not grown beyond what is kept.
func TestGrowthLeavesOutWhatIsKeptAnyway(t *testing.T) {
	v := make([]float64, 3*aDay*aSlot)
	for i := range v {
		v[i] = 10
		if i%30 == 0 {
			v[i] = 30 // each half hour
		}
	}
	f, now := byMinute(v)
	if o, _ := f.Look(now, Rule{Horizon: time.Minute, Quantile: 0.997}); o.Growth != 1 || o.Recent != 30 {
		t.Errorf("%+v, want no growth beyond the 30 of the last hour", o)
	}
}

// A rise that comes at the same time each day is the season's, and not growth.
func TestGrowthLeavesOutWhatTheSeasonSays(t *testing.T) {
	v := daily(Days, 50)
	r := Rule{Horizon: 10 * time.Minute, Beyond: 5 * time.Minute, Quantile: 0.997}
	if o, _ := fill(v...).Look(at(len(v)-1), r); o.Growth != 1 {
		t.Errorf("growth %v, want 1", o.Growth)
	}
	if o, _ := fill(v[:7*int(aDay)]...).Look(at(7*int(aDay)-1), r); o.Growth != 5 {
		t.Errorf("before the season is known: growth %v, want 5", o.Growth)
	}
}

// What a load grows by is judged by what was known before it grew, and not by an hour or a
// season that has the growth in it. The load is 10 and, in each tenth hour of a day, 20.
func TestGrowthIsJudgedByWhatWasKnown(t *testing.T) {
	type change struct { // on the tenth day, from a minute on, counted from a slot's first
		minute int
		factor float64
	}
	const calm, rise = 3 * int(anHour), 10*int(anHour) - 1 // slots of the day
	for name, tc := range map[string]struct {
		slot    int
		changes []change
		want    float64
	}{
		"a jump in the midst of the slot":     {calm, []change{{3, 1.8}}, 0.8},
		"at its end":                          {calm, []change{{9, 1.8}}, 0.8},
		"the second is the worse":             {calm, []change{{3, 1.1}, {6, 1.8}}, 7.0 / 11},
		"back to what was in the slot":        {calm, []change{{1, 1.8}, {2, 1}, {5, 1.8}}, 0.8},
		"back to what was in the hour":        {calm, []change{{-40, 1.8}, {-39, 1}, {3, 1.8}}, 0},
		"back to what is not kept any more":   {calm, []change{{-51, 1.8}, {-50, 1}, {3, 1.8}}, 0.8},
		"as each day":                         {rise, nil, 0},
		"as each day, and high since an hour": {rise, []change{{-50, 1.2}}, 0},
		"higher than each day":                {rise, []change{{10, 1.2}}, 1.4},
		"as each day, and just as high":       {rise, []change{{9, 1.2}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			from := (9*int(aDay) + tc.slot) * int(aSlot)
			v := make([]float64, from+3*int(aSlot))
			for i := range v {
				v[i] = 10
				if i/60%24 == 10 {
					v[i] = 20
				}
				factor := 1.0
				for _, c := range tc.changes {
					if i >= from+c.minute {
						factor = c.factor
					}
				}
				v[i] *= factor
			}
			f, _ := byMinute(v)
			f.rule = Rule{Horizon: time.Minute, Beyond: 5 * time.Minute, Quantile: 0.9999}
			got, ok := f.excess(number(after(time.Duration(from)*Minute)), 1)
			if !ok || math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("excess %v %v, want %v", got, ok, tc.want)
			}
		})
	}
}

// A load that jumps within its slots is known to do so.
func TestGrowthOfJumpsWithinASlot(t *testing.T) {
	v := make([]float64, 9*aDay*aSlot+30)
	for i := range v {
		v[i] = 10
		if i >= len(v)-17 {
			v[i] = 18
		}
	}
	f, now := byMinute(v)
	// So high a quantile is the highest that was seen.
	if o, _ := f.Look(now, Rule{Horizon: time.Minute, Quantile: 0.9999}); math.Abs(o.Growth-1.8) > 1e-9 {
		t.Errorf("growth %v, want 1.8", o.Growth)
	}
}

// One minute without a sample is no gap. Two are, and teach nothing.
func TestGrowthAndMissingMinutes(t *testing.T) {
	for missing, want := range map[int]float64{1: 1.1, 2: 1 + unmeasured} {
		v := sawtooth()
		for i := range v {
			if i%10 < missing {
				v[i] = math.NaN()
			}
		}
		f, now := byMinute(v)
		if o, _ := f.Look(now, Rule{Horizon: time.Minute, Quantile: 0.99}); math.Abs(o.Growth-want) > 0.11 {
			t.Errorf("%d of ten minutes missing: growth %v, want about %v", missing, o.Growth, want)
		}
	}
}

// What is kept is never below either bound, and never falls as the load rises.
func TestKeep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0.001, 1e6))
		o := Outlook{Recent: amount.Draw(t, "recent"), Season: amount.Draw(t, "season"), Growth: rapid.Float64Range(1, 5).Draw(t, "growth")}
		kept := func(load float64) float64 {
			season, growth := o.Keep(load)
			if growth < 1 || season < o.Recent || season < o.Season {
				t.Fatalf("%+v of %v: season %v, growth %v", o, load, season, growth)
			}
			return max(season, load) + load*(growth-1)
		}
		load := amount.Draw(t, "load")
		least := max(o.Recent, o.Season, o.Growth*load)
		if got := kept(load); got < least*(1-1e-9) || (load <= max(o.Recent, o.Season) && got > least*(1+1e-9)) {
			t.Fatalf("%+v keeps %v of a load of %v, want %v", o, got, load, least)
		}
		if more := load + amount.Draw(t, "more"); kept(more) < kept(load)*(1-1e-9) {
			t.Fatalf("%+v keeps %v of %v, and %v of %v", o, kept(load), load, kept(more), more)
		}
	})
}

func TestCloneSharesNothing(t *testing.T) {
	f := fill(daily(3, 50)...)
	f.Look(at(3*int(aDay)), rule)
	c := f.Clone()
	before, _ := f.Look(at(3*int(aDay)), rule)
	if same, _ := c.Look(at(3*int(aDay)), rule); same != before {
		t.Fatalf("a clone says %+v, its origin %+v", same, before)
	}
	for i := range int(aWeek) {
		live(f, 3*int(aDay)+i, 1000)
	}
	if after, _ := c.Look(at(3*int(aDay)), rule); after != before {
		t.Errorf("%+v, and after its origin went on %+v", before, after)
	}
	if c.Peak() != 50 || f.Peak() != 1000 || NewForecaster().Peak() != 0 {
		t.Errorf("peaks are %v, %v and %v; want 50, 1000 and 0", c.Peak(), f.Peak(), NewForecaster().Peak())
	}
}
