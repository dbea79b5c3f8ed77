package baseline

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

func TestFeedback(t *testing.T) {
	const hour = time.Hour
	for name, tt := range map[string]struct {
		eta, kept, broken float64
		waits             time.Duration
		want              float64
	}{
		"nobody has a guarantee, nobody waits": {1, 0, 0, 0, 1},
		"none broken, the queue waits":         {1, 40, 0, 2 * hour, 1.5},
		"no guarantee at all, the queue waits": {1, 0, 0, 2 * hour, 1.5},
		"none broken, waits for an hour":       {1, 40, 0, hour, 1},
		"a twentieth broken, the queue waits":  {1, 38, 2, 2 * hour, 1},
		"a fortieth broken, the queue waits":   {1, 39, 1, 2 * hour, 1.25},
		"a tenth broken, as allowed":           {1, 36, 4, 2 * hour, 1},
		"a fifth broken":                       {1, 32, 8, 2 * hour, 0.5},
		"all broken":                           {1, 0, 40, 0, 0.1},
		"broken, but too few to say":           {1, 7, 2, 0, 1},
		"never below the least":                {0.2, 0, 40, 0, 0.1},
		"never above the most":                 {1.8, 40, 0, 2 * hour, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeedback()
			f.eta = tt.eta
			f.count(tt.kept, tt.broken)
			if f.review(gfsGuarantee, tt.waits); !near(f.eta, tt.want) {
				t.Errorf("eta is %v, want %v", f.eta, tt.want)
			}
		})
	}
}

func TestRaised(t *testing.T) {
	for e, want := range map[float64]float64{0: 1.5, 0.02: 1.3, 0.05: 1, 0.5: 1, 1: 1} {
		if got := raised(e); !near(got, want) {
			t.Errorf("%v broken: by %v, want %v", e, got, want)
		}
	}
}

// Eta is moved once in an hour, and a broken guarantee lowers it once.
func TestFeedbackCountsOnce(t *testing.T) {
	f := newFeedback()
	f.count(5, 5)
	for i := range 36 {
		f.review(time.Duration(i+1)*gfsEvery, 0)
	}
	if !near(f.eta, 0.2) {
		t.Errorf("eta is %v, want 0.2: half of the guarantees were broken", f.eta)
	}
	f = newFeedback()
	for i := range 23 {
		f.review(time.Duration(i+1)*gfsEvery, 2*time.Hour)
	}
	if !near(f.eta, 1.5) {
		t.Errorf("eta is %v before two hours are over, want 1.5", f.eta)
	}
}

// What was broken is forgotten after the window.
func TestFeedbackForgets(t *testing.T) {
	f := newFeedback()
	f.count(9, 1)
	for i := range len(f.kept) - 1 {
		f.review(time.Duration(i+1)*gfsEvery, 0)
	}
	if e, of := f.rate(); !near(e, 0.1) || of != 10 {
		t.Errorf("%v of %v before the window's end, want 0.1 of 10", e, of)
	}
	f.review(gfsWindow, 0)
	if e, of := f.rate(); e != 0 || of != 0 {
		t.Errorf("%v of %v after the window, want none", e, of)
	}
}

func TestEtaStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFeedback()
		for i := range rapid.IntRange(1, 100).Draw(t, "reviews") {
			f.count(rapid.Float64Range(0, 50).Draw(t, "kept"), float64(rapid.IntRange(0, 20).Draw(t, "broken")))
			f.review(time.Duration(i)*gfsEvery, time.Duration(rapid.IntRange(0, 3).Draw(t, "waits"))*time.Hour)
			if !(f.eta >= leastEta && f.eta <= mostEta) {
				t.Fatalf("eta is %v", f.eta)
			}
		}
	})
}

func TestDemand(t *testing.T) {
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	var d demand
	if got := atMost([]*demand{&d}, monday, gfsP); got != 0 {
		t.Errorf("expects %d of nothing known", got)
	}
	// Nights ask for 8 or 24 units, days for 80; on Tuesday for 40.
	for i := range 2 * 24 * int(gfsHour) {
		at := monday.Add(time.Duration(i) * gfsEvery)
		switch {
		case at.Day() == 6:
			d.note(at, 40)
		case at.Hour() >= 8:
			d.note(at, 80)
		default:
			d.note(at, 8+16*float64(i%2))
		}
	}
	z := 1.2815515655446004 // of 0.9
	for name, tt := range map[string]struct {
		at   time.Time
		want float64
	}{
		"that hour of the week, even": {monday.Add(7*24*time.Hour + 9*time.Hour), 80},
		"that hour of the week":       {monday.Add(7 * 24 * time.Hour), 16 + z*8},
		"that hour of other days":     {monday.Add(2*24*time.Hour + 9*time.Hour), 60 + z*20},
	} {
		t.Run(name, func(t *testing.T) {
			if got := atMost([]*demand{&d}, tt.at, gfsP); got != int64(tt.want) {
				t.Errorf("expects %d units, want %v", got, tt.want)
			}
		})
	}
	// Two services: means add, and variances.
	both := monday.Add(7 * 24 * time.Hour)
	if got, want := atMost([]*demand{&d, &d}, both, gfsP), int64(32+z*8*math.Sqrt2); got != want {
		t.Errorf("expects %d units of both, want %d", got, want)
	}
}

// The mean and variance are those of the values.
func TestMoments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1e3, 1e3), 1, 50).Draw(t, "values")
		var m moments
		mean, variance := 0.0, 0.0
		for _, v := range values {
			m.add(v)
			mean += v / float64(len(values))
		}
		for _, v := range values {
			variance += (v - mean) * (v - mean) / float64(len(values))
		}
		if math.Abs(m.mean-mean) > 1e-9*1e3 || math.Abs(m.variance()-variance) > 1e-9*1e6 {
			t.Fatalf("mean %v, variance %v, want %v, %v", m.mean, m.variance(), mean, variance)
		}
	})
}
