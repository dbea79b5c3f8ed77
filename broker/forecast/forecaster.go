package forecast

import (
	"slices"
	"time"
)

// Rule is what a forecast is asked for.
type Rule struct {
	// Horizon is how long before they serve units must be asked back: the forecast bounds
	// the load until then.
	Horizon time.Duration
	// Beyond is how much further a season looks: the least duration of a loan.
	Beyond time.Duration
	// Quantile is how often the growth is to suffice, above 0 and below 1.
	Quantile float64
}

// Outlook is what a past says about the near future. Loads are in the unit of the samples.
type Outlook struct {
	// Recent is the highest load of the last hour that was heard.
	Recent float64
	// Season is the highest load that the same hours of yesterday and of last week make
	// likely; 0 if it is not known.
	Season float64
	// Growth is a factor of at least 1: until Horizon is over, the load stays within the highest of Recent, Season and Growth times the load as it is, in as large a
	// share of all slots as the rule says.
	Growth float64
	// Floor is the highest load of the last seven days; 0 if it is not known.
	Floor float64
	// Days is how old the oldest sample is, in days.
	Days float64
}

// Keep is what is to be kept for a service whose load is the given one: the higher of Recent
// and Season, and the factor by which the load must be taken to grow beyond that. Both
// together are never below Growth times the load, and the factor is never below 1.
func (o Outlook) Keep(load float64) (season, growth float64) {
	season = max(o.Recent, o.Season)
	if !(load > 0) {
		return season, max(o.Growth, 1)
	}
	return season, 1 + max(o.Growth-season/load, 0)
}

// Forecaster learns from one load. Its memory does not grow: 125 KiB, of which the minutes
// of eight days are 90, the slots 17, and the growth of a week 16.
type Forecaster struct {
	past    Past
	minutes minutes
	growth  growth
	rule    Rule
	// scored is the last slot of which the growth was learned.
	scored int64
	begun  bool
}

// NewForecaster returns one that knows nothing.
func NewForecaster() *Forecaster { return &Forecaster{} }

// Add takes in a sample, unless it is from after now, older than the past reaches or not
// a load: then it changes nothing and returns false.
func (f *Forecaster) Add(now, at time.Time, value float64) bool {
	if !f.past.Add(now, at, value) {
		return false
	}
	f.minutes.add(at, value)
	f.catchUp()
	return true
}

// Point is the highest load in the slot, or the minute, that At is in.
type Point struct {
	At    time.Time
	Value float64
}

// Seed takes in a past that was kept elsewhere, in any order, beside what is known, and
// learns all anew. slots are points of a Slot each, for the seasons, and fine ones of a
// minute each, from which growth is learned. Points that Add would refuse are left out; it
// returns how many it took.
func (f *Forecaster) Seed(now time.Time, slots, fine []Point) (taken int) {
	for _, p := range slots {
		if f.seed(now, p) {
			taken++
		}
	}
	for _, p := range fine {
		if f.seed(now, p) {
			f.minutes.add(p.At, p.Value)
			taken++
		}
	}
	if taken > 0 {
		f.begun = false
		f.catchUp()
	}
	return taken
}

// seed does not let an old point be lost only because it comes after a new one.
func (f *Forecaster) seed(now time.Time, p Point) bool {
	return number(p.At) > number(now)-slots && f.past.Add(now, p.At, p.Value)
}

// Forget drops the slots that begin after now: the clock was ahead. What is left of the
// time before stays, and all is learned anew.
func (f *Forecaster) Forget(now time.Time) {
	f.past.forget(number(now))
	f.minutes.forget(minuteOf(now))
	f.begun = false
}

// Clone returns one that knows the same and shares nothing.
func (f *Forecaster) Clone() *Forecaster {
	c := *f
	c.past.values, c.minutes.values = slices.Clone(f.past.values), slices.Clone(f.minutes.values)
	c.growth.excess, c.growth.sorted = slices.Clone(f.growth.excess), slices.Clone(f.growth.sorted)
	return &c
}

// Peak is the highest load of the seven days before the newest sample; 0 before the first.
func (f *Forecaster) Peak() float64 {
	highest, _ := f.past.highest(f.past.newest-aWeek, f.past.newest)
	return highest
}

// Look returns the outlook at a time. Another rule than that of the call before makes it
// learn all anew. It is false before the first sample.
func (f *Forecaster) Look(now time.Time, rule Rule) (Outlook, bool) {
	if f.past.values == nil {
		return Outlook{}, false
	}
	if minutesAhead(rule.Horizon) != minutesAhead(f.rule.Horizon) || f.further(rule) != f.further(f.rule) || rule.Quantile != f.rule.Quantile {
		f.begun = false
	}
	f.rule = rule
	f.catchUp()
	n := number(now)
	recent := f.past.recent(n)
	floor, known := f.past.Floor(now)
	if !known {
		floor = 0
	}
	return Outlook{
		Recent: recent,
		Season: f.past.season(n, f.further(rule), recent),
		Growth: 1 + f.growth.bound(),
		Floor:  floor,
		Days:   max(now.Sub(start(f.past.oldest)).Hours()/24, 0),
	}, true
}

// Seasons are the highest loads that the same hours of yesterday and of last week make
// likely within each of the given times from now, as Outlook.Season is. It is nil while
// the past is too young to say.
func (f *Forecaster) Seasons(now time.Time, within []time.Duration) []float64 {
	n := number(now)
	if !f.past.seasoned(n) {
		return nil
	}
	recent := f.past.recent(n)
	loads := make([]float64, 0, len(within))
	for _, d := range within {
		loads = append(loads, f.past.season(n, ahead(d), recent))
	}
	return loads
}

func (f *Forecaster) further(r Rule) int64 { return ahead(r.Horizon + max(r.Beyond, 0)) }

// catchUp learns from every slot whose near future is over.
func (f *Forecaster) catchUp() {
	if f.rule.Quantile == 0 {
		return // nobody has asked yet
	}
	if !f.begun {
		f.begun = true
		f.growth = newGrowth(f.rule.Quantile)
		f.scored = f.past.oldest - 1
	}
	horizon := minutesAhead(f.rule.Horizon)
	f.scored = max(f.scored, f.past.oldest-1) // before there is nothing to learn from
	for ; minuteOf(start(f.scored+2))-1+horizon < f.minutes.newest; f.scored++ {
		if excess, ok := f.excess(f.scored+1, horizon); ok {
			f.growth.learn(excess)
		}
	}
}

// excess is by how much, as a share of the load as it was, a load exceeded it within the
// horizon where what the last hour and the season said did not suffice: the worst of all
// minutes of slot n, and 0 where it did. Each minute is judged by what Look would have said
// in it: a jump later in its slot was not known, and the season is not scaled by it. A slot
// in which, or in whose near future, something was not heard teaches nothing, and neither
// does less than a single request: what 0 grows by is no factor.
func (f *Forecaster) excess(n, horizon int64) (share float64, ok bool) {
	first := minuteOf(start(n))
	last := first + aSlot - 1
	if !f.minutes.whole(first, last+horizon) {
		return 0, false
	}
	before := f.past.lastHour(n, 1)
	for m := first; m <= last; m++ {
		load, heard := f.minutes.at(m)
		if !heard || load < 1 {
			continue
		}
		ok = true
		next, _ := f.minutes.highest(m+1, m+horizon)
		grown := (next - load) / load
		if grown <= share {
			continue
		}
		recent, _ := f.minutes.highest(first, m)
		recent = max(recent, before)
		if next > max(recent, f.past.season(n, f.further(f.rule), recent)) {
			share = grown
		}
	}
	return share, ok
}
