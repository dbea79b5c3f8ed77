package sim

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fails(node int32) func(*World) { return func(w *World) { w.failure(node) } }

// What a node's failure costs is no eviction's, but for what a job that was asked to stop
// would have lost anyhow.
func TestJobsOnNodesThatFail(t *testing.T) {
	usual := Costs{CheckpointEvery: 10 * minute, Grace: minute, Exit: 30 * time.Second, Restart: minute}
	saves := usual
	saves.SaveTakes = 30 * time.Second
	begin := step{0, starts("j", Place{0, Nobody, 1}, Place{1, Nobody, 1})}
	again := step{30 * minute, starts("j", Place{0, Nobody, 1}, Place{1, Nobody, 1})}
	type cost struct {
		Evictions, Failures, FailedJobs                  int64
		RolledBack, Restarting, Stopping, LostToFailures float64
		JCT                                              float64
	}
	// A job of an hour on 2 pods of 4 units, which saved at 20:00.
	for name, c := range map[string]struct {
		costs  Costs
		script script
		want   cost
	}{
		"while it runs": {
			usual, script{begin, {25 * minute, fails(1)}, again},
			cost{0, 1, 1, 0, 0, 0, unitHours(8, 5*minute) + unitHours(8, minute), 71 * 60},
		},
		"while it starts": {
			usual, script{begin, {25 * minute, fails(1)}, again, {30*minute + 15*time.Second, fails(0)}, {40 * minute, starts("j", Place{0, Nobody, 1}, Place{1, Nobody, 1})}},
			cost{0, 2, 2, 0, 0, 0, unitHours(8, 5*minute) + unitHours(8, 15*time.Second) + unitHours(8, minute), 81 * 60},
		},
		"while it stops": {
			usual, script{begin, {25 * minute, stops("j", minute)}, {25*minute + 10*time.Second, fails(1)}, again},
			cost{1, 1, 0, unitHours(8, 5*minute), unitHours(8, minute), unitHours(8, 10*time.Second), 0, 71 * 60},
		},
		"while it saves": {
			saves, script{begin, {25 * minute, stops("j", minute)}, {25*minute + 10*time.Second, fails(1)}, again},
			cost{1, 1, 1, 0, 0, unitHours(8, 10*time.Second), unitHours(8, 5*minute) + unitHours(8, minute), 71 * 60},
		},
		"and is stopped after that": {
			usual, script{begin, {25 * minute, fails(1)}, again, {35 * minute, stops("j", minute)}, {40 * minute, starts("j", Place{0, Nobody, 1}, Place{1, Nobody, 1})}},
			cost{1, 1, 1, unitHours(8, 4*minute), unitHours(8, minute), unitHours(8, 30*time.Second), unitHours(8, 5*minute) + unitHours(8, minute), 81 * 60},
		},
		"while nobody is there": {
			usual, script{begin, {25 * minute, fails(2)}, {26 * minute, fails(2)}},
			cost{0, 1, 0, 0, 0, 0, 0, 60 * 60},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := desk(Job{Name: "j", Duration: time.Hour, Pods: 2, UnitsPerPod: 4, Costs: c.costs})
			s.Nodes = append(s.Nodes, Node{Name: "b", Units: []NodeUnits{{"gpu", 8}}}, Node{Name: "c", Units: []NodeUnits{{"gpu", 8}}})
			s.Failures.Repair = 3 * minute
			r := mustRun(t, s, &c.script)
			got := cost{r.Evictions, r.Failures, r.FailedJobs, r.RolledBack, r.Restarting, r.Stopping, r.LostToFailures, r.JCTMean}
			if diff := cmp.Diff(c.want, got, roughly); diff != "" {
				t.Error(diff)
			}
			near(t, "own", r.Own, 8+r.RolledBack+r.Restarting+r.Stopping+r.LostToFailures)
		})
	}
}

var roughly = cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })

// Replicas on a node that fails wait anew, those that were going are gone, and nothing of
// that comes back when it is repaired.
func TestReplicasOnNodesThatFail(t *testing.T) {
	type state struct{ Running, Ready, Waiting, Online, Leaving int64 }
	s := shop(2, func(s *Service) {
		s.Load = Curve{{0, 20}, {10 * minute, 15}, {20 * minute, 20}}
		s.Reload, s.Drain = 5*minute, 30*minute
	})
	s.Failures.Repair = 3 * minute
	seen := map[time.Duration]state{}
	var last state
	r := mustRun(t, s, tireless(func(w *World) {
		if w.Now() == 0 {
			w.agenda.add(event{at: 12 * minute, kind: evFailure, a: 0})
		}
		v := w.Services()[0]
		now := state{v.Running, v.Ready, int64(len(v.Pending)), 0, 0}
		for _, spot := range w.Spots() {
			now.Online, now.Leaving = now.Online+spot.Online, now.Leaving+spot.Leaving
		}
		if now != last {
			last, seen[w.Now()] = now, now
		}
	}))
	want := map[time.Duration]state{
		0:           {4, 0, 0, 8, 0},
		5 * minute:  {4, 4, 0, 8, 0},
		10 * minute: {3, 3, 0, 8, 2}, // one goes, on the first node
		12 * minute: {2, 2, 1, 4, 0}, // which fails
		15 * minute: {3, 2, 0, 6, 0}, // and is repaired
		20 * minute: {4, 3, 0, 8, 0}, // and the last one has room, though that one has not drained
		25 * minute: {4, 4, 0, 8, 0},
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	near(t, "online", r.Online, unitHours(8, 12*minute)+unitHours(4, 3*minute)+unitHours(6, 5*minute)+unitHours(8, 100*minute))
	if r.OnlinePods != 6 || r.OnlineWaited != 1 {
		t.Errorf("%d of %d pods waited, want 1 of 6", r.OnlineWaited, r.OnlinePods)
	}
}

// What was to drain on a node that has failed since frees nothing of what drains there now.
func TestDrainingOnNodesThatFailed(t *testing.T) {
	s := shop(1, func(s *Service) {
		s.Load, s.Drain = Curve{{0, 10}, {10 * minute, 5}, {20 * minute, 0}}, 30*minute
	})
	s.Failures.Repair = 3 * minute
	got, _ := watched(t, s, func(w *World) int64 {
		if w.Now() == 0 {
			w.agenda.add(event{at: 12 * minute, kind: evFailure, a: 0})
		}
		return w.Spots()[0].Online
	})
	if diff := cmp.Diff(map[time.Duration]int64{0: 4, 12 * minute: 0, 15 * minute: 2, 50 * minute: 0}, got); diff != "" {
		t.Error(diff)
	}
}

// Nodes fail as often as was said, whatever the policy does.
func TestFailuresAreDrawn(t *testing.T) {
	count := func(p Policy) int64 {
		s := desk(Job{Name: "j", Duration: time.Hour, Pods: 1, UnitsPerPod: 1})
		for _, name := range []string{"b", "c", "d"} {
			s.Nodes = append(s.Nodes, Node{Name: name, Units: s.Nodes[0].Units})
		}
		s.Length, s.Sample, s.Check = 10_000*time.Hour, time.Hour, false
		s.Failures = Failures{Every: 40 * time.Hour, Repair: time.Second}
		return mustRun(t, s, p).Failures
	}
	n := count(firstFit{})
	if n != count(tireless(func(*World) {})) {
		t.Error("the policy has a say in when nodes fail")
	}
	if n < 900 || n > 1100 { // 1000 expected, a standard deviation of 32
		t.Errorf("%d failures, about 1000 are expected", n)
	}
}
