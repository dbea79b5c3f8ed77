package demand

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func known(at time.Time, requests float64) lend.Load {
	return lend.Load{Known: true, ObservedAt: at, Coverage: 1, Requests: requests, Panic: requests, Slots: 100}
}

var shape = Shape{Quantile: 0.99, MaxGrace: time.Minute}

func TestObserveAveragesOverBothWindows(t *testing.T) {
	d := New(Config{StableWindow: time.Minute, PanicWindow: 10 * time.Second})
	var got lend.Load
	for i := range 12 {
		at := begin.Add(time.Duration(i) * 5 * time.Second)
		got = d.Observe("a", at, known(at, float64(i)), shape)
	}
	// The last minute is all twelve samples, the last ten seconds the last two.
	if got.Requests != 5.5 || got.Panic != 10.5 {
		t.Errorf("requests %v, panic %v; want 5.5 and 10.5", got.Requests, got.Panic)
	}
	again := d.Observe("a", begin.Add(time.Minute), known(begin.Add(55*time.Second), 1000), shape)
	if again.Requests != 5.5 || again.Panic != 10.5 {
		t.Errorf("the same sample again: requests %v, panic %v; want 5.5 and 10.5", again.Requests, again.Panic)
	}
	older := d.Observe("a", begin.Add(time.Minute), known(begin.Add(50*time.Second), 1000), shape)
	if older.Requests != 5.5 || older.Panic != 10.5 {
		t.Errorf("a sample from before: requests %v, panic %v; want 5.5 and 10.5", older.Requests, older.Panic)
	}
	local := known(begin.Add(55*time.Second).In(time.FixedZone("east", 3600)), 1000)
	if got := d.Observe("a", begin.Add(time.Minute), local, shape); got.Requests != 5.5 {
		t.Errorf("the same sample in another zone: requests %v, want 5.5", got.Requests)
	}
	if other := d.Observe("b", begin, known(begin, 3), shape); other.Requests != 3 {
		t.Errorf("another lender: requests %v, want 3", other.Requests)
	}
}

// Replicas that began to serve only now count as busy, which they need not ever be: the
// past, and how the load scatters, are of what was reported.
func TestObserveDoesNotLearnWhatIsAssumed(t *testing.T) {
	d := New(Config{})
	for i := range 60 {
		at := begin.Add(time.Duration(i) * 5 * time.Second)
		load := known(at, 40)
		if i >= 20 && i < 26 { // a roll-out
			load.Requests, load.Assumed = 300, 300
		}
		got := d.Observe("a", at, load, shape)
		if i == 25 && got.Requests != 170 {
			t.Errorf("the load now: %v requests, want half a minute of 300 and of 40", got.Requests)
		}
	}
	now := begin.Add(5 * time.Minute)
	f := d.Forecast("a", now)
	if f == nil || f.Season != 40 {
		t.Fatalf("what the last hour needed: %+v, want 40", f)
	}
	if f.Scatter > 10 {
		t.Errorf("the load scatters by %v, want less than 10", f.Scatter)
	}
}

// An unknown load comes back as it is, and is no zero in the windows.
func TestObserveKeepsUnknownUnknown(t *testing.T) {
	d := New(Config{})
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	d.Observe("a", at(0), known(at(0), 80), shape)
	for name, load := range map[string]lend.Load{
		"unknown":         {Unknown: "the query gave no result"},
		"from the future": known(at(3600), 0),
		"not a number":    known(at(5), math.NaN()),
		"negative":        known(at(5), -1),
		"without slots":   {Known: true, ObservedAt: at(5), Coverage: 1},
	} {
		if got := d.Observe("a", at(5), load, shape); !cmp.Equal(got, load, cmp.Comparer(func(a, b float64) bool {
			return a == b || math.IsNaN(a) && math.IsNaN(b)
		})) {
			t.Errorf("%s: came back as %+v", name, got)
		}
	}
	if got := d.Observe("a", at(10), known(at(10), 40), shape); got.Requests != 60 {
		t.Errorf("after the gap: requests %v, want 60", got.Requests)
	}
	if got := d.Observe("a", at(1000), known(at(1000), 40), shape); got.Requests != 40 {
		t.Errorf("after a gap longer than the window: requests %v, want 40", got.Requests)
	}
}

// A clock that was ahead for a while costs what was heard meanwhile, and no more.
func TestObserveAfterTheClockWasAhead(t *testing.T) {
	d := New(Config{})
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for s := range 3600 {
		d.Observe("a", at(s), known(at(s), 100), shape)
	}
	ahead := at(3600).Add(24 * time.Hour)
	d.Observe("a", ahead, known(ahead, 9000), shape)
	for s := 3600; s < 2*3600+600; s++ {
		got := d.Observe("a", at(s), known(at(s), 40), shape)
		if math.Abs(got.Requests-40) > 1e-9 {
			t.Fatalf("%d seconds after the clock was set back: requests %v, want 40", s-3600, got.Requests)
		}
		f := d.Forecast("a", at(s))
		if f == nil || f.Season > 101 {
			t.Fatalf("%d seconds after the clock was set back: forecast %+v", s-3600, f)
		}
		if want := s < 2*3600; f.ScatterUnknown != want {
			t.Fatalf("%d seconds after the clock was set back: scatter unknown %v", s-3600, f.ScatterUnknown)
		}
	}
	if days := d.Learned(at(7200))[0].Outlook.Days; days < 2.0/24 {
		t.Errorf("the past before is lost: %v days are left", days)
	}
}

// lived is a memory of nine days of a load of 100 that is 400 from ten to twelve, which ends
// at nine.
func lived(d *Demand) (now time.Time) {
	for i := range 9*24*60 + 9*60 {
		now = begin.Add(time.Duration(i) * time.Minute)
		load := 100.0
		if h := now.Hour(); h >= 10 && h < 12 {
			load = 400
		}
		d.Observe("a", now, known(now, load), shape)
	}
	return now
}

// A clock that leaps ahead, by however much, never lets less be kept: while it is ahead the
// peak of what was known is, and what was known is known again when it comes back.
func TestObserveAfterTheClockLeapt(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for name, leaps := range map[string][]time.Duration{
		"by two hours": {2 * time.Hour}, "by three days": {3 * 24 * time.Hour}, "by a month": {month},
		"by a lifetime": {80 * 365 * 24 * time.Hour}, "twice": {month, 2 * month}, "to and fro": {2 * month, month},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Config{MinimumLoan: 5 * time.Minute})
			now := lived(d)
			d.SawReclaim("a", "loan", now, now.Add(20*time.Minute))
			before, notice := *d.Forecast("a", now), d.Notice("a")
			var ahead time.Time
			for _, by := range leaps {
				ahead = now.Add(by)
				for range 60 {
					ahead = ahead.Add(time.Minute)
					d.Observe("a", ahead, known(ahead, 90), shape)
					if f := d.Forecast("a", ahead); f == nil || f.Season < 400 {
						t.Fatalf("%s ahead: forecast %+v, want a season of 400 at least", ahead.Sub(now), f)
					}
					if got := d.Notice("a"); got < notice {
						t.Fatalf("%s ahead: notice %s, before %s", ahead.Sub(now), got, notice)
					}
				}
			}
			d.Observe("a", now.Add(time.Minute), known(now.Add(time.Minute), 100), shape)
			after := d.Forecast("a", now.Add(time.Minute))
			if after.Season != before.Season || after.Growth != before.Growth || after.Floor != before.Floor {
				t.Errorf("after it was set back %+v, before %+v", after, before)
			}
		})
	}
	t.Run("and is right", func(t *testing.T) {
		d := New(Config{})
		now := lived(d).Add(month)
		for range 24*60 + 1 {
			now = now.Add(time.Minute)
			d.Observe("a", now, known(now, 90), shape)
		}
		if f := d.Forecast("a", now); f.Season != 90 {
			t.Errorf("a day after a pause of a month: %+v, want a season of 90", f)
		}
	})
	t.Run("and nothing was heard meanwhile", func(t *testing.T) {
		d := New(Config{MinimumLoan: 5 * time.Minute})
		now := lived(d)
		d.Observe("a", now.Add(month), lend.Load{Unknown: "no result"}, shape)
		d.Observe("a", now.Add(time.Minute), known(now.Add(time.Minute), 100), shape)
		if f := d.Forecast("a", now.Add(time.Minute)); f.Season != 100 {
			t.Errorf("%+v, want a season of 100", f)
		}
	})
}

func TestRising(t *testing.T) {
	type step struct {
		value float64
		want  bool
	}
	for name, steps := range map[string][]step{
		"three in succession":  {{6, false}, {7, false}, {8, false}, {9, true}, {10, true}},
		"not above low":        {{1, false}, {2, false}, {3, false}, {5, false}, {6, true}},
		"once as high":         {{6, false}, {7, false}, {7, false}, {8, false}, {9, false}, {10, true}},
		"falls":                {{6, false}, {7, false}, {8, false}, {9, true}, {8, false}},
		"a gap in between":     {{6, false}, {7, false}, {8, false}, {-1, false}, {9, false}, {10, false}},
		"a value that is none": {{6, false}, {7, false}, {math.NaN(), false}, {8, false}, {9, false}},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Config{})
			for i, s := range steps {
				at := begin.Add(time.Duration(i) * 15 * time.Second)
				load := lend.Load{Known: s.value != -1, ObservedAt: at, Signals: []lend.Signal{{Name: "waiting", Value: s.value, Low: 5, High: 20}}}
				for range 3 { // a decision is made more often than a signal is read
					if got := d.Observe("a", at.Add(time.Second), load, shape).Signals[0].Rising; got != s.want {
						t.Errorf("step %d: rising %v, want %v", i, got, s.want)
					}
				}
				if load.Signals[0].Rising {
					t.Fatal("the caller's signals were changed")
				}
			}
		})
	}
}

func TestForecast(t *testing.T) {
	d := New(Config{MinimumLoan: 5 * time.Minute})
	if f := d.Forecast("a", begin); f != nil {
		t.Errorf("of a lender that is not known: %+v", f)
	}
	d.Observe("a", begin, lend.Load{Unknown: "no result"}, shape)
	if f := d.Forecast("a", begin); f != nil {
		t.Errorf("before the first sample: %+v", f)
	}
	var now time.Time
	for i := range 9 * 24 * 60 {
		if i == 7*24*60 && d.Forecast("a", now).Ahead != nil {
			t.Error("a past of seven days says what is ahead")
		}
		now = begin.Add(time.Duration(i) * time.Minute)
		load := 100.0
		if i%(24*60) >= 10*60 && i%(24*60) < 12*60 {
			load = 400
		}
		d.Observe("a", now, known(now, load), shape)
	}
	at := func(hour, minute int) time.Time {
		return begin.Add(9*24*time.Hour + time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	if f := d.Forecast("a", at(5, 0)); f == nil || f.Season != 100 || f.Floor != 400 || f.Growth < 1 {
		t.Errorf("at night: %+v, want a season of 100 and a floor of 400", f)
	}
	if f := d.Forecast("a", at(9, 52)); f == nil || f.Season < 400 {
		t.Errorf("before the morning: %+v, want a season of 400", f)
	}
	// The trough ends between four and eight hours from 05:00.
	want := []lend.Ahead{
		{Within: 30 * time.Minute, Load: 100}, {Within: time.Hour, Load: 100}, {Within: 2 * time.Hour, Load: 100},
		{Within: 4 * time.Hour, Load: 100}, {Within: 8 * time.Hour, Load: 400}, {Within: 12 * time.Hour, Load: 400},
	}
	if got := d.Forecast("a", at(5, 0)).Ahead; !slices.Equal(got, want) {
		t.Errorf("ahead of 05:00: %v, want %v", got, want)
	}
	// What counts those that were not heard as busy is no past.
	half := known(at(0, 30), 9000)
	half.Coverage = 0.5
	d.Observe("a", at(0, 30), half, shape)
	if f := d.Forecast("a", at(0, 30)); f.Season != 100 {
		t.Errorf("after a load of which half was not heard: season %v, want 100", f.Season)
	}
}

// A ratio of variance to mean above the limit says that a load cannot be forecast, unless
// the load is only large.
func TestForecastDispersion(t *testing.T) {
	limit := lend.DefaultPolicy().DispersionLimit
	for name, tc := range map[string]struct {
		low, high float64
		wild      bool
	}{
		"a few requests, in bursts": {1, 100, true},
		"twenty thousand, by 3 %":   {19400, 20600, false},
		"twenty thousand, by 30 %":  {14000, 26000, false},
		"twenty thousand, by half":  {10000, 30000, true},
		"a chat service":            {30, 43, false},
	} {
		d := New(Config{})
		for i := range 4 * 60 {
			at := begin.Add(time.Duration(i) * 15 * time.Second)
			load := tc.low
			if i%2 == 1 {
				load = tc.high
			}
			d.Observe("a", at, known(at, load), shape)
		}
		now := begin.Add(59*time.Minute + 45*time.Second)
		f, scatter := d.Forecast("a", now), d.Learned(now)[0].Scatter
		if wild := f.Dispersion > limit; wild != tc.wild || f.Dispersion > scatter.Ratio {
			t.Errorf("%s: dispersion %v of %+v, above the limit %v; want %v", name, f.Dispersion, scatter, wild, tc.wild)
		}
		mean, half := (tc.low+tc.high)/2, (tc.high-tc.low)/2
		if got := math.Sqrt(mean * f.Scatter); math.Abs(got-half) > half/50 {
			t.Errorf("%s: standard deviation %v by the scatter, want %v whether it is wild or not", name, got, half)
		}
	}
}

// After a restart nobody knows how wild a load is. An hour of it says so, also where it is 0.
func TestForecastScatterUnknown(t *testing.T) {
	for _, load := range []float64{0, 100} {
		d := New(Config{})
		for i := range 4*60 + 1 {
			at := begin.Add(time.Duration(i) * 15 * time.Second)
			d.Observe("a", at, known(at, load), shape)
			if got, want := d.Forecast("a", at).ScatterUnknown, at.Sub(begin) < time.Hour; got != want {
				t.Fatalf("a load of %v, %s after the start: scatter unknown %v, want %v", load, at.Sub(begin), got, want)
			}
		}
		later := begin.Add(26 * time.Hour)
		if !d.Forecast("a", later).ScatterUnknown {
			t.Errorf("a load of %v: what was a day ago says how it scatters now", load)
		}
	}
}

func TestNotice(t *testing.T) {
	d := New(Config{})
	if got := d.Notice("a"); got != DefaultStart {
		t.Errorf("of a lender that is not known: %s", got)
	}
	now := begin
	observe := func(at time.Time) {
		now = at
		d.Observe("a", now, lend.Load{}, shape)
	}
	want := func(what string, want time.Duration) {
		t.Helper()
		if got := d.Notice("a"); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	observe(begin)
	want("before anything was measured", 2*time.Minute)
	d.SawReclaim("a", "loan-1", begin, begin.Add(10*time.Second))
	want("after a reclaim that was quick", 2*time.Minute)
	d.SawStart("a", "pod-1", begin, begin.Add(30*time.Second))
	want("after a start", 90*time.Second)
	d.SawStart("a", "pod-1", begin, begin.Add(40*time.Second))
	d.SawStart("a", "pod-2", begin, begin.Add(25*time.Hour))
	d.SawStart("a", "pod-3", time.Time{}, begin)
	d.SawReclaim("a", "loan-2", begin, begin.Add(-time.Second))
	d.SawReclaim("a", "loan-3", begin, begin.Add(time.Hour+1))
	want("after what does not count", 90*time.Second)
	for i := range 200 {
		at := begin.Add(time.Duration(i) * time.Minute)
		d.SawReclaim("a", "loan-x"+at.String(), at, at.Add(time.Duration(i%50+1)*time.Second))
	}
	observe(begin.Add(200 * time.Minute))
	// The last 50 took 1 to 50 seconds; of those, the 48th.
	want("after many reclaims", 90*time.Second)
	if l := d.Learned(now)[0]; l.Reclaims != 50 || l.Starts != 1 || l.Reclaim != 48*time.Second || l.Start != 30*time.Second {
		t.Errorf("learned %+v", l)
	}
	d.SawReclaim("a", "loan-y", now.Add(-2*time.Minute), now)
	d.SawReclaim("a", "loan-z", now.Add(-2*time.Minute), now)
	d.SawReclaim("a", "loan-0", now.Add(-2*time.Minute), now)
	want("after slow ones", 150*time.Second)
	observe(begin.Add(8 * 24 * time.Hour))
	want("a week later", 3*time.Minute)
}

// A borrower may use all of MaxGrace, however quick the ones before were. A schedule goes by
// that; a forecast, which is no promise, looks as far ahead as what was seen.
func TestNoticeIsNotBelowTheGrace(t *testing.T) {
	d := New(Config{})
	long := Shape{Quantile: 0.99, MaxGrace: 10 * time.Minute}
	d.Observe("a", begin, lend.Load{}, long)
	for i := range 60 {
		at := begin.Add(time.Duration(i-60) * time.Minute)
		d.SawReclaim("a", "loan"+at.String(), at, at.Add(5*time.Second))
	}
	d.SawStart("a", "pod", begin.Add(-20*time.Minute), begin.Add(-5*time.Minute))
	if got := d.Notice("a"); got != 25*time.Minute {
		t.Errorf("after quick reclaims and a start of 15 minutes: %s, want 25m", got)
	}
	l := d.Learned(begin)[0]
	if l.Notice != 25*time.Minute || l.Reclaim != 5*time.Second || l.Start != 15*time.Minute {
		t.Errorf("learned %+v", l)
	}
	if got := d.lenders["a"].horizon(); got != 15*time.Minute+5*time.Second {
		t.Errorf("a forecast looks %s ahead, want 15m5s", got)
	}
}

// A service that runs steadily starts no replicas. What its last ones took is what the next
// one takes, also after more than a week.
func TestNoticeOfASteadyService(t *testing.T) {
	for name, tc := range map[string]struct {
		starts []time.Duration // one day after the other, the last one ten days ago
		later  time.Duration   // one lately, if it is not 0
		want   time.Duration
	}{
		"a slow one":                    {[]time.Duration{10 * time.Minute}, 0, 10 * time.Minute},
		"a quick one":                   {[]time.Duration{time.Second}, 0, DefaultStart},
		"several":                       {[]time.Duration{3 * time.Minute, 10 * time.Minute, 2 * time.Minute}, 0, 10 * time.Minute},
		"a slow one before five others": {[]time.Duration{10 * time.Minute, 80 * time.Second, 1, 1, 1, 1}, 0, 80 * time.Second},
		"and a quick one lately":        {[]time.Duration{10 * time.Minute}, 20 * time.Second, 10 * time.Minute},
		"and a slow one lately":         {[]time.Duration{time.Minute}, 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Config{})
			d.Observe("a", begin, lend.Load{}, Shape{})
			for i, took := range tc.starts {
				at := begin.Add(time.Duration(i-len(tc.starts)-9) * 24 * time.Hour)
				d.SawStart("a", at.String(), at.Add(-took), at)
			}
			if tc.later > 0 {
				d.SawStart("a", "later", begin.Add(-tc.later), begin)
			}
			if got := d.Notice("a"); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	t.Run("enough lately", func(t *testing.T) {
		d := New(Config{})
		d.Observe("a", begin, lend.Load{}, Shape{})
		d.SawStart("a", "old", begin.Add(-10*24*time.Hour), begin.Add(-10*24*time.Hour+10*time.Minute))
		for i := range always {
			at := begin.Add(-time.Duration(i+1) * time.Hour)
			d.SawStart("a", at.String(), at, at.Add(20*time.Second))
		}
		if got := d.Notice("a"); got != 20*time.Second {
			t.Errorf("%s, want 20s: five are enough", got)
		}
	})
}

// What was stuck says nothing about the next reclaim. How long one may take grows with the
// policy's grace.
func TestNoticeLeavesOutStuckReclaims(t *testing.T) {
	slow := Shape{Quantile: 0.99, MaxGrace: 20 * time.Minute}
	for took, want := range map[time.Duration]time.Duration{
		200 * time.Minute:   201 * time.Minute,
		200*time.Minute + 1: 21 * time.Minute,
	} {
		d := New(Config{})
		d.Observe("a", begin, lend.Load{}, slow)
		d.SawReclaim("a", "loan", begin, begin.Add(took))
		if got := d.Notice("a"); got != want {
			t.Errorf("after a reclaim of %s: %s, want %s", took, got, want)
		}
	}
}

func TestKeep(t *testing.T) {
	d := New(Config{})
	d.Observe("a", begin, known(begin, 1), shape)
	d.Observe("b", begin, known(begin, 1), shape)
	d.Keep(map[string]bool{"b": true})
	if l := d.Learned(begin); len(l) != 1 || l[0].Lender != "b" {
		t.Errorf("kept %+v, want b", l)
	}
}

// Decisions, pods, loans and metrics come from several goroutines.
func TestConcurrentUse(t *testing.T) {
	d := New(Config{})
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				at := begin.Add(time.Duration(i) * time.Minute)
				switch g {
				case 0:
					d.Observe("a", at, known(at, 1), shape)
				case 1:
					d.Forecast("a", at)
					d.Notice("a")
				case 2:
					d.SawStart("a", at.String(), at, at.Add(time.Second))
					d.SawReclaim("a", at.String(), at, at.Add(time.Second))
				case 3:
					d.Learned(at)
					d.Keep(map[string]bool{"a": i%10 > 0})
				}
			}
		})
	}
	all.Wait()
}
