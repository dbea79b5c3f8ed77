package forecast

import (
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/forecast"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// kept is why units are not lent, as shares of all: for the load as it is, and beyond that
// for each in turn what it keeps more.
type kept struct{ load, recent, season, growth float64 }

// split takes an outlook on a load apart, in requests.
func split(o forecast.Outlook, load, growth float64) kept {
	recent := max(o.Recent, load)
	return kept{
		load: load, recent: recent - load, season: max(o.Season-recent, 0),
		growth: load * (growth - 1),
	}
}

// of is the same as shares of a whole, and of no more than all of it.
func (k kept) of(whole float64) kept {
	left := 1.0
	for _, part := range []*float64{&k.load, &k.recent, &k.season, &k.growth} {
		*part = min(*part/whole, left)
		left -= *part
	}
	return k
}

func (k kept) plus(o kept, weight float64) kept {
	return kept{
		k.load + weight*o.load, k.recent + weight*o.recent, k.season + weight*o.season, k.growth + weight*o.growth,
	}
}

// forecastable is in which share of the minutes that are scored the broker's own rule, the
// variance over the mean against its limit, lets a load be forecast.
func forecastable(c *curve) float64 {
	var d forecast.Dispersion
	limit := lend.DefaultPolicy().DispersionLimit
	calm, known := 0.0, 0.0
	for t, load := range c.minutes {
		now := time.Unix(0, 0).UTC().Add(time.Duration(t) * time.Minute)
		d.Add(now, now, requests(load))
		s, ok := d.Scatter(now)
		if t < c.from || !ok || math.IsNaN(load) {
			continue
		}
		known++
		if s.Dispersion(limit) <= limit {
			calm++
		}
	}
	return calm / max(known, 1)
}
