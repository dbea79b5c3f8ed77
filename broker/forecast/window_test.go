package forecast

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return begin.Add(d) }

func TestWindowMean(t *testing.T) {
	type add struct {
		at    time.Duration
		value float64
	}
	for name, tc := range map[string]struct {
		adds []add
		want float64
		n    int
	}{
		"one sample":                   {[]add{{0, 4}}, 4, 1},
		"all within":                   {[]add{{0, 1}, {20 * time.Second, 2}, {40 * time.Second, 6}}, 3, 3},
		"one as old as the window":     {[]add{{0, 100}, {time.Minute, 2}}, 2, 1},
		"a gap is no zero":             {[]add{{0, 9}, {50 * time.Second, 3}}, 6, 2},
		"a gap longer than the window": {[]add{{0, 9}, {time.Hour, 3}}, 3, 1},
		"twice the same time":          {[]add{{0, 9}, {0, 1}}, 9, 1},
		"out of order":                 {[]add{{10 * time.Second, 9}, {5 * time.Second, 1}}, 9, 1},
		"from the future":              {[]add{{0, 9}, {2 * time.Hour, 1}}, 9, 1},
		"not a number":                 {[]add{{0, 9}, {time.Second, math.NaN()}}, 9, 1},
		"infinite":                     {[]add{{0, 9}, {time.Second, math.Inf(1)}}, 9, 1},
		"negative":                     {[]add{{0, 9}, {time.Second, -1}}, 9, 1},
		"a blank of a GPU exporter":    {[]add{{0, 9}, {time.Second, 9223372036854775794}}, 9, 1},
	} {
		w := NewWindow(time.Minute)
		for _, a := range tc.adds {
			w.Add(after(time.Hour), after(a.at), a.value)
		}
		if got, ok := w.Mean(); !ok || got != tc.want || w.Samples() != tc.n {
			t.Errorf("%s: mean %v of %d, known %v; want %v of %d", name, got, w.Samples(), ok, tc.want, tc.n)
		}
	}
	if _, ok := NewWindow(time.Minute).Mean(); ok {
		t.Error("an empty window has a mean")
	}
}

// The mean is that of the samples no older than the window, by a slower rule, and
// memory is bounded.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.IntRange(1, 100).Draw(t, "length")) * time.Second
		w := NewWindow(length)
		var all []sample
		at := begin
		for _, gap := range rapid.SliceOfN(rapid.IntRange(1, 60), 1, 200).Draw(t, "gaps") {
			at = at.Add(time.Duration(gap) * time.Second)
			v := float64(rapid.IntRange(0, 1000).Draw(t, "value"))
			w.Add(at, at, v)
			all = append(all, sample{at, v})
		}
		var sum, n float64
		for _, s := range all {
			if at.Sub(s.at) < length {
				sum, n = sum+s.value, n+1
			}
		}
		if got, _ := w.Mean(); math.Abs(got-sum/n) > 1e-6 {
			t.Fatalf("mean %v, want %v", got, sum/n)
		}
	})
	w := NewWindow(time.Hour)
	for i := range 10 * mostSamples {
		w.Add(after(time.Hour), after(time.Duration(i)*time.Millisecond), 1)
	}
	if w.Samples() != mostSamples || cap(w.samples) > 4*mostSamples {
		t.Errorf("%d samples in room for %d, want %d", w.Samples(), cap(w.samples), mostSamples)
	}
}
