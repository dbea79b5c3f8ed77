package product

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// Options are how the broker runs. Defaults gives the documented ones.
type Options struct {
	// Name in results; empty: ebbtide.
	Name string
	// Every is the longest time between two decisions; 0 is 15 s. Where it is longer than
	// Policy.StaleAfter, that becomes as long.
	Every time.Duration
	// Relend is how long after a decision that returned units the next one is made at the
	// latest, which may lend them. 0: at the same moment. The broker's comes within a second,
	// for that units were returned is no reason to hurry; this matters where a second is long.
	Relend time.Duration
	// Forecast: what a load's past says is listened to.
	Forecast bool
	// Quantile is how often the growth in a forecast is to suffice; 0 is 0.99.
	Quantile float64
	// StableWindow is what the long mean of a load is over, where the load is not one
	// already; 0 is the policy's.
	StableWindow time.Duration
	// PanicWindow is what the short mean of a load is over; 0 is a tenth of the policy's
	// StableWindow.
	PanicWindow time.Duration
	// Learn are loads before the scenario's start, by service, at times below 0: what a broker
	// knows that has run since the first of them. Without, it begins to listen at the start.
	Learn map[string]sim.Curve
	// Seen is told every decision that was made in full, but for the returns of what came
	// free, which without Relend are made before it. What it is given is good until it returns.
	Seen func(in lend.Snapshot, plan lend.Plan)

	// advise has all lenders only report, always every tick decided in full.
	advise, always bool
	// spared is told every tick of which it was found out that nothing is to be done: what
	// was remembered before, and what is after.
	spared func(in lend.Snapshot, before, after lend.State)
}

// Defaults are the options of a broker of which nothing was configured.
func Defaults() Options {
	return Options{Name: "ebbtide", Every: 15 * time.Second, Forecast: true, Quantile: 0.99}
}

// filled has a value in place of every zero that stands for one.
func (o Options) filled(pol lend.Policy) Options {
	d := Defaults()
	if o.Name == "" {
		o.Name = d.Name
	}
	if o.Every <= 0 {
		o.Every = d.Every
	}
	if !(o.Quantile > 0 && o.Quantile < 1) {
		o.Quantile = d.Quantile
	}
	if o.StableWindow <= 0 {
		o.StableWindow = pol.StableWindow
	}
	if o.PanicWindow <= 0 {
		o.PanicWindow = pol.StableWindow / 10
	}
	return o
}
