package sim

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var nan = math.NaN()

func TestCurves(t *testing.T) {
	c := Curve{{10, 1}, {20, 5}, {30, nan}, {40, 2}}
	for name, test := range map[string]struct{ got, want Curve }{
		"scaled":                      {c.Scaled(2), Curve{{10, 2}, {20, 10}, {30, nan}, {40, 4}}},
		"ramped where both are known": {c.Ramped(5), Curve{{10, 1}, {15, 3}, {20, 5}, {30, nan}, {40, 2}}},
		"ramped by no step":           {c.Ramped(0), c},
		"repeated":                    {c.Repeated(50, 25, 90), Curve{{10, 1}, {20, 5}, {30, nan}, {40, 2}, {50, 5}, {55, nan}, {65, 2}, {75, 5}, {80, nan}}},
		"repeated from its end":       {c.Repeated(35, 10, 50), Curve{{10, 1}, {20, 5}, {30, nan}, {35, 5}, {40, nan}, {45, 5}}},
		"repeated for no longer":      {c.Repeated(50, 25, 35), Curve{{10, 1}, {20, 5}, {30, nan}}},
		"repeated of before it":       {c.Repeated(5, 10, 20), Curve{{-5, 1}, {5, 1}, {15, 1}}},
		"repeated by no period":       {c.Repeated(50, 0, 90), c},
		"repeated of nothing":         {Curve(nil).Repeated(50, 25, 90), nil},
	} {
		if diff := cmp.Diff(test.want, test.got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, test := range map[string]struct{ got, want float64 }{
		"before all":             {c.At(0), 1},
		"at a point":             {c.At(20), 5},
		"between":                {c.At(29), 5},
		"where nothing is known": {c.At(35), nan},
		"after all":              {c.At(99), 2},
		"of nothing":             {Curve(nil).At(0), nan},
		"highest":                {c.Max(0, 99), 5},
		"highest before a point": {c.Max(0, 20), 1},
		"highest after it":       {c.Max(29, 30), 5},
		"highest of the unknown": {c.Max(30, 40), 0},
		"highest before all":     {c.Max(0, 5), 1},
		"highest of nothing":     {Curve(nil).Max(0, 99), 0},
	} {
		if test.got != test.want && !(math.IsNaN(test.got) && math.IsNaN(test.want)) {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
}

// A repeated curve is, a period after any moment from the last period on, what it was then.
func TestRepeatedCurves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Curve
		at := time.Duration(0)
		for range rapid.IntRange(1, 8).Draw(t, "points") {
			at += time.Duration(rapid.IntRange(1, 20).Draw(t, "step"))
			c = append(c, Point{at, float64(rapid.IntRange(0, 9).Draw(t, "value"))})
		}
		end := time.Duration(rapid.IntRange(1, 100).Draw(t, "end"))
		period := time.Duration(rapid.IntRange(1, int(end)).Draw(t, "period"))
		r := c.Repeated(end, period, 300)
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		for now := time.Duration(0); now < 300; now++ {
			want := c.At(now)
			if now >= end {
				want = r.At(now - period)
			}
			if got := r.At(now); got != want {
				t.Fatalf("at %d it is %v, want %v", now, got, want)
			}
		}
	})
}

// Whatever lengths of time come, a sketch tells their mean exactly, and each quantile and
// share to within one percent.
func TestSketch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(math.Exp(rapid.Float64Range(0, 40).Draw(t, "ln")))
		}), 1, 60).Draw(t, "durations")
		var s Sketch
		var sum float64
		for _, d := range all {
			s.Add(d)
			sum += d.Seconds()
		}
		if want := sum / float64(len(all)); math.Abs(s.Mean().Seconds()-want) > 1e-6*max(want, 1) || s.Count() != int64(len(all)) {
			t.Fatalf("mean %s of %d, want %v of %d", s.Mean(), s.Count(), want, len(all))
		}
		q := rapid.Float64Range(0.001, 1).Draw(t, "q")
		got, rank := s.Quantile(q), int(math.Ceil(q*float64(len(all))))
		exact := sorted(all)[rank-1]
		if off := math.Abs(float64(got - exact)); off > 0.01*float64(exact) && exact >= time.Millisecond || exact < time.Millisecond && got != 0 {
			t.Fatalf("quantile %v is %s, want %s", q, got, exact)
		}
		d := time.Duration(math.Exp(rapid.Float64Range(0, 40).Draw(t, "above")))
		var least, most float64
		for _, v := range all {
			if float64(v) > 1.01*float64(d) && v >= time.Millisecond {
				least++
			}
			if float64(v) > 0.99*float64(d) {
				most++
			}
		}
		n := float64(len(all))
		if got := s.Above(d); got < least/n-1e-12 || got > most/n+1e-12 {
			t.Fatalf("%v are above %s, want from %v to %v", got, d, least/n, most/n)
		}
	})
	var none Sketch
	if none.Mean() != 0 || none.Quantile(0.5) != 0 || none.Above(0) != 0 {
		t.Error("a sketch of nothing tells something")
	}
}

func sorted(all []time.Duration) []time.Duration {
	out := slices.Clone(all)
	slices.Sort(out)
	return out
}
