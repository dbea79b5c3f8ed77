package forecast

import (
	"math"
	"testing"
	"time"
)

// Steps are the highest of what was heard in them: by the minute as far as minutes reach, by
// slots of ten before that, and unknown where nobody heard anything.
func TestSteps(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f := NewForecaster()
	if _, known := f.First(); known || !math.IsNaN(f.Steps(begin, time.Minute, 1)[0]) {
		t.Error("something is known of nothing")
	}
	now := begin.Add(12 * 24 * time.Hour)
	old := begin.Add(5 * time.Minute)
	f.Seed(now, []Point{{old, 7}}, nil)
	late := now.Add(-time.Hour)
	f.Add(now, late, 3)
	f.Add(now, late.Add(90*time.Second), 5)
	f.Add(now, late.Add(10*time.Minute), 0)
	for name, test := range map[string]struct {
		from  time.Time
		step  time.Duration
		count int
		want  []float64
	}{
		"minutes":             {late, time.Minute, 4, []float64{3, 5, math.NaN(), math.NaN()}},
		"two each":            {late, 2 * time.Minute, 2, []float64{5, math.NaN()}},
		"too fine":            {late, time.Second, 2, []float64{3, 5}},
		"a load of nothing":   {late.Add(10 * time.Minute), time.Minute, 1, []float64{0}},
		"before minutes":      {begin, 5 * time.Minute, 3, []float64{7, 7, math.NaN()}},
		"in the future":       {now.Add(time.Hour), time.Hour, 1, []float64{math.NaN()}},
		"before all":          {begin.Add(-30 * 24 * time.Hour), time.Hour, 1, []float64{math.NaN()}},
		"all of it":           {begin, 13 * 24 * time.Hour, 1, []float64{5}},
		"none":                {begin, time.Hour, 0, nil},
		"a gap between slots": {begin.Add(24 * time.Hour), time.Hour, 1, []float64{math.NaN()}},
	} {
		got := f.Steps(test.from, test.step, test.count)
		if len(got) != len(test.want) {
			t.Fatalf("%s: got %v", name, got)
		}
		for i := range got {
			unknown := math.IsNaN(got[i]) && math.IsNaN(test.want[i])
			if !unknown && got[i] != test.want[i] {
				t.Errorf("%s: got %v, want %v", name, got, test.want)
				break
			}
		}
	}
	if first, known := f.First(); !known || !first.Equal(begin) {
		t.Errorf("the first is from %s", first)
	}
}
