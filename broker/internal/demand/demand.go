package demand

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// Config says how far back loads are averaged.
type Config struct {
	// StableWindow and PanicWindow are what a load's requests are the mean of; 0 is a
	// minute, and a tenth of the stable window.
	StableWindow, PanicWindow time.Duration
	// MinimumLoan is how long a loan lasts at least: a season looks as much further.
	MinimumLoan time.Duration
}

// Shape is what the policy of a lender says that its demand is judged by.
type Shape struct {
	// Quantile is how often the growth in a forecast is to suffice, above 0 and below
	// 1; anything else is DefaultQuantile.
	Quantile float64
	// MaxGrace is how long a loan may take to stop. The default Notice is made of it.
	MaxGrace time.Duration
}

func (s Shape) quantile() float64 {
	if s.Quantile > 0 && s.Quantile < 1 {
		return s.Quantile
	}
	return DefaultQuantile
}

// DefaultQuantile is the quantile of a Shape that does not say one.
const DefaultQuantile = 0.99

// leastCoverage is which share of the replicas must have been heard for a load to become
// part of the past. Those not heard are counted as busy, which is right for now and would
// be a peak that never was later. So would be what is assumed of replicas that began to
// serve only now: of such a load the past has what was reported.
const leastCoverage = 0.9

// Demand is the memory about all lenders.
type Demand struct {
	config Config
	// fresh wakes the seeding: there is a lender whose past was not asked for.
	fresh chan struct{}

	mu      sync.Mutex
	stored  bool // there is a store to read the past from
	lenders map[string]*lender
}

// lender is the memory about one.
type lender struct {
	shape         Shape
	since         time.Time // the first that it was observed
	now           time.Time // the latest that was spoken of
	newest        time.Time // of the samples taken in
	stable, panic *forecast.Window
	// reported is stable without what was assumed.
	reported *forecast.Window
	past     *forecast.Forecaster
	scatter  forecast.Dispersion
	rises    map[string]rise
	reclaims durations
	starts   durations
	seed     seeding
	held     *held
}

// New returns an empty memory.
func New(c Config) *Demand {
	if c.StableWindow <= 0 {
		c.StableWindow = time.Minute
	}
	if c.PanicWindow <= 0 {
		c.PanicWindow = c.StableWindow / 10
	}
	return &Demand{config: c, fresh: make(chan struct{}, 1), lenders: map[string]*lender{}}
}

// lender returns the memory about one, and begins it.
func (d *Demand) lender(name string) *lender {
	l := d.lenders[name]
	if l == nil {
		l = &lender{past: forecast.NewForecaster()}
		l.restart(d.config)
		d.lenders[name] = l
		d.wake()
	}
	return l
}

func (d *Demand) wake() {
	select {
	case d.fresh <- struct{}{}:
	default:
	}
}

// restart forgets what is known of the last minutes and how the load scatters.
func (l *lender) restart(c Config) {
	l.stable, l.panic = forecast.NewWindow(c.StableWindow), forecast.NewWindow(c.PanicWindow)
	l.reported = forecast.NewWindow(c.StableWindow)
	l.scatter, l.rises = forecast.Dispersion{}, nil
}

// Observe takes in a load as it was read, and returns it with Requests and Panic as the
// means over the two windows and with Rising set on signals. A load with an ObservedAt not
// after that of the one before adds nothing. One that is not Known, from the future or
// without a number of requests adds nothing either and comes back as it is: it is not a
// zero, and what was heard before stays; only rises in succession begin anew. Where now is
// more than five seconds before a load that was taken in, the clock was ahead: all that
// was heard after now is dropped. Where it is more than an hour after the time before, the
// clock may be ahead: what is known is held until that is clear, and meanwhile no less is
// kept than was needed at most within the last seven days of it.
func (d *Demand) Observe(name string, now time.Time, load lend.Load, shape Shape) lend.Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lender(name)
	l.shape = shape
	if l.since.IsZero() || now.Before(l.since) {
		l.since = now
	}
	d.heed(l, now)
	if now.After(l.now) {
		l.now = now
	}
	if !load.Known || load.ObservedAt.After(now) {
		l.rises = nil
		return load
	}
	isNew := load.ObservedAt.After(l.newest)
	if isNew {
		l.newest = load.ObservedAt
	}
	load.Signals = l.watch(load.Signals, isNew)
	if load.Slots > 0 {
		load.Requests, load.Panic = l.average(now, load)
	}
	return load
}

// average takes in the requests of a load, and returns the means over both windows.
func (l *lender) average(now time.Time, load lend.Load) (stable, panic float64) {
	told := load.Requests - load.Assumed
	heard := l.stable.Add(now, load.ObservedAt, load.Requests)
	l.panic.Add(now, load.ObservedAt, load.Requests)
	l.reported.Add(now, load.ObservedAt, told)
	older := load.ObservedAt.Before(l.stable.Newest()) && load.Requests >= 0 && load.Requests <= math.MaxFloat64
	if !older && !l.stable.Newest().Equal(load.ObservedAt) {
		return load.Requests, load.Panic // not a load: the core refuses it by name
	}
	stable, _ = l.stable.Mean()
	panic, _ = l.panic.Mean()
	if heard && load.Coverage >= leastCoverage {
		reported, _ := l.reported.Mean()
		l.past.Add(now, load.ObservedAt, reported)
		l.scatter.Add(now, load.ObservedAt, told)
	}
	return stable, panic
}

// Forecast returns what the past says about the load from now until Notice later; nil
// if it says nothing, which is before the first known load. Its Season is also not below
// the highest load of the last hour. Its Scatter is as it was measured, and its Dispersion
// the same but not above the limit that lend.DefaultPolicy sets for a load that scatters
// little for its size. Both are 0 until there are samples enough; ScatterUnknown says that
// they are not yet those of an hour.
func (d *Demand) Forecast(name string, now time.Time) *lend.Forecast {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return nil
	}
	o, ok := l.look(now, d.config)
	if !ok {
		return nil
	}
	load, _ := l.stable.Mean()
	if l.held != nil {
		o.Season = max(o.Season, l.held.peak)
	}
	f := lend.Foresee(o, &l.scatter, load, now, lend.DefaultPolicy().DispersionLimit)
	f.Ahead = lend.LookAhead(l.past, now)
	return f
}

func (l *lender) look(now time.Time, c Config) (forecast.Outlook, bool) {
	return l.past.Look(now, forecast.Rule{
		Horizon: l.horizon(), Beyond: c.MinimumLoan, Quantile: l.shape.quantile(),
	})
}

// Keep forgets all lenders but those named.
func (d *Demand) Keep(names map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.lenders {
		if !names[name] {
			delete(d.lenders, name)
		}
	}
}

// Learned is what is known of one lender.
type Learned struct {
	Lender string
	// Notice as Demand.Notice has it, and what was learned of each of its parts: Reclaim
	// may be below the policy's MaxGrace, which Notice allows for.
	Notice, Reclaim, Start time.Duration
	// Reclaims and Starts are how many were seen in the last seven days, 50 at most.
	Reclaims, Starts int
	// Outlook is what the past says, and how old it is.
	Outlook forecast.Outlook
	Scatter forecast.Scatter
	// Seeded: the past was read from a store, or the store has none.
	Seeded bool
}

// Learned returns what is known of every lender, by name. It is for metrics and status.
func (d *Demand) Learned(now time.Time) []Learned {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Learned
	for name, l := range d.lenders {
		one := Learned{
			Lender: name, Notice: l.notice(), Reclaim: l.reclaimTime(), Start: l.startTime(),
			Reclaims: len(l.reclaims.lately(l.now)), Starts: len(l.starts.lately(l.now)), Seeded: l.seed.done,
		}
		one.Outlook, _ = l.look(now, d.config)
		one.Scatter, _ = l.scatter.Scatter(now)
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Learned) int { return strings.Compare(a.Lender, b.Lender) })
	return all
}
