package demand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/forecast"
)

// Store is where loads are kept for longer than this memory lasts.
type Store interface {
	// Range returns the highest load of a lender, as a mean over about a minute of the
	// requests in flight over all replicas, in each step from start to end. Times in
	// which nothing was heard are left out. A lender that the store has nothing of is
	// ErrNotKept.
	Range(ctx context.Context, lender string, start, end time.Time, step time.Duration) ([]Point, error)
}

// Point is one value of a Store. Its At is when the step begins: what max_over_time says
// at the end of a step belongs to its beginning.
type Point = forecast.Point

// ErrNotKept: a Store will not know more about the lender as its policy is now. It is not
// waited for, and asked again each ten minutes: a policy changes.
var ErrNotKept = errors.New("the store does not keep this lender's load")

const (
	seedTimeout  = 30 * time.Second
	firstRetry   = 15 * time.Second
	longestRetry = time.Minute
	notKeptRetry = forecast.Slot
	// fineReach is how far back the minutes are read: the week whose growth counts, and what
	// is before and after it. Prometheus answers with 11,000 points at most, and this is
	// 10,440.
	fineReach = 7*24*time.Hour + 6*time.Hour
	// atOnce is how many lenders' pasts are asked for at a time.
	atOnce = 4
	// longestUnread is how long nothing is lent for want of a past: a store that is away
	// for longer is not waited for.
	longestUnread = 30 * time.Minute
)

// seeding is how far a lender's past was read.
type seeding struct {
	turn  int       // how often it was begun anew
	done  bool      // nothing is waited for
	all   bool      // and nothing is to be asked for
	next  time.Time // when to ask again
	after time.Duration
}

// Unread: there is a store, it has not yet said what it has of a lender, and the lender was
// first observed less than half an hour ago. Without its past, a load that is low now looks
// as if it stayed so.
func (d *Demand) Unread(name string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	return d.stored && l != nil && !l.seed.done && now.Sub(l.since) < longestUnread
}

// Seed reads the past of every lender from the store, of four at a time, and returns when
// ctx ends. It never holds up a decision: what it learns is there when it is there, and
// Unread until then. A store that fails is asked again, after 15 seconds at first and
// after a minute at most.
func (d *Demand) Seed(ctx context.Context, store Store, clk clock.Clock) {
	d.mu.Lock()
	d.stored = true
	d.mu.Unlock()
	for {
		wait := d.seedDue(ctx, store, clk)
		timer := clk.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.fresh:
			timer.Stop()
		case <-timer.C():
		}
	}
}

// seedDue asks for every lender that is due, and says how long until the next is.
func (d *Demand) seedDue(ctx context.Context, store Store, clk clock.Clock) time.Duration {
	var asking sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, a := range d.due(clk.Now()) {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		asking.Go(func() {
			defer func() { <-free }()
			if err := d.seedOne(ctx, store, a.name, a.turn, clk.Now()); err != nil {
				klog.FromContext(ctx).Info("Reading a lender's past", "lender", a.name, "err", err)
			}
		})
	}
	asking.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := longestRetry
	now := clk.Now()
	for _, l := range d.lenders {
		if !l.seed.all {
			wait = min(wait, max(l.seed.next.Sub(now), time.Second))
		}
	}
	return wait
}

// ask is that a lender's past is to be asked for.
type ask struct {
	name string
	turn int
}

// due lists the lenders whose past is to be asked for, by name.
func (d *Demand) due(now time.Time) []ask {
	d.mu.Lock()
	defer d.mu.Unlock()
	var asks []ask
	for name, l := range d.lenders {
		if !l.seed.all && !l.seed.next.After(now) {
			asks = append(asks, ask{name, l.seed.turn})
		}
	}
	slices.SortFunc(asks, func(a, b ask) int { return strings.Compare(a.name, b.name) })
	return asks
}

// seedOne asks without the lock, and takes the answer in with it.
func (d *Demand) seedOne(ctx context.Context, store Store, name string, turn int, now time.Time) error {
	coarse, fine, err := read(ctx, store, name, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return nil
	}
	if l.seed.turn != turn {
		return nil // the clock was set meanwhile, and all is asked for again
	}
	if l.past.Seed(now, coarse, fine) > 0 && err == nil {
		l.held = nil // what was before the clock leapt is known, or was not as far ahead as it
	}
	switch {
	case errors.Is(err, ErrNotKept):
		l.seed = seeding{turn: turn, done: true, next: now.Add(notKeptRetry)}
	case err != nil:
		l.seed.after = min(max(2*l.seed.after, firstRetry), longestRetry)
		l.seed.next = now.Add(l.seed.after)
		return fmt.Errorf("read the load of %s: %w", name, err)
	default:
		l.seed = seeding{turn: turn, done: true, all: true}
	}
	return nil
}

// read asks for the slots of fifteen days, for the seasons, and for the minutes of a week,
// for the growth. What it has got it returns also with an error.
func read(ctx context.Context, store Store, name string, now time.Time) (coarse, fine []Point, err error) {
	end := now.Truncate(forecast.Slot)
	coarse, err = readRange(ctx, store, name, end.Add(-forecast.Days*24*time.Hour), end, forecast.Slot)
	if err != nil {
		return nil, nil, err
	}
	end = now.Truncate(forecast.Minute)
	fine, err = readRange(ctx, store, name, end.Add(-fineReach), end, forecast.Minute)
	return coarse, fine, err
}

func readRange(ctx context.Context, store Store, name string, start, end time.Time, step time.Duration) ([]Point, error) {
	asking, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	points, err := store.Range(asking, name, start, end, step)
	if err != nil {
		return nil, fmt.Errorf("since %s by %s: %w", start.Format(time.RFC3339), step, err)
	}
	return points, nil
}
