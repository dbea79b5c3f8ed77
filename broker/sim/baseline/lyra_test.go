package baseline

import (
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// calm is a load that never changes.
func calm(replicas float64) sim.Curve { return sim.Curve{{At: 0, Value: replicas}} }

// surge is a load that comes at ten minutes.
func surge(load float64) sim.Curve {
	return sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: load}}
}

// starts tells when each job first ran.
func starts(into map[string]time.Duration) func(w *sim.World) {
	return func(w *sim.World) {
		for _, j := range w.Running() {
			if _, ok := into[j.Name]; !ok {
				into[j.Name] = j.First
			}
		}
	}
}

func TestLyraLendsServers(t *testing.T) {
	for name, tt := range map[string]struct {
		home int
		per  int64
		load float64
		want int64
	}{
		"idle servers but one":               {home: 3, per: 8, want: 16},
		"one that is used in part is not":    {home: 3, per: 1, load: 3, want: 8},
		"none for a service that needs one":  {home: 1, per: 8, want: 0},
		"no headroom for one with its most":  {home: 2, per: 8, load: 2, want: 0},
		"headroom for what it can ask still": {home: 2, per: 8, load: 1, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			var jobs []sim.Job
			for i := range 24 {
				jobs = append(jobs, gang(string(rune('a'+i)), time.Minute, 1, 1))
			}
			most := int64(0)
			watch(t, "lyra", village(3, tt.home, tt.per, calm(tt.load), jobs...), Past{}, func(w *sim.World) {
				most = max(most, w.Services()[0].Lent)
			})
			if most > 0 {
				t.Errorf("%d units were lent, and there was room in the pool", most)
			}
			most = 0
			watch(t, "lyra", village(0, tt.home, tt.per, calm(tt.load), jobs...), Past{}, func(w *sim.World) {
				most = max(most, w.Services()[0].Lent)
			})
			if most != tt.want {
				t.Errorf("%d units were lent, want %d", most, tt.want)
			}
		})
	}
}

// At 10 minutes a service wants replicas; one server of its own is not lent.
func TestLyraTakesServersBack(t *testing.T) {
	elastic := gang("elastic", 0, 8, 1)
	elastic.MinPods = 2
	for name, tt := range map[string]struct {
		pool, home int
		per        int64
		load       float64
		jobs       []sim.Job
		want       []string
		shed       int64
	}{
		"into the headroom": {0, 3, 8, 1, []sim.Job{gang("a", 0, 2, 8)}, nil, 0},
		// A gang on two servers counts half on each; one stop empties both.
		"least share of jobs": {0, 4, 8, 2, []sim.Job{gang("single", 0, 1, 8), gang("wide", 0, 2, 8)}, []string{"wide"}, 0},
		// The ninth replica needs a server, and the headroom another.
		"all on a server": {0, 4, 1, 9, []sim.Job{gang("a", 0, 1, 4), gang("b", 0, 1, 4), gang("c", 0, 1, 8), gang("d", 0, 1, 8)}, []string{"c", "d"}, 0},
		// What the elastic job needs is in the pool, its extra workers are on the lent server.
		"elastic jobs shrink": {1, 2, 8, 2, []sim.Job{gang("rigid", 0, 1, 6), elastic}, nil, 6},
	} {
		t.Run(name, func(t *testing.T) {
			got, r := watch(t, "lyra", village(tt.pool, tt.home, tt.per, surge(tt.load), tt.jobs...), Past{}, nil)
			if !slices.Equal(got, tt.want) || r.ShedPods != tt.shed {
				t.Errorf("stopped %q and shed %d pods, want %q and %d", got, r.ShedPods, tt.want, tt.shed)
			}
			if r.OnlineWait.Quantile(1) > 6*time.Second {
				t.Errorf("a pod waited %s, jobs take 5 s to go", r.OnlineWait.Quantile(1))
			}
		})
	}
}

// One takes servers back when replicas wait, the other before that.
func TestLyraAhead(t *testing.T) {
	for name, want := range map[string]int64{"lyra": 0, "lyra-ahead": 1} {
		_, r := watch(t, name, village(0, 3, 8, surge(1), gang("a", 0, 1, 8), gang("b", 0, 1, 8)), Past{}, nil)
		if r.Evictions != want || r.OnlineWaited > 0 {
			t.Errorf("%s: %d evictions, %d pods waited, want %d and none", name, r.Evictions, r.OnlineWaited, want)
		}
	}
}

func TestLyraStartsTheShortest(t *testing.T) {
	long, short, elastic := gang("long", time.Minute, 1, 8), gang("short", 2*time.Minute, 1, 8), gang("elastic", 3*time.Minute, 8, 1)
	long.Duration, short.Duration = 3*time.Hour, 90*time.Minute
	// On its least, the elastic job takes two hours, and an hour on all it gets.
	elastic.MinPods = 4
	at := map[string]time.Duration{}
	watch(t, "lyra", village(1, 0, 8, nil, gang("first", 0, 1, 8), long, short, elastic), Past{}, starts(at))
	for name, want := range map[string]time.Duration{"short": 60 * time.Minute, "elastic": 150 * time.Minute, "long": 210 * time.Minute} {
		if got := at["research/"+name]; got != want {
			t.Errorf("%s started at %s, want %s", name, got, want)
		}
	}
}

// What jobs need goes to the pool though a lent server is fuller, extra workers to lent
// servers though the pool has room.
func TestLyraPlaces(t *testing.T) {
	long := gang("long", 0, 1, 4)
	long.Duration = 3 * time.Hour
	elastic := gang("elastic", 0, 8, 1)
	elastic.MinPods = 2
	for name, tt := range map[string]struct {
		jobs []sim.Job
		at   time.Duration
		lent int64
	}{
		"least to the pool":      {[]sim.Job{gang("full", 0, 1, 8), long, gang("next", 2*time.Hour, 1, 4)}, 2 * time.Hour, 4},
		"extra to a lent server": {[]sim.Job{elastic}, 0, 6},
	} {
		t.Run(name, func(t *testing.T) {
			lent := int64(-1)
			watch(t, "lyra", village(1, 2, 8, calm(0), tt.jobs...), Past{}, func(w *sim.World) {
				if w.Now() == tt.at {
					lent = w.Services()[0].Lent
				}
			})
			if lent != tt.lent {
				t.Errorf("%d units are lent, want %d", lent, tt.lent)
			}
		})
	}
}

// Holes of 5 and 8 have room for 4, 5 and 4 units, but not if the shortest is first.
func TestLyraPlacesTheLargestFirst(t *testing.T) {
	at := map[string]time.Duration{}
	jobs := []sim.Job{gang("three", 0, 1, 3), gang("a", time.Minute, 1, 4), gang("b", time.Minute, 1, 5), gang("c", time.Minute, 1, 4)}
	watch(t, "lyra", village(2, 0, 8, nil, jobs...), Past{}, starts(at))
	for _, j := range jobs {
		if at[j.Name] != j.Submit {
			t.Errorf("%s started at %s, want %s", j.Name, at[j.Name], j.Submit)
		}
	}
}

// A job of 2 units is put where one worker must go for it, not two.
func TestLyraDisplacesTheFewest(t *testing.T) {
	wide, narrow := gang("wide", 0, 8, 1), gang("narrow", 0, 2, 1)
	wide.MinPods, narrow.MinPods = 1, 1
	_, r := watch(t, "lyra", village(2, 0, 8, nil, gang("five", 0, 1, 5), wide, narrow, gang("next", 10*time.Minute, 1, 2)), Past{}, nil)
	if r.ShedPods != 1 {
		t.Errorf("%d pods were shed, want 1", r.ShedPods)
	}
}

// Who finds no room does not stand in the way of who is smaller.
func TestRefuge(t *testing.T) {
	onNodes(t, []int64{3, 2, 1}, nil, func(w *sim.World) {
		var d desk
		d.open(w)
		r := newRefuge(&d, anywhere, nil, nil)
		j := &sim.JobState{Job: sim.Job{Flavor: "gpu", UnitsPerPod: 3}}
		for i, tt := range []struct {
			pods int64
			want bool
		}{{3, false}, {2, false}, {1, true}, {1, false}} {
			if got := r.settle(j, tt.pods, 0); got != tt.want {
				t.Errorf("%d: %d pods have room: %t, want %t", i, tt.pods, got, tt.want)
			}
		}
		if want := []int64{0, 2, 1}; !slices.Equal(d.holes.free, want) {
			t.Errorf("holes are %v, want %v", d.holes.free, want)
		}
	})
}

// An elastic job has what nobody needs, and gives it up for one that waits.
func TestLyraDisplacesExtraWorkers(t *testing.T) {
	elastic, next := gang("elastic", 0, 8, 1), gang("next", 10*time.Minute, 1, 6)
	elastic.MinPods = 2
	at := map[string]time.Duration{}
	grown := false
	got, r := watch(t, "lyra", village(1, 0, 8, nil, elastic, next), Past{}, func(w *sim.World) {
		starts(at)(w)
		for _, j := range w.Running() {
			grown = grown || j.At == 8
		}
	})
	if want := 10*time.Minute + 5*time.Second; at["research/next"] != want || !grown || len(got) > 0 || r.ShedPods != 6 {
		t.Errorf("the next job started at %s, want %s; grown: %t; stopped %q; shed %d", at["research/next"], want, grown, got, r.ShedPods)
	}
}

func TestLeastTogether(t *testing.T) {
	j := &sim.JobState{Places: []sim.Place{{Spot: 0, Lender: sim.Nobody, Pods: 1}, {Spot: 1, Lender: 0, Pods: 3}, {Spot: 2, Lender: 1, Pods: 2}}}
	want := []sim.Place{{Spot: 2, Lender: 1, Pods: 2}, {Spot: 1, Lender: 0, Pods: 3}, {Spot: 0, Lender: sim.Nobody, Pods: 1}}
	if got := leastTogether(j, 6); !slices.Equal(got, want) {
		t.Errorf("%v go, want %v", got, want)
	}
	want = []sim.Place{{Spot: 2, Lender: 1, Pods: 2}, {Spot: 1, Lender: 0, Pods: 1}}
	if got := leastTogether(j, 3); !slices.Equal(got, want) {
		t.Errorf("%v go, want %v", got, want)
	}
}

func TestSaved(t *testing.T) {
	for k, want := range map[int64]float64{0: 0, 1: 60, 2: 90, 6: 135} {
		if got := saved(180, 2, k); !near(got, want) {
			t.Errorf("%d workers more than 2 save %v of 180 s, want %v", k, got, want)
		}
	}
}
