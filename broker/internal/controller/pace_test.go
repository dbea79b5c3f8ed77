package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// decisions runs a pace for a while and returns when decisions were made. Each
// takes no time and fails while failing says so.
func decisions(t *testing.T, during time.Duration, failing func(time.Duration) bool, changes func(w wakes, sleep func(time.Duration))) []time.Duration {
	t.Helper()
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), during)
		defer cancel()
		p := &pace{wakes: newWakes(), interval: 15 * time.Second, debounce: 100 * time.Millisecond, clock: clock.RealClock{}}
		var changing sync.WaitGroup
		defer changing.Wait()
		changing.Go(func() { changes(p.wakes, time.Sleep) }) // time passes only when all in here wait
		for p.wait(ctx) {
			now := time.Since(began)
			at = append(at, now)
			p.begin()
			var err error
			if failing != nil && failing(now) {
				err = errors.New("failed")
			}
			p.end(err)
		}
	})
	return at
}

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	poke := func(u urgency, at ...time.Duration) func(wakes, func(time.Duration)) {
		return func(w wakes, sleep func(time.Duration)) {
			var now time.Duration
			for _, next := range at {
				sleep(next - now)
				now = next
				w.poke(u)
			}
		}
	}
	storm := func(u urgency) func(wakes, func(time.Duration)) {
		return func(w wakes, sleep func(time.Duration)) {
			for range 1000 {
				w.poke(u)
				sleep(5 * ms)
			}
		}
	}
	for name, test := range map[string]struct {
		during  time.Duration
		changes func(wakes, func(time.Duration))
		want    []time.Duration
	}{
		"quiet":     {40 * time.Second, poke(soon), []time.Duration{15 * time.Second, 30 * time.Second}},
		"one":       {10 * time.Second, poke(soon, 2*time.Second), []time.Duration{2100 * ms}},
		"no change": {10 * time.Second, poke(never, 2*time.Second), nil},
		"together":  {10 * time.Second, poke(soon, 2000*ms, 2050*ms), []time.Duration{2100 * ms}},
		"two soon":  {10 * time.Second, poke(soon, 2000*ms, 2300*ms), []time.Duration{2100 * ms, 3100 * ms}},
		"two urgent": {10 * time.Second, poke(atOnce, 2000*ms, 2300*ms),
			[]time.Duration{2100 * ms, 2400 * ms}},
		"urgent overtakes": {10 * time.Second, func(w wakes, sleep func(time.Duration)) {
			sleep(2 * time.Second)
			w.poke(soon)
			sleep(200 * ms)
			w.poke(soon)
			sleep(200 * ms)
			w.poke(atOnce)
		}, []time.Duration{2100 * ms, 2500 * ms}},
		"a crowd is waited for": {10 * time.Second, poke(crowd, 2000*ms, 2050*ms, 2130*ms, 2220*ms), []time.Duration{2320 * ms}},
		"a crowd overtakes": {10 * time.Second, func(w wakes, sleep func(time.Duration)) {
			sleep(2 * time.Second)
			w.poke(soon)
			sleep(200 * ms)
			w.poke(soon)
			sleep(200 * ms)
			w.poke(crowd)
			sleep(50 * ms)
			w.poke(crowd)
		}, []time.Duration{2100 * ms, 2550 * ms}},
		"storm": {5 * time.Second, storm(soon), []time.Duration{100 * ms, 1100 * ms, 2100 * ms, 3100 * ms, 4100 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decisions(t, test.during, nil, test.changes); !slices.Equal(got, test.want) {
				t.Errorf("decisions at %v, want %v", got, test.want)
			}
		})
	}
	if n := len(decisions(t, 4*time.Second, nil, storm(crowd))); n < 9 || n > 11 {
		t.Errorf("%d decisions in 4 s of a crowd that does not end, want one for each 0.4 s", n)
	}
	if n := len(decisions(t, 5*time.Second, nil, storm(atOnce))); n < 20 {
		t.Errorf("%d decisions in 5 s of urgent changes", n)
	}
}

// TestBackoff: what fails is repeated less and less often, a storm of changes
// makes it no more often, and the next success ends it.
func TestBackoff(t *testing.T) {
	failing := func(now time.Duration) bool { return now < time.Minute }
	first := func(w wakes, _ func(time.Duration)) { w.poke(soon) }
	var want []time.Duration
	for _, s := range []int{0, 1, 3, 7, 15, 30, 45, 60, 75} {
		want = append(want, 100*time.Millisecond+time.Duration(s)*time.Second)
	}
	if got := decisions(t, 80*time.Second, failing, first); !slices.Equal(got, want) {
		t.Errorf("decisions at %v, want %v", got, want)
	}
	storm := func(w wakes, sleep func(time.Duration)) {
		for range 200 {
			w.poke(soon)
			sleep(100 * time.Millisecond)
		}
	}
	if got := decisions(t, 14*time.Second, failing, storm); len(got) != 4 {
		t.Errorf("in a storm: decisions at %v", got)
	}
}

// TestDue: a decision is made when it must not be late, and at once where that moment passed
// while another was carried out.
func TestDue(t *testing.T) {
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		due := []time.Duration{4 * time.Second, 5 * time.Second, 25 * time.Second}
		p := &pace{wakes: newWakes(), interval: 15 * time.Second, debounce: 100 * time.Millisecond, clock: clock.RealClock{}, due: began.Add(due[0])}
		for p.wait(ctx) {
			p.begin()
			now := time.Since(began)
			at = append(at, now)
			due = slices.DeleteFunc(due, func(d time.Duration) bool { return d <= now })
			p.due = time.Time{}
			if len(due) > 0 {
				p.due = began.Add(due[0])
			}
			time.Sleep(1500 * time.Millisecond)
			p.end(nil)
		}
	})
	want := []time.Duration{4000, 5500, 22000, 25000}
	for i := range want {
		want[i] *= time.Millisecond
	}
	if !slices.Equal(at, want) {
		t.Errorf("decisions at %v, want %v", at, want)
	}
}
