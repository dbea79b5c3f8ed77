package demand

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// ErrNotKept: a Store will not know more about the lender later.
var ErrNotKept = errors.New("the store does not keep this lender's load")

const (
	seedTimeout  = 30 * time.Second
	firstRetry   = 15 * time.Second
	longestRetry = time.Minute
	// atOnce is how many lenders' pasts are asked for at a time.
	atOnce = 4
	// longestUnread is how long nothing is lent for want of a past: a store that is away
	// for longer is not waited for.
	longestUnread = 30 * time.Minute
)

// seeding is how far a lender's past was read.
type seeding struct {
	done  bool
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
	for _, name := range d.due(clk.Now()) {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		asking.Go(func() {
			defer func() { <-free }()
			if err := d.seedOne(ctx, store, name, clk.Now()); err != nil {
				klog.FromContext(ctx).Info("Reading a lender's past", "lender", name, "err", err)
			}
		})
	}
	asking.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := longestRetry
	now := clk.Now()
	for _, l := range d.lenders {
		if !l.seed.done {
			wait = min(wait, max(l.seed.next.Sub(now), time.Second))
		}
	}
	return wait
}

// due lists the lenders whose past is to be asked for, by name.
func (d *Demand) due(now time.Time) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, l := range d.lenders {
		if !l.seed.done && !l.seed.next.After(now) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// seedOne asks without the lock, and takes the answer in with it.
func (d *Demand) seedOne(ctx context.Context, store Store, name string, now time.Time) error {
	end := now.Truncate(forecast.Slot)
	start := end.Add(-forecast.Days * 24 * time.Hour)
	asking, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	points, err := store.Range(asking, name, start, end, forecast.Slot)

	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotKept) {
		l.seed.after = min(max(2*l.seed.after, firstRetry), longestRetry)
		l.seed.next = now.Add(l.seed.after)
		return fmt.Errorf("read the load of %s since %s: %w", name, start.Format(time.RFC3339), err)
	}
	l.seed.done = true
	l.past.Seed(now, points)
	return nil
}
