package lend

import (
	"fmt"
	"math"
)

// look asks the past: what the season makes likely, and how far the load may rise above
// the need. It can only raise what is kept.
func (l *lender) look(e *estimate, pol Policy) {
	f := l.Forecast
	if f == nil {
		return
	}
	e.atLeast(l.podsFor(f.Season, pol), bySeason)
	l.warm = max(l.warm, l.burstPods(f, pol), l.growthPods(f, pol))
}

// burstPods is what the load rises by within a moment: so many standard deviations, as they
// were measured. A large load that can be forecast may still have wide ones.
func (l *lender) burstPods(f *Forecast, pol Policy) int64 {
	if l.load.slots == 0 || !(pol.BurstSigmas > 0) {
		return 0
	}
	scatter := max(f.Dispersion, 1)
	if f.Scatter > scatter { // not where it is not a number
		scatter = f.Scatter
	}
	return whole(pol.BurstSigmas * math.Sqrt(l.load.requests*scatter) / l.load.slots)
}

// growthPods is what the load rises by until units that were asked back serve.
func (l *lender) growthPods(f *Forecast, pol Policy) int64 {
	if l.load.slots == 0 {
		return 0
	}
	return whole(float64(l.podsFor(l.load.requests, pol)) * (f.Growth - 1))
}

// wild: the load varies too much for what it is now to say what it will be in a minute, or
// may do so, and what it was at most is known.
func (l *lender) wild(pol Policy) bool {
	f := l.Forecast
	if f == nil || !(pol.DispersionLimit > 0) {
		return false
	}
	// Also where the dispersion is not a number.
	return !(f.Dispersion <= pol.DispersionLimit) || (f.ScatterUnknown && f.Floor > 0)
}

// unforecastable says why nothing may be lent on a wild load of which the past is not
// known either.
func (l *lender) unforecastable(pol Policy) (reason, message string) {
	if !l.wild(pol) || l.podsFor(l.Forecast.Floor, pol) > 0 {
		return "", ""
	}
	return ReasonLoadNotForecastable, fmt.Sprintf(
		"the load's variance is above %g times its mean, so that it says too little about the load in a minute, and the highest load of seven days is not known yet",
		pol.DispersionLimit)
}
