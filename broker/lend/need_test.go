package lend

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What each estimator asks for, in units of one per replica, and who is named for it.
func TestNeed(t *testing.T) {
	base := Lender{
		Owned: 100, UnitsPerPod: 1, Desired: 4, Running: 4, Ready: 4, LowWater: 0.3, HighWater: 0.7, MaxGrace: time.Minute,
		Load: Load{Known: true, ObservedAt: noon, Coverage: 1, Requests: 10, Slots: 10},
	}
	queue := func(value, each float64, rising bool) func(*Lender) {
		return func(l *Lender) {
			l.Load.Signals = []Signal{{Name: "q", Value: value, Low: 5, High: 20, PerReplica: each, Rising: rising}}
		}
	}
	floor := func(in, lead time.Duration) func(*Lender) {
		return func(l *Lender) {
			l.Floors = []Floor{{Name: "schedule[0]", Units: 50, From: noon.Add(in), Until: noon.Add(in + time.Hour), Lead: lead}}
		}
	}
	type sum struct {
		Need     int64
		By       string
		Headroom int64
		Keep     int64
	}
	for name, tc := range map[string]struct {
		change func(l *Lender)
		prev   LenderState
		want   sum
	}{
		"the autoscaler":                       {func(l *Lender) {}, LenderState{}, sum{4, "autoscaler", 0, 4}},
		"the load at its target":               {func(l *Lender) { l.Load.Requests = 71 }, LenderState{}, sum{11, "load", 0, 11}},
		"a burst below twice the ready":        {func(l *Lender) { l.Load.Panic = 49 }, LenderState{}, sum{4, "autoscaler", 0, 4}},
		"a burst of twice the ready":           {func(l *Lender) { l.Load.Panic = 50 }, LenderState{}, sum{8, "panic", 0, 8}},
		"a panic that lasts":                   {func(l *Lender) {}, LenderState{PanicUntil: noon, PanicPods: 9}, sum{9, "panic", 0, 9}},
		"a panic that is over":                 {func(l *Lender) {}, LenderState{PanicUntil: noon.Add(-1), PanicPods: 9}, sum{4, "autoscaler", 0, 4}},
		"a panic, and nothing is known":        {func(l *Lender) { l.Load.Known = false }, LenderState{PanicUntil: noon, PanicPods: 9}, sum{100, "unknown load", 0, 100}},
		"a high signal":                        {queue(25, 0, false), LenderState{}, sum{5, "signal q", 0, 5}},
		"a high signal asks for half at most":  {queue(90, 0, false), LenderState{}, sum{6, "signal q", 0, 6}},
		"so does one that counts replicas":     {queue(19, 2, false), LenderState{}, sum{6, "signal q", 0, 6}},
		"which asks below its marks as well":   {queue(4, 0.8, false), LenderState{}, sum{5, "signal q", 0, 5}},
		"a growing one":                        {queue(6, 0, true), LenderState{}, sum{5, "signal q", 0, 5}},
		"a growing one below its low water":    {queue(4, 0, true), LenderState{}, sum{4, "autoscaler", 0, 4}},
		"a wider step":                         {func(l *Lender) { queue(90, 0, false)(l); l.Steps.Push = 2 }, LenderState{}, sum{12, "signal q", 0, 12}},
		"a step in replicas":                   {func(l *Lender) { queue(90, 0, false)(l); l.Steps.PushPods = 3 }, LenderState{}, sum{7, "signal q", 0, 7}},
		"a backlog of what is scaled to zero":  {func(l *Lender) { queue(90, 2, false)(l); l.Desired, l.Running, l.Ready = 0, 0, 0 }, LenderState{}, sum{2, "load", 0, 2}},
		"the same without requests":            {func(l *Lender) { queue(90, 2, false)(l); l.Desired, l.Running, l.Ready, l.Load.Requests = 0, 0, 0, 0 }, LenderState{}, sum{1, "signal q", 0, 1}},
		"a window that has begun":              {floor(-time.Minute, 0), LenderState{}, sum{50, "schedule[0]", 0, 50}},
		"one that has ended":                   {floor(-time.Hour, 0), LenderState{}, sum{4, "autoscaler", 0, 4}},
		"one within the grace":                 {floor(time.Minute, 0), LenderState{}, sum{50, "schedule[0]", 0, 50}},
		"one within Notice":                    {func(l *Lender) { floor(9*time.Minute, 0)(l); l.Notice = 9 * time.Minute }, LenderState{}, sum{50, "schedule[0]", 0, 50}},
		"quick reclaims are no promise":        {func(l *Lender) { floor(time.Minute, 0)(l); l.Notice = 10 * time.Second }, LenderState{}, sum{50, "schedule[0]", 0, 50}},
		"one within the shortest loan":         {floor(6*time.Minute, 0), LenderState{}, sum{4, "autoscaler", 0, 50}},
		"one that needs time before":           {floor(16*time.Minute, 10*time.Minute), LenderState{}, sum{4, "autoscaler", 0, 50}},
		"one that is far":                      {floor(16*time.Minute+1, 10*time.Minute), LenderState{}, sum{4, "autoscaler", 0, 4}},
		"the season":                           {func(l *Lender) { l.Forecast = &Forecast{Season: 200} }, LenderState{}, sum{29, "season", 1, 29}},
		"the season of what is scaled to zero": {func(l *Lender) { l.Forecast = &Forecast{Season: 200}; l.Desired, l.Running, l.Ready = 0, 0, 0 }, LenderState{}, sum{29, "season", 1, 29}},
		"growth":                               {func(l *Lender) { l.Load.Requests = 70; l.Forecast = &Forecast{Growth: 1.5} }, LenderState{}, sum{10, "load", 5, 10}},
		// 3 * sqrt(90 * 5) / 10 = 6.4
		"bursts": {func(l *Lender) { l.Load.Requests = 90; l.Forecast = &Forecast{Growth: 1, Dispersion: 5} }, LenderState{}, sum{13, "load", 7, 13}},
		// 3 * sqrt(90 * 40) / 10 = 18, and it is not wild.
		"bursts of what is calm for its size": {func(l *Lender) {
			l.Load.Requests = 90
			l.Forecast = &Forecast{Growth: 1, Dispersion: 5, Scatter: 40, Floor: 400}
		}, LenderState{}, sum{13, "load", 18, 13}},
		"bursts of what is not a number": {func(l *Lender) {
			l.Load.Requests = 90
			l.Forecast = &Forecast{Growth: 1, Dispersion: 5, Scatter: math.NaN()}
		}, LenderState{}, sum{13, "load", 7, 13}},
		"warm units":                     {func(l *Lender) { l.Warm = 9; l.Forecast = &Forecast{Growth: 1.5, Dispersion: 5} }, LenderState{}, sum{4, "autoscaler", 9, 4}},
		"a wild load":                    {func(l *Lender) { l.Forecast = &Forecast{Growth: 1, Dispersion: 6, Floor: 400} }, LenderState{}, sum{58, "absolute floor", 3, 58}},
		"how wild is not a number":       {func(l *Lender) { l.Forecast = &Forecast{Growth: 1, Dispersion: math.NaN(), Floor: 400} }, LenderState{}, sum{58, "absolute floor", 0, 58}},
		"how wild is not known":          {func(l *Lender) { l.Forecast = &Forecast{Growth: 1, ScatterUnknown: true, Floor: 400} }, LenderState{}, sum{58, "absolute floor", 1, 58}},
		"nor what it was at most":        {func(l *Lender) { l.Forecast = &Forecast{Growth: 1, ScatterUnknown: true} }, LenderState{}, sum{4, "autoscaler", 1, 4}},
		"one pod for nobody is no panic": {func(l *Lender) { l.Desired, l.Running, l.Ready, l.Load.Requests, l.Load.Panic = 0, 0, 0, 0, 5 }, LenderState{}, sum{0, "", 0, 0}},
		"a need of lately":               {func(l *Lender) { l.Steps.LendAfter = time.Minute }, LenderState{Peaks: []Peak{{noon.Add(-time.Minute), 30}}}, sum{4, "autoscaler", 0, 30}},
		"one of long ago":                {func(l *Lender) { l.Steps.LendAfter = time.Minute }, LenderState{Peaks: []Peak{{noon.Add(-time.Minute - 1), 30}}}, sum{4, "autoscaler", 0, 4}},
		"nothing is known of lately":     {func(l *Lender) { l.Steps.LendAfter = time.Minute }, LenderState{}, sum{4, "autoscaler", 0, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			in := base
			tc.change(&in)
			l := newLender(in, tc.prev)
			l.load = readLoad(l, noon, DefaultPolicy())
			l.watchPanic(noon, DefaultPolicy())
			l.size(noon, DefaultPolicy())
			if diff := cmp.Diff(tc.want, sum{l.season.units, l.season.by, l.headroom, l.keep.units}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is kept for a need of lately is what a HorizontalPodAutoscaler keeps that may go
// up at once and down after its window: the present number of replicas, but no less than
// the lowest recommendation of the window for going up, which is the newest, and no more
// than the highest one of the window for going down.
func TestPeakIsTheAutoscalers(t *testing.T) {
	type recommendation struct {
		at   time.Duration
		pods int64
	}
	stabilized := func(history []recommendation, current int64, now, upWindow, downWindow time.Duration) int64 {
		newest := history[len(history)-1].pods
		lowest, highest := newest, newest
		for _, r := range history {
			if r.at >= now-upWindow {
				lowest = min(lowest, r.pods)
			}
			if r.at >= now-downWindow {
				highest = max(highest, r.pods)
			}
		}
		return min(max(current, lowest), highest)
	}
	for name, tc := range map[string]struct {
		window time.Duration
		pods   []int64
	}{
		"rises at once":            {time.Minute, []int64{1, 2, 5, 9}},
		"falls after the window":   {time.Minute, []int64{9, 9, 3, 3, 3, 3, 3, 3}},
		"falls step by step":       {time.Minute, []int64{9, 7, 5, 3, 1, 1, 1, 1, 1, 1}},
		"a dip is not believed":    {time.Minute, []int64{6, 2, 6, 6, 2, 2, 2, 2, 2, 2}},
		"a peak in the window":     {time.Minute, []int64{2, 2, 8, 2, 2, 2, 2, 2, 2}},
		"no window":                {0, []int64{6, 2, 6, 1}},
		"a window of one decision": {15 * time.Second, []int64{6, 2, 6, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m := LenderState{Peaks: []Peak{{Pods: -1}}} // it is known that nothing was needed
			var history []recommendation
			current := tc.pods[0]
			for i, pods := range tc.pods {
				at := time.Duration(i) * 15 * time.Second
				history = append(history, recommendation{at, pods})
				current = stabilized(history, current, at, 0, tc.window)
				l := &lender{Lender: Lender{Steps: Steps{LendAfter: tc.window}}, load: reading{mark: markLow}}
				if got := m.peak(l, pods, noon.Add(at), DefaultPolicy()); got != current {
					t.Fatalf("after %v: %d, the autoscaler %d", tc.pods[:i+1], got, current)
				}
			}
		})
	}
}

// Whatever the past says, and whatever is to come, no more is lent than without.
func TestOutlookNeverRaisesLending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			i := r.IntN(len(in.Lenders))
			name := in.Lenders[i].Name
			for range 3 {
				w.foresee(r, w.service(name))
			}
			plain, seen := in, in
			plain.Lenders, seen.Lenders = slices.Clone(in.Lenders), slices.Clone(in.Lenders)
			l := &plain.Lenders[i]
			l.Forecast, l.Floors, l.Hold, l.Prepare = nil, nil, nil, nil
			seen.Lenders[i] = w.service(name).seen(in.Now)
			without, _ := Decide(plain, before, w.policy)
			with, _ := Decide(seen, before, w.policy)
			if a, b := mayLendIn(without, name), mayLendIn(with, name); b > a {
				t.Fatalf("%s could lend %d, and %d with %s", name, a, b, encode(seen.Lenders[i]))
			}
		}, nil)
	})
}

// A time in which nothing is known of the load never makes a service lend more, then or
// later, than if the load had been known.
func TestAGapNeverRaisesLending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := roll(t)
		w := drawWorld(r)
		w.loans, w.jobs = nil, nil
		s := w.lenders[0]
		s.Advise, s.Scale, s.Desired = false, nil, max(s.Desired, 1)
		from := rapid.IntRange(5, 50).Draw(t, "from")
		until := from + rapid.IntRange(1, 30).Draw(t, "ticks")
		seen, blind := w.state, w.state
		for tick := range 120 {
			w.step(2 * time.Second)
			if r.IntN(6) == 0 {
				s.util = pick(r, 0.02, 0.05, 0.1, 0.2, 0.4)
				s.panic = s.util * pick[float64](r, 0, 1, 1, 3)
			}
			in := w.snapshot()
			hidden := in
			hidden.Lenders = slices.Clone(in.Lenders)
			if tick >= from && tick < until {
				l := lenderIn(hidden, s.Name)
				l.Load = Load{Unknown: "gone"}
			}
			var a, b Plan
			a, seen = Decide(in, seen, w.policy)
			b, blind = Decide(hidden, blind, w.policy)
			if x, y := mayLendIn(a, s.Name), mayLendIn(b, s.Name); y > x {
				t.Fatalf("%d ticks after the gap, %d may be lent: %v; and without it %d: %v", tick-until, y, verdictOn(b, s.Name), x, verdictOn(a, s.Name))
			}
		}
	})
}

// No more is lent in an opening than its steps allow, and a budget of flaps ends it.
func TestStepsAndFlapsBoundLending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drive(t, func(t *rapid.T, w *world, before State, in Snapshot, plan Plan) {
			for _, m := range before.Lenders {
				l := lenderIn(in, m.Name)
				lent := newlyLent(plan, m.Name)
				if l == nil || lent == 0 {
					continue
				}
				recent := slices.DeleteFunc(slices.Clone(m.Reclaims), func(at time.Time) bool { return in.Now.Sub(at) >= w.policy.FlapWindow })
				if len(recent) >= w.policy.FlapBudget {
					t.Fatalf("%s lends after %d flaps", m.Name, len(recent))
				}
				if in.Now.Sub(before.Since) < w.policy.StableWindow && !before.Since.IsZero() {
					t.Fatalf("%s lends %s after the start", m.Name, in.Now.Sub(before.Since))
				}
				if l.Hold != nil || l.Prepare != nil && !l.Prepare.Done {
					t.Fatalf("%s lends, held %v, prepared %v", m.Name, l.Hold, l.Prepare)
				}
				if l.Steps.LendUnits == 0 {
					continue
				}
				most := l.Steps.LendUnits
				if !m.OpenSince.IsZero() {
					most = m.OpenLent + l.Steps.LendUnits*(1+int64(in.Now.Sub(m.OpenSince)/l.Steps.LendEvery)) - lentBefore(in, m.Name)
				}
				if lent > most {
					t.Fatalf("%s lends %d at once, %d of its steps are left", m.Name, lent, most)
				}
			}
		}, nil)
	})
}

func lentBefore(in Snapshot, lender string) (n int64) {
	for _, l := range in.Loans {
		for _, g := range l.Grants {
			if g.Lender == lender {
				n += g.Count
			}
		}
	}
	return n
}

func verdictOn(plan Plan, name string) []Verdict {
	return slices.DeleteFunc(slices.Clone(plan.Verdicts), func(v Verdict) bool { return v.Subject != name })
}

// A decision that is made at NextFloor has what a window keeps asked back, and one just
// before has not.
func TestNextFloor(t *testing.T) {
	in := Snapshot{Now: noon, Lenders: []Lender{
		{Name: "none"},
		{Name: "late", MaxGrace: time.Minute, Floors: []Floor{{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)}}},
		{Name: "soon", MaxGrace: time.Minute, Notice: 10 * time.Minute, Floors: []Floor{
			{From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)},
			{From: noon.Add(10 * time.Minute), Until: noon.Add(time.Hour)},
			{Units: 9, From: noon.Add(30 * time.Minute), Until: noon.Add(time.Hour)},
		}},
	}}
	at := in.NextFloor()
	if want := noon.Add(20 * time.Minute); !at.Equal(want) {
		t.Fatalf("next floor at %s, want %s", at, want)
	}
	for _, tc := range []struct {
		now  time.Time
		want int64
	}{{at.Add(-1), 0}, {at, 9}} {
		l := lender{Lender: in.Lenders[2]}
		l.UnitsPerPod = 1
		var e estimate
		l.askFloors(&e, tc.now, DefaultPolicy())
		if e.pods != tc.want {
			t.Errorf("at %s %d are asked for, want %d", tc.now, e.pods, tc.want)
		}
	}
	in.Now = noon.Add(3 * time.Hour)
	if at := in.NextFloor(); !at.IsZero() {
		t.Errorf("after all windows: %s", at)
	}
}

func newLender(of Lender, memory LenderState) *lender {
	l := new(lender)
	l.begin(&of, &memory)
	return l
}
