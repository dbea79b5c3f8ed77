package lend

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// When the broker may stop a replica of a service that it scales.
func TestScaleDown(t *testing.T) {
	base := Lender{
		Name: "chat", Tenant: "serving", Flavor: "h100",
		Owned: 20, UnitsPerPod: 1, Desired: 4, Running: 4, Ready: 4, LowWater: 0.3, HighWater: 0.7,
		Scale: &Scale{Min: 1, Max: 9, Replicas: 4},
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 10, Slots: 10,
			Signals: []Signal{{Name: "kv", Value: 0.6, Low: 0.7, High: 0.8}}},
	}
	running := State{At: noon}
	for name, tc := range map[string]struct {
		change func(l *Lender, prev *State)
		want   int64 // 0: nothing is set
	}{
		"may":                     {func(l *Lender, _ *State) {}, 3},
		"between the marks":       {func(l *Lender, _ *State) { l.Load.Signals[0].Low = 0.5 }, 3},
		"the last one":            {func(l *Lender, _ *State) { l.Scale = &Scale{Min: 4, Max: 9, Replicas: 4} }, 0},
		"one is still to start":   {func(l *Lender, _ *State) { l.Running, l.Ready = 3, 3 }, 0},
		"one waits":               {func(l *Lender, _ *State) { l.Pending = []PendingPod{{Name: "p"}} }, 0},
		"the load is high":        {func(l *Lender, _ *State) { l.HighWater = 0.04 }, 0},
		"the load is unknown":     {func(l *Lender, _ *State) { l.Load = Load{} }, 0},
		"a signal would be high":  {func(l *Lender, _ *State) { l.Load.Signals[0].Value = 0.61 }, 0},
		"held":                    {func(l *Lender, _ *State) { l.Hold = &Problem{Reason: "RollingOut"} }, 0},
		"the broker just started": {func(_ *Lender, prev *State) { *prev = State{} }, 0},
		"the last step is too new": {func(l *Lender, prev *State) {
			l.Steps.LendEvery = time.Minute
			prev.Lenders[0].Scaled = noon.Add(-59 * time.Second)
		}, 0},
		"it is old enough": {func(l *Lender, prev *State) {
			l.Steps.LendEvery = time.Minute
			prev.Lenders[0].Scaled = noon.Add(-time.Minute)
		}, 3},
		"needed lately": {func(l *Lender, prev *State) {
			l.Steps.LendAfter = time.Minute
			prev.Lenders[0].Peaks = []Peak{{noon, 4}}
		}, 0},
		"needed less lately": {func(l *Lender, prev *State) {
			l.Steps.LendAfter = time.Minute
			prev.Lenders[0].Peaks = []Peak{{noon, 3}}
		}, 3},
		"above its maximum": {func(l *Lender, _ *State) { l.Scale = &Scale{Min: 1, Max: 2, Replicas: 4}; l.Load.Requests = 30 }, 3},
		"switched off by its owner": {func(l *Lender, _ *State) {
			l.Scale = &Scale{Min: 1, Max: 9}
			l.Desired, l.Running, l.Ready, l.Load.Requests = 0, 0, 0, 50
		}, 0},
		"more is set than owned, and what was needed is not known": {func(l *Lender, _ *State) {
			l.Owned, l.Steps.LendAfter = 3, time.Minute
		}, 0},
		"an adviser":              {func(l *Lender, _ *State) { l.Advise = true }, 0},
		"a policy with a problem": {func(l *Lender, _ *State) { l.Problem = &Problem{Reason: "x"} }, 0},
		"up":                      {func(l *Lender, _ *State) { l.Load.Requests = 50 }, 8},
		"up to the maximum":       {func(l *Lender, _ *State) { l.Load.Requests = 90 }, 9},
	} {
		t.Run(name, func(t *testing.T) {
			l, prev := base, running
			l.Load.Signals = []Signal{base.Load.Signals[0]}
			prev.Lenders = []LenderState{{Name: "chat"}}
			tc.change(&l, &prev)
			plan, _ := Decide(Snapshot{
				Now: noon, Lenders: []Lender{l}, Tenants: []Tenant{{Name: "serving", Quotas: []Quota{{Flavor: "h100", Nominal: 20}}}},
			}, prev, DefaultPolicy())
			var got int64
			for _, s := range plan.Scales {
				got = s.Replicas
			}
			if got != tc.want {
				t.Errorf("set to %d, want %d: %+v", got, tc.want, plan.Scales)
			}
		})
	}
}

// A window of the schedule is no reason to take a young loan, also where the load is
// high besides: only what the load needs is.
func TestOnlyTheLoadIsUrgent(t *testing.T) {
	in := Lender{
		Owned: 20, UnitsPerPod: 1, Desired: 4, Running: 4, Ready: 4, LowWater: 0.3, HighWater: 0.7,
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 50, Slots: 10,
			Signals: []Signal{{Name: "kv", Value: 0.9, Low: 0.7, High: 0.8}}},
		Floors: []Floor{{Name: "schedule[0]", Units: 15, From: noon, Until: noon.Add(time.Hour)}},
		Warm:   2, Forecast: &Forecast{Season: 110, Growth: 1},
	}
	l := newLender(in, LenderState{})
	l.load = readLoad(l, noon, DefaultPolicy())
	l.size(noon, DefaultPolicy())
	l.owe(noon, DefaultPolicy())
	want := [classes]int64{classHigh: 4, classNeed: 7, classHeadroom: 3, classSeason: 1}
	if diff := cmp.Diff(want, l.owed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A panic that ends in a future that nobody reaches was written by another clock.
func TestPanicEndsAfterAClockStep(t *testing.T) {
	m := LenderState{PanicUntil: noon.Add(time.Hour), PanicPods: 5}
	l := newLender(Lender{Owned: 8, UnitsPerPod: 1}, m)
	l.watchPanic(noon, DefaultPolicy())
	if got := l.memory.PanicUntil; !got.Equal(noon.Add(DefaultPolicy().StableWindow)) {
		t.Errorf("it lasts until %v", got)
	}
}

// What begins to be prepared ends an opening.
func TestPreparingEndsAnOpening(t *testing.T) {
	l := Lender{
		Name: "chat", Tenant: "serving", Flavor: "h100", Owned: 20, UnitsPerPod: 1, LowWater: 0.3, HighWater: 0.7,
		Prepare: &Preparation{}, Steps: Steps{LendUnits: 1, LendEvery: time.Minute}, Load: Load{Known: true, ObservedAt: noon, Coverage: 1},
	}
	open := LenderState{Name: "chat", LowSince: noon.Add(-time.Hour), OpenSince: noon.Add(-time.Hour)}
	for _, done := range []bool{true, false} {
		l.Prepare.Done = done
		_, next := Decide(Snapshot{
			Now: noon, Lenders: []Lender{l}, Tenants: []Tenant{{Name: "serving", Quotas: []Quota{{Flavor: "h100", Nominal: 20}}}},
		}, State{At: noon, Lenders: []LenderState{open}}, DefaultPolicy())
		if open := !next.Lenders[0].OpenSince.IsZero(); open != done {
			t.Errorf("prepared %v, open %v", done, open)
		}
	}
}
