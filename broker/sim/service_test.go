package sim

import (
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/google/go-cmp/cmp"
)

// shop is one service with replicas of 2 units on nodes of 4, looked at every minute.
func shop(nodes int, change func(s *Service)) *Scenario {
	s := &Scenario{
		Length: 2 * time.Hour, Sample: minute, Check: true, Jobs: List(nil),
		Services: []Service{{
			Lender: lend.Lender{Name: "chat", Flavor: "gpu", Owned: 16, UnitsPerPod: 2},
			Load:   Curve{{0, 0}}, Slots: 10, Target: 0.5,
		}},
	}
	for i := range nodes {
		s.Nodes = append(s.Nodes, Node{Name: string(rune('a' + i)), Units: []NodeUnits{{"gpu", 4}}})
	}
	change(&s.Services[0])
	return s
}

// watched plays a scenario and tells, of each moment at which something changed, what is
// asked.
func watched[T comparable](t *testing.T, s *Scenario, what func(w *World) T) (map[time.Duration]T, *Result) {
	t.Helper()
	seen := map[time.Duration]T{}
	var last T
	r := mustRun(t, s, tireless(func(w *World) {
		if now := what(w); now != last || len(seen) == 0 {
			last, seen[w.Now()] = now, now
		}
	}))
	return seen, r
}

func TestAutoscaler(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *Service)
		want   map[time.Duration]int64 // desired replicas, from when on
	}{
		// a replica is meant for 10 × 0.5 requests
		"follows the load": {
			func(s *Service) { s.Load = Curve{{0, 5}, {10 * minute, 5.1}, {20 * minute, 12}, {30 * minute, 0}} },
			map[time.Duration]int64{0: 1, 10 * minute: 2, 20 * minute: 3, 30 * minute: 0},
		},
		"looks at the load when it is sampled": {
			func(s *Service) { s.Load = Curve{{0, 5}, {9*minute + 30*time.Second, 10}} },
			map[time.Duration]int64{0: 1, 10 * minute: 2},
		},
		"keeps the highest of the window": {
			func(s *Service) {
				s.ScaleDownAfter = 5 * minute
				s.Load = Curve{{0, 20}, {10 * minute, 5}, {12 * minute, 10}, {13 * minute, 0}}
			},
			// 4 until 5 minutes after 9:00, 2 until 5 minutes after 12:00
			map[time.Duration]int64{0: 4, 14 * minute: 2, 17 * minute: 0},
		},
		"rises at once within the window": {
			func(s *Service) {
				s.ScaleDownAfter = 5 * minute
				s.Load = Curve{{0, 10}, {10 * minute, 0}, {11 * minute, 20}, {12 * minute, 0}}
			},
			map[time.Duration]int64{0: 2, 11 * minute: 4, 16 * minute: 0},
		},
		"wants what it has where the load is not known": {
			func(s *Service) { s.Load = Curve{{0, 10}, {10 * minute, nan}, {20 * minute, 0}} },
			map[time.Duration]int64{0: 2, 20 * minute: 0},
		},
		"wants the least where it never was": {
			func(s *Service) { s.Least, s.Load = 2, Curve{{0, nan}, {20 * minute, 20}} },
			map[time.Duration]int64{0: 2, 20 * minute: 4},
		},
		"stays within what it owns": {
			func(s *Service) { s.Least, s.Load = 3, Curve{{0, 0}, {10 * minute, 1e300}} },
			map[time.Duration]int64{0: 3, 10 * minute: 8},
		},
		"wants what it is told to": {
			func(s *Service) {
				s.Load, s.Replicas = Curve{{0, 1000}}, Curve{{0, 3}, {10 * minute, nan}, {20 * minute, 1}, {30 * minute, 99}}
			},
			map[time.Duration]int64{0: 3, 20 * minute: 1, 30 * minute: 8},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := watched(t, shop(4, c.change), func(w *World) int64 { return w.Services()[0].Desired })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReplicasStartAndGo(t *testing.T) {
	type state struct{ Running, Ready, Online, Leaving int64 }
	s := shop(4, func(s *Service) {
		s.Load = Curve{{0, 5}, {10 * minute, 15}, {11 * minute, 10}, {20 * minute, 5}}
		s.Reload, s.Drain = 150*time.Second, 90*time.Second
	})
	got, r := watched(t, s, func(w *World) state {
		v, sum := w.Services()[0], state{}
		for _, spot := range w.Spots() {
			sum.Online, sum.Leaving = sum.Online+spot.Online, sum.Leaving+spot.Leaving
		}
		sum.Running, sum.Ready = v.Running, v.Ready
		return sum
	})
	want := map[time.Duration]state{
		0:                          {1, 0, 2, 0},
		150 * time.Second:          {1, 1, 2, 0},
		10 * minute:                {3, 1, 6, 0},
		11 * minute:                {2, 1, 6, 2}, // one that did not serve yet goes
		12*minute + 30*time.Second: {2, 2, 4, 0}, // it is gone, and the other serves
		20 * minute:                {1, 1, 4, 2},
		21*minute + 30*time.Second: {1, 1, 2, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// None serves until 2:30 with 5 requests, and one at 10 from 10:00 on is full with 15
	// until 11:00, and with 10 it just does.
	near(t, "short", r.ShortShare, (150+60)/r.measuredSeconds())
	near(t, "online", r.Online, unitHours(2, 2*time.Hour)+unitHours(4, 150*time.Second)+unitHours(2, 9*minute))
}

func (r *Result) measuredSeconds() float64 { return 2 * time.Hour.Seconds() }

func TestShort(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *Service)
		want   time.Duration
		of     time.Duration
	}{
		"never":                        {func(s *Service) { s.Load = Curve{{0, 20}} }, 0, 2 * time.Hour},
		"while it loads":               {func(s *Service) { s.Reload, s.Load = 20*minute, Curve{{0, 20}} }, 20 * minute, 2 * time.Hour},
		"not if all it may have serve": {func(s *Service) { s.Load = Curve{{0, 1000}} }, 0, 2 * time.Hour},
		"not where nobody knows": {
			func(s *Service) {
				s.Reload, s.Least, s.Load = 20*minute, 1, Curve{{0, math.NaN()}, {10 * minute, 5}, {30 * minute, math.NaN()}}
			},
			10 * minute, 20 * minute,
		},
		"by replicas, if it has no slots": {
			func(s *Service) { s.Slots, s.Reload, s.Load, s.Replicas = 0, 5*minute, Curve{{0, 2}}, Curve{{0, 2}} },
			5 * minute, 2 * time.Hour,
		},
		"not before something is measured": {func(s *Service) { s.Reload, s.Load = 20*minute, Curve{{0, 20}} }, 10 * minute, 110 * minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(4, c.change)
			if name == "not before something is measured" {
				s.Warmup = 10 * minute
			}
			r := mustRun(t, s, tireless(func(*World) {}))
			near(t, "short", r.ShortShare, float64(c.want)/float64(c.of))
			near(t, "short", r.Services[0].ShortShare, float64(c.want)/float64(c.of))
		})
	}
}

// Two services and a job want one node: those who waited longest come first, each at home if
// there is room.
func TestPendingReplicas(t *testing.T) {
	s := shop(2, func(s *Service) { s.Load = Curve{{0, 0}, {10 * minute, 10}} })
	s.Services = append(s.Services, s.Services[0])
	s.Services[1].Lender.Name, s.Services[1].Load = "search", Curve{{0, 0}, {5 * minute, 5}, {40 * minute, 10}, {50 * minute, 5}}
	s.Nodes[0].Home, s.Nodes[1].Home = "search", "chat"
	s.Jobs = List([]Job{
		{Name: "j", Flavor: "gpu", Duration: 20 * minute, Pods: 2, UnitsPerPod: 4},
		{Name: "k", Flavor: "gpu", Submit: 20 * minute, Duration: time.Hour, Pods: 1, UnitsPerPod: 2},
	})
	first := func(w *World) {
		if len(w.Waiting()) == 0 {
			return
		}
		if j := w.Waiting()[0]; j.Name == "j" {
			w.Start(j, []Place{{0, 0, 1}, {1, 1, 1}})
		} else if w.Spots()[0].Free() >= 2 {
			w.Start(j, []Place{{0, Nobody, 1}})
		}
	}
	type waits struct{ chat, search, home int }
	seen := map[time.Duration]waits{}
	var last waits
	r := mustRun(t, s, tireless(func(w *World) {
		first(w)
		chat, search := w.Services()[0], w.Services()[1]
		now := waits{len(chat.Pending), len(search.Pending), int(chat.On(1)*10 + search.On(0))}
		if now != last {
			last, seen[w.Now()] = now, now
		}
	}))
	want := map[time.Duration]waits{
		5 * minute:  {0, 1, 0},
		10 * minute: {2, 1, 0},
		20 * minute: {0, 0, 21}, // the job has ended: all have room, at home
		40 * minute: {0, 1, 21}, // the other job is on the second place
		50 * minute: {0, 0, 21}, // and it is not wanted any more
	}
	if diff := cmp.Diff(want, seen, cmp.AllowUnexported(waits{})); diff != "" {
		t.Error(diff)
	}
	if r.OnlinePods != 4 || r.OnlineWaited != 4 || r.OnlineWait.Count() != 4 {
		t.Errorf("%d of %d pods waited, of %d told", r.OnlineWaited, r.OnlinePods, r.OnlineWait.Count())
	}
	near(t, "wait", r.OnlineWait.Mean().Seconds(), (15+10+10+10)*60/4.)
}

// Pods count when they are made in the time that is measured, for as long as they wait.
func TestOnlineWaitIsMeasured(t *testing.T) {
	s := shop(1, func(s *Service) { s.Load = Curve{{0, 0}, {5 * minute, 5}, {30 * minute, 10}, {119 * minute, 15}} })
	s.Warmup, s.Drain = 10*minute, time.Hour
	s.Jobs = List([]Job{{Name: "j", Flavor: "gpu", Duration: 40 * minute, Pods: 1, UnitsPerPod: 4}})
	r := mustRun(t, s, tireless(func(w *World) {
		for _, j := range w.Waiting() {
			w.Start(j, []Place{{0, Nobody, 1}})
		}
	}))
	// The first was made in the warm-up; the second waits from 30:00 to 40:00; the third
	// from 119:00 until the end of the run, which is that of what is measured, since no job is
	// left.
	if r.OnlinePods != 2 || r.OnlineWaited != 2 {
		t.Errorf("%d of %d pods waited", r.OnlineWaited, r.OnlinePods)
	}
	near(t, "wait", r.OnlineWait.Mean().Seconds(), (10+1)*60/2.)
}

// Of replicas on one node that do not serve yet the youngest goes.
func TestTheYoungestReplicaGoes(t *testing.T) {
	s := shop(1, func(s *Service) {
		s.Load, s.Reload = Curve{{0, 0}, {10 * minute, 5}, {11 * minute, 10}, {12 * minute, 5}}, 3*minute
	})
	got, _ := watched(t, s, func(w *World) int64 { return w.Services()[0].Ready })
	if diff := cmp.Diff(map[time.Duration]int64{0: 0, 13 * minute: 1}, got); diff != "" {
		t.Error(diff)
	}
}

// Whose replica has waited longest is first, whichever service it is.
func TestWhoWaitedLongestIsFirst(t *testing.T) {
	s := shop(1, func(s *Service) { s.Load = Curve{{0, 0}, {10 * minute, 5}} })
	s.Nodes[0].Units = []NodeUnits{{"gpu", 2}}
	s.Services = append(s.Services, s.Services[0])
	s.Services[1].Lender.Name, s.Services[1].Load = "search", Curve{{0, 0}, {5 * minute, 5}}
	s.Jobs = List([]Job{{Name: "j", Flavor: "gpu", Duration: 20 * minute, Pods: 1, UnitsPerPod: 2}})
	play := script{{0, starts("j", Place{0, Nobody, 1})}, {30 * minute, func(w *World) {
		if chat, search := w.Services()[0].Running, w.Services()[1].Running; chat != 0 || search != 1 {
			t.Errorf("%d and %d replicas run, want 0 and 1", chat, search)
		}
	}}}
	mustRun(t, s, &play)
}

// A replica goes from where its service is not at home, and then from where the fewest are.
func TestWhereAReplicaGoes(t *testing.T) {
	s := shop(3, func(s *Service) {
		s.Load = Curve{{0, 25}, {10 * minute, 20}, {20 * minute, 15}, {30 * minute, 10}, {40 * minute, 5}}
	})
	s.Nodes[0].Home = "chat"
	got, _ := watched(t, s, func(w *World) [3]int64 {
		v := w.Services()[0]
		return [3]int64{v.On(0), v.On(1), v.On(2)}
	})
	want := map[time.Duration][3]int64{
		0: {2, 2, 1}, 10 * minute: {2, 2, 0}, 20 * minute: {2, 1, 0}, 30 * minute: {2, 0, 0}, 40 * minute: {1, 0, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Between two decisions is a gap, unless a pod has come to wait, or the policy wants to be
// asked.
func TestGap(t *testing.T) {
	s := shop(1, func(s *Service) { s.Load = Curve{{0, 0}, {20 * minute, 10}, {21 * minute, 15}, {23 * minute, 10}} })
	s.Gap = 10 * minute
	s.Jobs = List([]Job{
		{Name: "a", Flavor: "gpu", Submit: 3 * minute, Pods: 1, UnitsPerPod: 1},
		{Name: "d", Flavor: "gpu", Submit: 22 * minute, Pods: 1, UnitsPerPod: 1},
		{Name: "b", Flavor: "gpu", Submit: 32 * minute, Pods: 1, UnitsPerPod: 1},
		{Name: "c", Flavor: "gpu", Submit: 50 * minute, Pods: 1, UnitsPerPod: 1},
	})
	var asked []time.Duration
	mustRun(t, s, &asker{&asked, 42 * minute})
	want := []time.Duration{
		0, 10 * minute, // a job came at 3:00
		20 * minute, // load rose, and that is a gap after the last one
		21 * minute, // a pod waits
		31 * minute, // a job came at 22:00, and it does not any more
		41 * minute, // a job came at 32:00
		42 * minute, // as was wanted
		52 * minute, // a job came at 50:00
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

// asker notes when it is asked, and wants to be at a moment.
type asker struct {
	asked *[]time.Duration
	at    time.Duration
}

func (*asker) Name() string { return "asker" }

func (a *asker) Decide(w *World) time.Duration {
	*a.asked = append(*a.asked, w.Now())
	return max(a.at-w.Now(), 0)
}
