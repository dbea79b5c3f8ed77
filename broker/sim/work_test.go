package sim

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// step is what a script does at a moment.
type step struct {
	at time.Duration
	do func(w *World)
}

// script is a policy that does what it is told, when it is told.
type script []step

func (*script) Name() string { return "script" }

func (s *script) Decide(w *World) time.Duration {
	for len(*s) > 0 && (*s)[0].at <= w.Now() {
		(*s)[0].do(w)
		*s = (*s)[1:]
	}
	if len(*s) == 0 {
		return 0
	}
	return (*s)[0].at - w.Now()
}

func starts(name string, places ...Place) func(*World) {
	return func(w *World) { w.Start(w.byName[name], places) }
}

func stops(name string, grace time.Duration) func(*World) {
	return func(w *World) { w.Stop(w.byName[name], grace) }
}

// desk is one node with 8 units, and jobs.
func desk(jobs ...Job) *Scenario {
	for i := range jobs {
		jobs[i].Flavor = "gpu"
	}
	return &Scenario{Length: 24 * time.Hour, Check: true, Nodes: []Node{{Name: "a", Units: []NodeUnits{{"gpu", 8}}}}, Jobs: List(jobs)}
}

func mustRun(t *testing.T, s *Scenario, p Policy) *Result {
	t.Helper()
	r, err := Run(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// near compares unit-hours.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const minute = time.Minute

func unitHours(units int, d time.Duration) float64 { return float64(units) * d.Hours() }

func TestWorkThatIsStopped(t *testing.T) {
	on := Place{0, Nobody, 1}
	begin := step{0, starts("j", on)}
	again := step{30 * minute, starts("j", on)}
	usual := Costs{CheckpointEvery: 10 * minute, Grace: 30 * time.Second, Exit: 5 * time.Second, Restart: minute}
	with := func(change func(*Costs)) Costs {
		c := usual
		change(&c)
		return c
	}
	// A job of an hour on 4 units. Where it is stopped at 25:00, it saved at 20:00.
	for name, c := range map[string]struct {
		costs                            Costs
		script                           script
		jct                              time.Duration
		rolledBack, restarting, stopping time.Duration
	}{
		"never stopped": {usual, script{begin}, 60 * minute, 0, 0, 0},
		"goes back to what it saved": {
			usual, script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 40*minute, 5 * minute, minute, 5 * time.Second,
		},
		"is killed before it goes": {
			with(func(c *Costs) { c.Exit = 40 * time.Second }), script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 40*minute, 5 * minute, minute, 30 * time.Second,
		},
		"saves when it is asked to stop": {
			with(func(c *Costs) { c.SaveTakes = 20 * time.Second }), script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 35*minute, 0, minute, 20 * time.Second,
		},
		"saves just in time": {
			with(func(c *Costs) { c.SaveTakes = 30 * time.Second }), script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 35*minute, 0, minute, 30 * time.Second,
		},
		"has too little grace of its own to save": {
			with(func(c *Costs) { c.SaveTakes = 31 * time.Second }), script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 40*minute, 5 * minute, minute, 30 * time.Second,
		},
		"is allowed too little to save": {
			with(func(c *Costs) { c.SaveTakes = 20 * time.Second }), script{begin, {25 * minute, stops("j", 19*time.Second)}, again},
			31*minute + 40*minute, 5 * minute, minute, 19 * time.Second,
		},
		"is cut short while it saves": {
			with(func(c *Costs) { c.SaveTakes = 20 * time.Second }),
			script{begin, {25 * minute, stops("j", time.Minute)}, {25*minute + 10*time.Second, stops("j", 0)}, again},
			31*minute + 40*minute, 5 * minute, minute, 10 * time.Second,
		},
		"is cut short, and goes before that": {
			usual, script{begin, {25 * minute, stops("j", time.Minute)}, {25*minute + 2*time.Second, stops("j", 20*time.Second)}, again},
			31*minute + 40*minute, 5 * minute, minute, 5 * time.Second,
		},
		"cannot be given more time": {
			with(func(c *Costs) { c.Exit = 40 * time.Second }),
			script{begin, {25 * minute, stops("j", 10*time.Second)}, {25*minute + 2*time.Second, stops("j", time.Minute)}, again},
			31*minute + 40*minute, 5 * minute, minute, 10 * time.Second,
		},
		"never saves": {
			with(func(c *Costs) { c.CheckpointEvery = 0 }), script{begin, {25 * minute, stops("j", time.Minute)}, again},
			31*minute + 60*minute, 25 * minute, minute, 5 * time.Second,
		},
		// From its second start it saves at 41:00, with 30 minutes done, and is at 45:00 at 34.
		"saves from when it works again": {
			usual, script{begin, {25 * minute, stops("j", minute)}, again, {45 * minute, stops("j", minute)}, {50 * minute, starts("j", on)}},
			51*minute + 30*minute, 5*minute + 4*minute, 2 * minute, 10 * time.Second,
		},
		"is stopped before it works again": {
			usual, script{begin, {25 * minute, stops("j", minute)}, again, {30*minute + 15*time.Second, stops("j", minute)}, {50 * minute, starts("j", on)}},
			51*minute + 40*minute, 5 * minute, 15*time.Second + minute, 10 * time.Second,
		},
		"is stopped the moment it started": {
			usual, script{begin, {0, stops("j", 0)}, again}, 31*minute + 60*minute, 0, minute, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustRun(t, desk(Job{Name: "j", Duration: time.Hour, Pods: 1, UnitsPerPod: 4, Costs: c.costs}), &c.script)
			near(t, "JCT", r.JCTMean, c.jct.Seconds())
			near(t, "rolled back", r.RolledBack, unitHours(4, c.rolledBack))
			near(t, "restarting", r.Restarting, unitHours(4, c.restarting))
			near(t, "stopping", r.Stopping, unitHours(4, c.stopping))
			near(t, "own", r.Own, 4+r.RolledBack+r.Restarting+r.Stopping)
			near(t, "waste", r.Waste(), map[bool]float64{true: 1}[r.RolledBack+r.Restarting+r.Stopping > 0])
		})
	}
}

func TestElasticJobs(t *testing.T) {
	elastic := Job{
		Name: "j", Duration: time.Hour, Pods: 4, MinPods: 2, UnitsPerPod: 2,
		Costs: Costs{CheckpointEvery: 10 * minute, Exit: 10 * time.Second, Grace: minute, Reshape: minute},
	}
	shed := func(n int64, grace time.Duration) func(*World) {
		return func(w *World) { w.Shed(w.byName["j"], []Place{{0, Nobody, n}}, grace) }
	}
	grow := func(n int64) func(*World) {
		return func(w *World) { w.Grow(w.byName["j"], []Place{{0, Nobody, n}}) }
	}
	// 240 pod-minutes of work on pods of 2 units.
	for name, c := range map[string]struct {
		script                           script
		jct                              time.Duration
		rolledBack, restarting, stopping float64
	}{
		"starts small": {script{{0, starts("j", Place{0, Nobody, 2})}}, 120 * minute, 0, 0, 0},
		// 120 by 30:00, 40 from 31:00 to 51:00, 80 from 52:00 on.
		"shrinks and grows": {
			script{{0, starts("j", Place{0, Nobody, 4})}, {30 * minute, shed(2, minute)}, {51 * minute, grow(2)}},
			72 * minute, 0, unitHours(4, minute) + unitHours(8, minute), unitHours(4, 10*time.Second),
		},
		"gives up pods one after the other": {
			script{{0, starts("j", Place{0, Nobody, 2}, Place{0, Nobody, 2})}, {30 * minute, shed(1, 0)}, {30 * minute, shed(1, 4*time.Second)}},
			// both changes are waited for, one after the other: 120 are left at 32:00.
			92 * minute, 0, unitHours(4, 2*minute), unitHours(2, 4*time.Second),
		},
		// It saved 120 at 30:00, shrank at 31:00 with 124 done, and is at 33:00 at 126.
		"is stopped after it shrank": {
			script{{0, starts("j", Place{0, Nobody, 4})}, {31 * minute, shed(2, minute)}, {33 * minute, stops("j", minute)}, {40 * minute, starts("j", Place{0, Nobody, 4})}},
			70 * minute, unitHours(2, 6*minute), unitHours(4, minute), unitHours(4, 10*time.Second) + unitHours(4, 10*time.Second),
		},
		// It saved 118 at 30:00, while it changed its size, and is at 32:30 at 122.
		"saves while it shrinks": {
			script{{0, starts("j", Place{0, Nobody, 4})}, {29*minute + 30*time.Second, shed(2, minute)}, {32*minute + 30*time.Second, stops("j", minute)}, {40 * minute, starts("j", Place{0, Nobody, 4})}},
			70*minute + 30*time.Second, unitHours(2, 4*minute), unitHours(4, minute), unitHours(4, 10*time.Second) + unitHours(4, 10*time.Second),
		},
		"is stopped while pods go": {
			script{{0, starts("j", Place{0, Nobody, 4})}, {30 * minute, shed(2, minute)}, {30*minute + 5*time.Second, stops("j", minute)}, {40 * minute, starts("j", Place{0, Nobody, 4})}},
			70 * minute, 0, unitHours(4, 5*time.Second), unitHours(4, 10*time.Second) + unitHours(4, 10*time.Second),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustRun(t, desk(elastic), &c.script)
			near(t, "JCT", r.JCTMean, c.jct.Seconds())
			near(t, "rolled back", r.RolledBack, c.rolledBack)
			near(t, "restarting", r.Restarting, c.restarting)
			near(t, "stopping", r.Stopping, c.stopping)
			near(t, "own", r.Own, 8+r.RolledBack+r.Restarting+r.Stopping)
		})
	}
}

// What is on the bill at the end of what is measured is what was until then.
func TestTheBillAtTheEnd(t *testing.T) {
	s := desk(Job{Name: "j", Duration: 50 * time.Hour, Pods: 1, UnitsPerPod: 4, Costs: Costs{Exit: minute, Grace: minute, Restart: time.Hour}})
	s.Drain = 30 * minute
	on := starts("j", Place{0, Nobody, 1})
	play := script{{0, on}, {23*time.Hour + 30*minute, stops("j", minute)}, {23*time.Hour + 40*minute, on}}
	r := mustRun(t, s, &play)
	near(t, "restarting", r.Restarting, unitHours(4, 20*minute))
	near(t, "stopping", r.Stopping, unitHours(4, minute))
	near(t, "rolled back", r.RolledBack, 4*23.5)
	near(t, "own", r.Own, 4*23.5+unitHours(4, 21*minute))
}

// What a policy reads of a job changes nothing, and is what the job does.
func TestWhatIsReadOfAJob(t *testing.T) {
	type seen struct {
		Left, Saved time.Duration
		AtRisk      float64
	}
	job := Job{
		Name: "j", Duration: time.Hour, Pods: 2, UnitsPerPod: 4,
		Costs: Costs{CheckpointEvery: 10 * minute, Restart: minute},
	}
	on := Place{0, Nobody, 2}
	var got []seen
	look := func(w *World) {
		j := w.byName["j"]
		got = append(got, seen{j.Left(w.now), j.Saved(w.now), j.AtRisk(w.now)})
	}
	play := script{
		{0, starts("j", on)}, {25 * minute, look}, {25 * minute, stops("j", 0)}, {26 * minute, look},
		{30 * minute, starts("j", on)}, {30*minute + 30*time.Second, look}, {32 * minute, look},
	}
	mustRun(t, desk(job), &play)
	risk := minute.Seconds() * 8 // of a start
	want := []seen{
		{35 * minute, 20 * minute, 5*60*8 + risk},
		{40 * minute, 0, risk},
		{40*minute + 30*time.Second, 30*minute + 30*time.Second, risk},
		{39 * minute, 31 * minute, 60*8 + risk},
	}
	want[1].Saved = got[1].Saved // of one that waits it means nothing
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// restless starts a job and stops it at once.
func restless(w *World) {
	j := w.byName["e"]
	w.Start(j, []Place{{0, Nobody, 4}})
	w.Stop(j, 0)
}

// tireless does the same thing whenever it is asked.
type tireless func(w *World)

func (tireless) Name() string { return "tireless" }

func (f tireless) Decide(w *World) time.Duration {
	f(w)
	return 0
}

func TestWhatNoPolicyMayDo(t *testing.T) {
	fixed := Job{Name: "j", Duration: time.Hour, Pods: 2, UnitsPerPod: 4}
	elastic := Job{Name: "e", Duration: time.Hour, Pods: 4, MinPods: 2, UnitsPerPod: 1, Costs: Costs{Exit: minute}}
	begun := func(more ...step) script {
		return append(script{{0, starts("e", Place{0, Nobody, 4})}}, more...)
	}
	for name, c := range map[string]struct {
		script script
		want   string
	}{
		"too few pods":       {script{{0, starts("j", Place{0, Nobody, 1})}}, "at 0s: policy script: start j: 1 pods of 2, at least 0"},
		"more than are free": {begun(step{0, starts("j", Place{0, Nobody, 1}, Place{0, Nobody, 1})}), "at 0s: policy script: start j: 8 units of gpu on a, which has 4 free of gpu"},
		"nowhere":            {script{{0, starts("j", Place{1, Nobody, 2})}}, "at 0s: policy script: start j: there is no such place: {Spot:1 Lender:-1 Pods:2}"},
		"lent by none such":  {script{{0, starts("j", Place{0, 0, 2})}}, "at 0s: policy script: start j: there is no such place: {Spot:0 Lender:0 Pods:2}"},
		"twice":              {begun(step{minute, starts("e", Place{0, Nobody, 4})}), "at 1m0s: policy script: start e: it does not wait"},
		"stop what waits":    {script{{0, stops("j", 0)}}, "at 0s: policy script: stop j: it does not run"},
		"shed below the least": {
			begun(step{0, func(w *World) { w.Shed(w.byName["e"], []Place{{0, Nobody, 3}}, 0) }}),
			"at 0s: policy script: shed 3 pods of e, of which 4 work and it needs 2: [{Spot:0 Lender:-1 Pods:3}]",
		},
		"shed what goes already": {
			begun(step{0, func(w *World) {
				w.Shed(w.byName["e"], []Place{{0, Nobody, 2}}, time.Hour)
				w.Shed(w.byName["e"], []Place{{0, Nobody, 1}}, time.Hour)
			}}),
			"at 0s: policy script: shed 1 pods of e, of which 2 work and it needs 2: [{Spot:0 Lender:-1 Pods:1}]",
		},
		"grow beyond its size": {
			begun(step{0, func(w *World) { w.Grow(w.byName["e"], []Place{{0, Nobody, 1}}) }}),
			"at 0s: policy script: grow e by 1: it has 4 of 4",
		},
		"grow beyond its size while pods go": {
			begun(step{0, func(w *World) {
				w.Shed(w.byName["e"], []Place{{0, Nobody, 2}}, time.Hour)
				w.Grow(w.byName["e"], []Place{{0, Nobody, 1}})
			}}),
			"at 0s: policy script: grow e by 1: it has 4 of 4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(desk(fixed, elastic), &c.script, nil)
			if err == nil || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestMomentsPass(t *testing.T) {
	_, err := Run(desk(Job{Name: "e", Duration: time.Hour, Pods: 4, UnitsPerPod: 1}), tireless(restless), nil)
	if want := "at 0s: policy tireless: it does not let the moment pass: it has acted 1000 times"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
