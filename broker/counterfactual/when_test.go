package counterfactual

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// every returns so many units each time, for so long until now.
func every(step, back time.Duration, units int64) (list []Return) {
	for at := now.Add(-back); !at.After(now); at = at.Add(step) {
		list = append(list, Return{At: at, Units: units})
	}
	return list
}

// ago is the same some time before.
func ago(d time.Duration, list []Return) []Return {
	for i := range list {
		list[i].At = list[i].At.Add(-d - time.Second)
	}
	return list
}

func TestWhen(t *testing.T) {
	for name, test := range map[string]struct {
		missing          int64
		returns          []Return
		known            bool
		earliest, latest time.Duration // latest 0: cannot be said
	}{
		"nothing came free":      {8, nil, false, 0, 0},
		"seven times":            {8, every(10*time.Minute, time.Hour, 8), false, 0, 0},
		"eight times, too few":   {8000, every(10*time.Minute, 70*time.Minute, 8), false, 0, 0},
		"too long ago":           {8, ago(Back, every(time.Minute, time.Hour, 8)), false, 0, 0},
		"all in the last hour":   {8, every(6*time.Minute, time.Hour, 8), true, 3 * time.Minute, 0},
		"evenly, one at a time":  {8, every(10*time.Minute, 8*24*time.Hour, 8), true, 1 * time.Minute, 9 * time.Minute},
		"evenly, ten of them":    {80, every(10*time.Minute, 8*24*time.Hour, 8), true, 91 * time.Minute, 99 * time.Minute},
		"evenly, more than ever": {1 << 40, every(10*time.Minute, 8*24*time.Hour, 8), false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := When(now, test.missing, test.returns)
			if known != test.known {
				t.Fatalf("known: %v, %+v", known, got)
			}
			if !known {
				return
			}
			const slack = 2 * time.Minute
			if d := got.Earliest.Sub(now) - test.earliest; d < -slack || d > slack {
				t.Errorf("earliest in %s, want %s", got.Earliest.Sub(now), test.earliest)
			}
			if test.latest == 0 != got.Latest.IsZero() {
				t.Fatalf("latest %s", got.Latest)
			}
			if d := got.Latest.Sub(now) - test.latest; test.latest > 0 && (d < -slack || d > slack) {
				t.Errorf("latest in %s, want %s", got.Latest.Sub(now), test.latest)
			}
		})
	}
}

// A busy last hour after a quiet week makes the interval wide: it is from soon until what the
// week makes likely.
func TestWhenTheHourIsUnlikeTheWeek(t *testing.T) {
	list := append(every(6*time.Hour, 8*24*time.Hour, 8), every(time.Minute, time.Hour, 8)...)
	slices.SortFunc(list, func(a, b Return) int { return a.At.Compare(b.At) })
	got, known := When(now, 80, list)
	if !known || got.Earliest.Sub(now) > 15*time.Minute || got.Latest.Sub(now) < 24*time.Hour {
		t.Errorf("got %+v", got)
	}
}

// The interval is one, begins no sooner than now, and more units never come sooner. What is
// older than a week, or in the future, changes nothing.
func TestWhenIsAnInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []Return
		for range rapid.IntRange(0, 60).Draw(t, "returns") {
			back := time.Duration(rapid.Int64Range(0, int64(Back)).Draw(t, "back"))
			list = append(list, Return{At: now.Add(-back), Units: rapid.Int64Range(0, 64).Draw(t, "units")})
		}
		slices.SortFunc(list, func(a, b Return) int { return a.At.Compare(b.At) })
		missing := rapid.Int64Range(0, 400).Draw(t, "missing")
		got, known := When(now, missing, list)
		more, also := When(now, missing+rapid.Int64Range(0, 50).Draw(t, "more"), list)
		if also && !known {
			t.Fatal("more is known and less is not")
		}
		if known && (got.Earliest.Before(now) || !got.Latest.IsZero() && got.Latest.Before(got.Earliest) || got.Returns != len(list)) {
			t.Fatalf("got %+v", got)
		}
		if also && (more.Earliest.Before(got.Earliest) || !more.Latest.IsZero() && (got.Latest.IsZero() || more.Latest.Before(got.Latest))) {
			t.Fatalf("%+v, and of more %+v", got, more)
		}
		odd := append([]Return{{At: now.Add(-Back - time.Second), Units: 1000}}, list...)
		odd = append(odd, Return{At: now.Add(time.Second), Units: 1000})
		if again, ok := When(now, missing, odd); ok != known || again != got {
			t.Fatalf("got %+v, and %+v with what does not count", got, again)
		}
	})
}
