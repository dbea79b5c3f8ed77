package forecast

import "time"

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
	// Growth is a factor of at least 1: the load stays within the higher of Recent and
	// Season, plus Growth less 1 times the load as it is, as often as the rule says.
	Growth float64
	// Floor is the highest load of the last seven days; 0 if it is not known.
	Floor float64
	// Days is how old the oldest sample is, in days.
	Days float64
}

// Forecaster learns from one load. Its memory does not grow.
type Forecaster struct {
	past   Past
	growth growth
	rule   Rule
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
	f.catchUp()
	return true
}

// Point is the highest load in the slot that At is in.
type Point struct {
	At    time.Time
	Value float64
}

// Seed takes in a past that was kept elsewhere, in any order, beside what is known, and
// learns all anew. Points that Add would refuse are left out; it returns how many it took.
func (f *Forecaster) Seed(now time.Time, points []Point) (taken int) {
	latest := number(now)
	for _, p := range points {
		// An old point must not be lost only because it comes after a new one.
		if n := number(p.At); n > latest-slots && f.past.Add(now, p.At, p.Value) {
			taken++
		}
	}
	if taken > 0 {
		f.begun = false
		f.catchUp()
	}
	return taken
}

// Forget drops the slots that begin after now: the clock was ahead. What is left of the
// time before stays, and all is learned anew.
func (f *Forecaster) Forget(now time.Time) {
	f.past.forget(number(now))
	f.begun = false
}

// Look returns the outlook at a time. Another rule than that of the call before makes it
// learn all anew. It is false before the first sample.
func (f *Forecaster) Look(now time.Time, rule Rule) (Outlook, bool) {
	if f.past.values == nil {
		return Outlook{}, false
	}
	if ahead(rule.Horizon) != ahead(f.rule.Horizon) || f.further(rule) != f.further(f.rule) || rule.Quantile != f.rule.Quantile {
		f.begun = false
	}
	f.rule = rule
	f.catchUp()
	n := number(now)
	recent, _ := f.past.recent(n)
	floor, known := f.past.Floor(now)
	if !known {
		floor = 0
	}
	return Outlook{
		Recent: recent,
		Season: f.past.season(n, f.further(rule)),
		Growth: 1 + f.growth.bound(),
		Floor:  floor,
		Days:   max(now.Sub(start(f.past.oldest)).Hours()/24, 0),
	}, true
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
	horizon := ahead(f.rule.Horizon)
	for ; f.scored+1 < f.past.newest-horizon; f.scored++ {
		if excess, ok := f.excess(f.scored+1, horizon); ok {
			f.growth.learn(excess)
		}
	}
}

// excess is by how much of the load in slot n the highest of the slots after it exceeds
// what the last hour and the season said. A slot in whose near future something was not
// heard teaches nothing, and neither does one with less than a single request: what 0
// grows by is no factor.
func (f *Forecaster) excess(n, horizon int64) (share float64, ok bool) {
	load, ok := f.past.at(n)
	next, heard := f.past.span(n+1, n+horizon)
	if !ok || load < 1 || heard < horizon {
		return 0, false
	}
	said, _ := f.past.recent(n)
	said = max(said, f.past.season(n, f.further(f.rule)))
	return (next - said) / load, true
}
