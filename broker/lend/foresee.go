package lend

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
)

// sureAfter is how long a load must have been heard for its scatter to be believed.
const sureAfter = time.Hour

// Foresee makes a Forecast of what the past says about a load that is the given one now,
// and of how it scatters. limit is Policy.DispersionLimit. Its Ahead is empty.
func Foresee(past forecast.Outlook, scatter *forecast.Dispersion, load float64, now time.Time, limit float64) *Forecast {
	season, growth := past.Keep(load)
	spread, enough := scatter.Scatter(now)
	return &Forecast{
		Season: season, Growth: growth, Floor: past.Floor,
		Dispersion: spread.Dispersion(limit), Scatter: spread.Ratio,
		ScatterUnknown: !enough || now.Sub(scatter.First()) < sureAfter,
	}
}

// horizons are how far ahead a trough is looked for.
var horizons = []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}

// LookAhead is Forecast.Ahead: what the past makes likely within each of some times.
func LookAhead(past *forecast.Forecaster, now time.Time) []Ahead {
	var all []Ahead
	for i, load := range past.Seasons(now, horizons) {
		all = append(all, Ahead{Within: horizons[i], Load: load})
	}
	return all
}
