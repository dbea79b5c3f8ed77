package demand

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// store is a Prometheus of one load that is 100, and 400 at ten.
type store struct {
	mu     sync.Mutex
	fails  int
	missed bool
	asked  chan string
}

func (s *store) Range(ctx context.Context, lender string, start, end time.Time, step time.Duration) ([]Point, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked <- lender }()
	if s.fails > 0 {
		s.fails--
		return nil, errors.New("connection refused")
	}
	if s.missed {
		return nil, ErrNotKept
	}
	var points []Point
	for at := start; at.Before(end); at = at.Add(step) {
		load := 100.0
		if at.Hour() == 10 {
			load = 400
		}
		points = append(points, Point{At: at, Value: load})
	}
	return points, nil
}

func seed(t *testing.T, d *Demand, s *store) *clocktesting.FakeClock {
	t.Helper()
	clk := clocktesting.NewFakeClock(begin.Add(9*time.Hour + 55*time.Minute))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Seed(ctx, s, clk)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return clk
}

// idle waits until Seed has done all that it can do before the clock goes on.
func idle(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if synctest.Wait(); !ok() {
		t.Fatalf("%s: it is not so, and nobody is at it", what)
	}
}

func TestSeedReadsThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{asked: make(chan string, 100)}
		clk := seed(t, d, s)
		now := clk.Now()
		d.Observe("a", now, known(now, 90), shape)
		idle(t, "the past is read", func() bool { return d.Learned(now)[0].Seeded })
		f := d.Forecast("a", now)
		if f == nil || f.Season != 400 || f.Floor != 400 {
			t.Errorf("forecast %+v, want a season and a floor of 400", f)
		}
		if got := <-s.asked; got != "a" {
			t.Errorf("asked for %q", got)
		}
		// The minutes of a week are a past to have learned from: it grew at ten each day, as the
		// season says.
		if f.Growth != 1 {
			t.Errorf("growth %v, want 1", f.Growth)
		}
	})
}

// A past that was pushed out by a clock that leapt is read again at once, and until then
// nothing is lent.
func TestSeedAfterTheClockLeapt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{asked: make(chan string, 100)}
		clk := seed(t, d, s)
		now := clk.Now()
		d.Observe("a", now, known(now, 90), shape)
		idle(t, "the past is read", func() bool { return d.Learned(now)[0].Seeded })
		s.mu.Lock()
		s.fails = 1
		s.mu.Unlock()
		ahead := now.Add(30 * 24 * time.Hour)
		d.Observe("a", ahead, known(ahead, 90), shape)
		if !d.Unread("a", ahead) {
			t.Error("after a leap the past counts as read")
		}
		synctest.Wait() // it is asked for at once, and in vain
		clk.SetTime(ahead)
		idle(t, "the past is read", func() bool { return !d.Unread("a", ahead) })
	})
}

func TestSeedTriesAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{fails: 2, asked: make(chan string, 100)}
		clk := seed(t, d, s)
		now := clk.Now()
		d.Observe("a", now, known(now, 90), shape)
		for try, wait := range []time.Duration{firstRetry, 2 * firstRetry} {
			<-s.asked
			idle(t, "it waits", clk.HasWaiters)
			if d.Learned(now)[0].Seeded {
				t.Fatalf("seeded after %d failures", try+1)
			}
			clk.Step(wait - time.Second)
			idle(t, "it waits", clk.HasWaiters)
			if len(s.asked) > 0 {
				t.Fatalf("asked again before %s", wait)
			}
			clk.Step(2 * time.Second)
		}
		idle(t, "the past is read", func() bool { return d.Learned(now)[0].Seeded })
	})
}

// While there is a store that has not answered, the past is unread: for half an hour.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{fails: 1, asked: make(chan string, 100)}
		if d.Observe("a", begin, known(begin, 90), shape); d.Unread("a", begin) {
			t.Error("unread without a store")
		}
		clk := seed(t, d, s)
		<-s.asked
		idle(t, "it waits", clk.HasWaiters)
		for after, want := range map[time.Duration]bool{0: true, longestUnread - 1: true, longestUnread: false} {
			if got := d.Unread("a", begin.Add(after)); got != want {
				t.Errorf("%s after it was first seen: unread %v, want %v", after, got, want)
			}
		}
		if d.Unread("b", begin) {
			t.Error("a lender that is not known is unread")
		}
		clk.Step(firstRetry)
		idle(t, "the past is read", func() bool { return !d.Unread("a", begin) })
	})
}

// together is a store that answers when as many have asked.
type together struct {
	many  int
	mu    sync.Mutex
	asked int
	all   chan struct{}
}

func (s *together) Range(ctx context.Context, _ string, _, _ time.Time, _ time.Duration) ([]Point, error) {
	s.mu.Lock()
	if s.asked++; s.asked == s.many {
		close(s.all)
	}
	s.mu.Unlock()
	select {
	case <-s.all:
		return nil, ErrNotKept
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestSeedAsksForFourAtOnce(t *testing.T) {
	d := New(Config{})
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		d.Observe(name, begin, known(begin, 90), shape)
	}
	s := &together{many: 4, all: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d.seedDue(ctx, s, clocktesting.NewFakeClock(begin))
	for _, l := range d.Learned(begin) {
		if !l.Seeded {
			t.Errorf("the past of %s was not asked for", l.Lender)
		}
	}
}

func TestSeedGivesUpOnWhatIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{missed: true, asked: make(chan string, 100)}
		seed(t, d, s)
		d.Observe("a", begin, known(begin, 90), shape)
		idle(t, "it knows that there is nothing", func() bool { return d.Learned(begin)[0].Seeded })
		if f := d.Forecast("a", begin); f == nil || f.Season != 90 {
			t.Errorf("forecast %+v, want one that begins with the first sample", f)
		}
	})
}

// What was asked for before the clock leapt is no answer to what is asked since.
func TestSeedLeavesOutAnAnswerFromBeforeALeap(t *testing.T) {
	d, s := New(Config{}), &store{asked: make(chan string, 100)}
	d.stored = true
	d.Observe("a", begin, known(begin, 90), shape)
	asked := d.due(begin)
	ahead := begin.Add(30 * 24 * time.Hour)
	d.Observe("a", ahead, known(ahead, 90), shape)
	if err := d.seedOne(t.Context(), s, asked[0].name, asked[0].turn, begin); err != nil {
		t.Fatal(err)
	}
	if !d.Unread("a", ahead) {
		t.Error("an answer from before the leap counts as the past")
	}
	asked = d.due(ahead)
	if err := d.seedOne(t.Context(), s, asked[0].name, asked[0].turn, ahead); err != nil {
		t.Fatal(err)
	}
	if d.Unread("a", ahead) {
		t.Error("the answer since does not")
	}
}

// A policy that names another signal later may have a past.
func TestSeedAsksAgainForWhatWasNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := New(Config{}), &store{missed: true, asked: make(chan string, 100)}
		clk := seed(t, d, s)
		now := clk.Now()
		d.Observe("a", now, known(now, 90), shape)
		idle(t, "it knows that there is nothing", func() bool { return d.Learned(now)[0].Seeded && !d.Unread("a", now) })
		s.mu.Lock()
		s.missed = false
		s.mu.Unlock()
		later := now.Add(notKeptRetry)
		idle(t, "it waits", clk.HasWaiters)
		clk.SetTime(later)
		d.Observe("a", later, known(later, 90), shape)
		idle(t, "the past is read", func() bool { return d.Forecast("a", later).Floor == 400 })
		if d.Unread("a", later) {
			t.Error("unread although it was known that there was nothing to wait for")
		}
	})
}
