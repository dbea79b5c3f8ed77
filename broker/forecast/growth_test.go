package forecast

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Before enough was measured a load is taken to grow from the low water mark to the high
// one: a day, and as many slots as the quantile needs.
func TestGrowthBeforeEnough(t *testing.T) {
	growth := func(slots int, quantile float64) float64 {
		t.Helper()
		v := make([]float64, slots)
		for i := range v {
			v[i] = 10 // flat
		}
		r := rule
		r.Quantile = quantile
		o, _ := fill(v...).Look(at(slots-1), r)
		return o.Growth
	}
	if got := growth(1, 0.99); math.Abs(got-0.7/0.3) > 1e-9 {
		t.Errorf("growth after one sample is %v, want %v", got, 0.7/0.3)
	}
	// Of the last two slots it is not yet known what the load was after them.
	for quantile, enough := range map[float64]int{0.5: 144, 0.99: 144, 0.995: 199, 0.997: 333, 0.9999: 1008} {
		if got := growth(enough-1+2, quantile); math.Abs(got-0.7/0.3) > 1e-9 {
			t.Errorf("quantile %v: growth after %d slots is %v, want %v", quantile, enough-1, got, 0.7/0.3)
		}
		if got := growth(enough+2, quantile); got != 1 {
			t.Errorf("quantile %v: growth after %d slots is %v, want 1", quantile, enough, got)
		}
	}
	v := daily(2, 10)
	if o, _ := fill(v...).Look(at(len(v)-1), rule); o.Growth != 1 {
		t.Errorf("growth of a load that never grows is %v, want 1", o.Growth)
	}
}

// Growth is the quantile of what was seen, not the highest of it.
func TestGrowthIsAQuantile(t *testing.T) {
	g := newGrowth(0.9)
	for i := range int(aWeek) {
		g.learn(float64(i%100) / 100)
	}
	g.allowed = 0.1
	if got := g.bound(); math.Abs(got-0.9) > 0.011 {
		t.Errorf("bound %v, want about 0.9", got)
	}
	g.allowed = 0
	if got := g.bound(); got != 0.99 {
		t.Errorf("bound if nothing is allowed for is %v, want the highest, 0.99", got)
	}
}

func TestGrowthAdapts(t *testing.T) {
	g := newGrowth(0.99)
	for range aWeek {
		g.learn(0.1)
	}
	if g.allowed != g.target {
		t.Errorf("after a week without a break %v is allowed for, want no more than %v", g.allowed, g.target)
	}
	before := g.allowed
	g.learn(0.5)
	if g.allowed >= before {
		t.Errorf("after a break %v is allowed for, as before", g.allowed)
	}
	for range 20 {
		g.learn(0.6 + g.bound())
	}
	if g.allowed >= 0 || g.bound() != g.sorted[len(g.sorted)-1] {
		t.Errorf("after many breaks %v is allowed for with a bound of %v", g.allowed, g.bound())
	}
	for range aWeek + 1 {
		g.learn(0)
	}
	if g.allowed < 0 {
		t.Errorf("a week after the last break %v is allowed for", g.allowed)
	}
}

// spikes are two days of a load of ten that doubles twice in succession now and then.
func spikes() []float64 {
	v := make([]float64, 2*aDay)
	for i := range v {
		v[i] = [...]float64{17: 20, 18: 40, 19: 10}[max(i%20, 17)]
		if i%20 < 17 {
			v[i] = 10
		}
	}
	return v
}

// Growth is that until the horizon, and is learned anew for another one.
func TestGrowthLooksAsFarAsTheHorizon(t *testing.T) {
	v := spikes()
	f := fill(v...)
	for _, tc := range []struct {
		horizon time.Duration
		want    float64
	}{{0, 2}, {10 * time.Minute, 2}, {10*time.Minute + 1, 4}, {30 * time.Minute, 4}, {time.Minute, 2}} {
		o, _ := f.Look(at(len(v)-1), Rule{Horizon: tc.horizon, Quantile: 0.99})
		if o.Growth != tc.want {
			t.Errorf("within %s: growth %v, want %v", tc.horizon, o.Growth, tc.want)
		}
	}
	if o, _ := f.Look(at(len(v)-1), Rule{Horizon: time.Minute, Quantile: 0.5}); o.Growth != 1 {
		t.Errorf("half of the time: growth %v, want 1", o.Growth)
	}
}

// What almost nothing grows by is no factor.
func TestGrowthOfNothing(t *testing.T) {
	v := append(spikes(), spikes()...)
	for i := range v {
		if i%20 < 10 {
			v[i] = 0.01
		}
	}
	if o, _ := fill(v...).Look(at(len(v)-1), rule); o.Growth != 2 {
		t.Errorf("growth %v, want 2: from 10 to 20", o.Growth)
	}
}

// A slot after which nothing was heard teaches nothing, certainly not that the load fell.
func TestGrowthLearnsNothingFromGaps(t *testing.T) {
	v := make([]float64, 4*aDay)
	for i := range v {
		v[i] = 10
		if i%2 == 1 {
			v[i] = math.NaN()
		}
	}
	if o, _ := fill(v...).Look(at(len(v)), rule); math.Abs(o.Growth-unmeasured-1) > 1e-9 {
		t.Errorf("growth %v, want %v: nothing could be learned", o.Growth, unmeasured+1)
	}
}

// The share of broken bounds stays near what was asked for although the load changes its
// manners for good halfway.
func TestGrowthKeepsItsQuantileWhenTheLoadChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	g := newGrowth(0.95)
	broken, n := 0, 0
	for i := range 6 * int(aWeek) {
		scale := 0.1
		if i > 3*int(aWeek) {
			scale = 0.3
		}
		excess := scale * r.NormFloat64()
		if i > int(aWeek) {
			n++
			if excess > g.bound() {
				broken++
			}
		}
		g.learn(excess)
	}
	if share := float64(broken) / float64(n); share > 0.065 || share < 0.03 {
		t.Errorf("%.3f of the bounds were broken, want about 0.05", share)
	}
}

// anyLoad is some days of a load with holes.
func anyLoad(t *rapid.T) []float64 {
	n := rapid.OneOf(rapid.IntRange(1, 300), rapid.Map(rapid.IntRange(0, 4*int(aDay)), func(n int) int { return 8*int(aDay) + n })).Draw(t, "slots")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	v := make([]float64, n)
	level := 1 + 1000*r.Float64()
	for i := range v {
		level = min(max(level*math.Exp(0.1*r.NormFloat64()), 0), 1e6)
		v[i] = level
	}
	for range rapid.IntRange(0, 5).Draw(t, "holes") {
		from := rapid.IntRange(0, n-1).Draw(t, "hole")
		for i := from; i < min(from+r.IntN(200), n); i++ {
			v[i] = math.NaN()
		}
	}
	return v
}

// aWeekOf is the last week of a load: who learns anew learns from no more.
func aWeekOf(v []float64) []float64 { return v[max(len(v)-int(aWeek), 0):] }

func TestProperties(t *testing.T) {
	t.Run("equal pasts give equal outlooks", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := anyLoad(t)
			a, aOK := fill(v...).Look(at(len(v)), rule)
			b, bOK := fill(v...).Look(at(len(v)), rule)
			if aOK != bOK || !reflect.DeepEqual(a, b) {
				t.Fatalf("%+v and %+v", a, b)
			}
		})
	})
	t.Run("what is asked in between changes nothing", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := aWeekOf(anyLoad(t))
			f, g := NewForecaster(), fill(v...)
			for i, x := range v {
				live(f, i, x)
				f.Look(at(i), rule)
			}
			a, _ := f.Look(at(len(v)), rule)
			b, _ := g.Look(at(len(v)), rule)
			if a != b {
				t.Fatalf("asked all along %+v, asked once %+v", a, b)
			}
		})
	})
	t.Run("a past read later is as good as one lived through", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := aWeekOf(anyLoad(t))
			var points, fine []Point
			for i, x := range v {
				points = append(points, Point{at(i), x})
				for m := range time.Duration(aSlot) {
					fine = append(fine, Point{after(time.Duration(i)*Slot + m*Minute), x})
				}
			}
			f := NewForecaster()
			f.Look(at(0), rule)
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 2))
			r.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
			r.Shuffle(len(fine), func(i, j int) { fine[i], fine[j] = fine[j], fine[i] })
			f.Seed(at(len(v)), points, fine)
			a, _ := f.Look(at(len(v)), rule)
			b, _ := fill(v...).Look(at(len(v)), rule)
			if a != b {
				t.Fatalf("seeded %+v, lived %+v", a, b)
			}
		})
	})
	t.Run("a gap at the end holds what was", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := anyLoad(t)
			f := fill(v...)
			last := int(f.past.newest - number(begin))
			before, ok := f.Look(at(last), rule)
			gap := rapid.IntRange(1, int(aDay)-int(anHour)*4).Draw(t, "gap")
			held, heldOK := f.Look(at(last+gap), rule)
			if ok != heldOK || held.Growth != before.Growth || (len(v) > last+gap && held.Recent < before.Recent && !hasHole(v)) {
				t.Fatalf("before %+v, in the gap %+v", before, held)
			}
			if !hasHole(v) && held.Recent != before.Recent {
				t.Fatalf("recent %v, in the gap %v", before.Recent, held.Recent)
			}
		})
	})
	t.Run("a gap keeps no less than zeros would", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := anyLoad(t)
			from := rapid.IntRange(0, len(v)-1).Draw(t, "from")
			to := min(from+rapid.IntRange(1, 300).Draw(t, "length"), len(v))
			gap, zero := append([]float64(nil), v...), append([]float64(nil), v...)
			for i := from; i < to; i++ {
				gap[i], zero[i] = math.NaN(), 0
			}
			a, ok := fill(gap...).Look(at(len(v)), rule)
			b, _ := fill(zero...).Look(at(len(v)), rule)
			if !ok {
				return
			}
			// With a day cut off at its beginning a past is also shorter.
			if a.Recent < b.Recent || (a.Days == b.Days && b.Season > 0 && a.Season < b.Season && !lowered(v, from, to)) {
				t.Fatalf("with a gap %+v, with zeros %+v", a, b)
			}
		})
	})
	t.Run("more load is never less need", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			v := anyLoad(t)
			now := at(len(v) - 1)
			f, g := fill(v...), fill(v...)
			value := rapid.Float64Range(0, 1e6).Draw(t, "value")
			f.Add(now, now, value)
			g.Add(now, now, value+rapid.Float64Range(0, 1e6).Draw(t, "more"))
			a, _ := f.Look(now, rule)
			b, _ := g.Look(now, rule)
			if b.Recent < a.Recent || b.Season < a.Season || b.Floor < a.Floor || b.Growth != a.Growth {
				t.Fatalf("%+v, with more load %+v", a, b)
			}
		})
	})
}

func hasHole(v []float64) bool {
	for _, x := range v {
		if math.IsNaN(x) {
			return true
		}
	}
	return false
}

// lowered: the gap covers an hour that a season is scaled by, where zeros would divide.
func lowered(v []float64, from, to int) bool {
	for _, lag := range []int{int(aDay), int(aWeek), 2 * int(aDay), 2 * int(aWeek)} {
		if n := len(v) - lag; from <= n && to > n-int(anHour) {
			return true
		}
	}
	return false
}

// An hour without load is no calm one.
func TestDispersionLeavesOutWhatIsZero(t *testing.T) {
	var d Dispersion
	for i := range 2 * 240 {
		at := after(time.Duration(i) * 15 * time.Second)
		d.Add(at, at, float64(max(i-240, 0)%2*20)) // nothing, and then 0 and 20 in turns
	}
	both, ok := d.Scatter(after(2*time.Hour - time.Second))
	if !ok || both.Ratio < 9 {
		t.Errorf("%+v, want a ratio of about 10", both)
	}
	if idle, ok := d.Scatter(after(-time.Hour)); ok {
		t.Errorf("before all samples: %+v", idle)
	}
}

func TestDispersion(t *testing.T) {
	scatter := func(value func(i int) float64) Scatter {
		var d Dispersion
		for i := range 24 * 240 {
			at := after(time.Duration(i) * 15 * time.Second)
			d.Add(at, at, value(i))
		}
		s, ok := d.Scatter(after(24*time.Hour - time.Second))
		if !ok {
			t.Fatal("a day of samples says nothing")
		}
		return s
	}
	r := rand.New(rand.NewPCG(3, 4))
	poisson := func(mean float64) float64 {
		n, p := -1.0, 1.0
		for limit := math.Exp(-mean); p > limit; p *= r.Float64() {
			n++
		}
		return n
	}
	if s := scatter(func(int) float64 { return poisson(36) }); math.Abs(s.Ratio-1) > 0.1 {
		t.Errorf("independent arrivals: ratio %v, want 1", s.Ratio)
	}
	if s := scatter(func(i int) float64 { return 1000 + float64(i%240) }); s.Ratio > 1e-6 {
		t.Errorf("a steady rise: ratio %v, want 0", s.Ratio)
	}
	bursts := scatter(func(i int) float64 {
		if i%20 == 0 {
			return 100
		}
		return 1
	})
	if bursts.Ratio < 5 || bursts.Share < 1 {
		t.Errorf("bursts: %+v, want a ratio above 5 and a share above 1", bursts)
	}
	if s := scatter(func(int) float64 { return 0 }); s.Ratio != 0 || s.Share != 0 {
		t.Errorf("no load at all: %+v", s)
	}
	var d Dispersion
	for i := range leastHourly - 1 {
		d.Add(after(time.Hour), after(time.Duration(i)*time.Second), 1)
	}
	if _, ok := d.Scatter(after(time.Minute)); ok {
		t.Error("a handful of samples says something")
	}
	d.Add(after(time.Hour), after(time.Minute), 1)
	if _, ok := d.Scatter(after(time.Minute)); !ok {
		t.Error("enough samples say nothing")
	}
	if _, ok := d.Scatter(after(25 * time.Hour)); ok {
		t.Error("what was heard a day ago still counts")
	}
	if d.Add(after(time.Hour), after(time.Minute), 1) || d.Add(after(time.Hour), after(2*time.Hour), 1) {
		t.Error("a sample out of order or from the future is taken")
	}
}
