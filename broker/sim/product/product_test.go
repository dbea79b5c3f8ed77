package product

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

func play(t *testing.T, s *sim.Scenario, p sim.Policy) *sim.Result {
	t.Helper()
	r, err := sim.Run(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestADayLends(t *testing.T) {
	o := Defaults()
	var p *policy
	mixed, off := 0, int64(0)
	o.Seen = func(in lend.Snapshot, _ lend.Plan) {
		for _, l := range in.Loans {
			for _, g := range l.Grants {
				if g.Count%l.UnitsPerPod != 0 {
					mixed++
				}
			}
		}
		if d := p.lent[0] - p.world.Services()[0].Lent; max(d, -d) > off {
			off = max(d, -d)
		}
	}
	p = New(lend.DefaultPolicy(), o).(*policy)
	lent := play(t, town(40, 400), p)
	none := play(t, town(40, 400), NoLending(lend.DefaultPolicy(), Defaults()))
	if none.Lent > 0 || none.Evictions > 0 {
		t.Errorf("no lending lends %v unit-hours, and takes back %d jobs", none.Lent, none.Evictions)
	}
	if lent.Lent == 0 || lent.Finished <= none.Finished {
		t.Errorf("lent %v unit-hours; %d jobs finished, %d without lending", lent.Lent, lent.Finished, none.Finished)
	}
	if mixed == 0 || off > 8 {
		t.Errorf("%d pods were of several lenders, and the world had up to %d units less or more lent than the core", mixed, off)
	}
}

// A broker that knows the week before lends on the first night what one that does not know
// it keeps.
func TestWhatWasLearnedBefore(t *testing.T) {
	lent := func(change func(*Options)) float64 {
		s, o := steps(), Defaults()
		change(&o)
		return play(t, s, New(lend.DefaultPolicy(), o)).Lent
	}
	fresh := lent(func(*Options) {})
	knows := lent(func(o *Options) { o.Learn = before(steps()) })
	blind := lent(func(o *Options) { o.Forecast = false })
	if !(fresh < knows && knows < blind) {
		t.Errorf("lent %.0f unit-hours without a past, %.0f with one, and %.0f without a look at it; want each more than the one before", fresh, knows, blind)
	}
}

// Rare decisions lend less, and the load between them is heard all the same.
func TestRareDecisions(t *testing.T) {
	lent := func(every time.Duration) *sim.Result {
		s, o := town(40, 400), Defaults()
		o.Every, s.Gap = every, every
		return play(t, s, New(lend.DefaultPolicy(), o))
	}
	often, rarely := lent(15*time.Second), lent(5*time.Minute)
	if rarely.Lent < 0.8*often.Lent || rarely.Decisions > often.Decisions/5 {
		t.Errorf("lent %.0f unit-hours in %d decisions each 5 minutes, and %.0f in %d each 15 seconds",
			rarely.Lent, rarely.Decisions, often.Lent, often.Decisions)
	}
}
