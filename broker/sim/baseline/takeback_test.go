package baseline

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// many are jobs of one unit.
func many(n int) (jobs []sim.Job) {
	for i := range n {
		jobs = append(jobs, gang(fmt.Sprintf("job-%02d", i), 0, 1, 1))
	}
	return jobs
}

// What a service grows by within its headroom stops nobody. Beyond it, the headroom is
// restored.
func TestHeadroomIsToGrowInto(t *testing.T) {
	for load, want := range map[float64]int{4: 0, 5: 3} {
		s := village(0, 1, 1, sim.Curve{{At: 0, Value: 2}, {At: 10 * time.Minute, Value: load}}, many(4)...)
		s.Services[0].Lender.Warm = 2
		if evicted, _ := watch(t, "fewest-jobs", s, Past{}, nil); len(evicted) != want {
			t.Errorf("from 2 replicas to %v: stopped %q, want %d jobs", load, evicted, want)
		}
	}
}

// A service with homes for more than it owns lends what it owns, and the rest is the pool's.
func TestNoMoreIsLentThanOwned(t *testing.T) {
	s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}}, gang("a", 0, 1, 8), gang("b", 0, 1, 8))
	s.Services[0].Lender.Owned = 8
	most := int64(0)
	_, r := watch(t, "fewest-jobs", s, Past{}, func(w *sim.World) { most = max(most, w.Services()[0].Lent) })
	if most != 8 || math.Round(r.Own) != 8 {
		t.Errorf("%d units were lent of 8, and %v unit-hours were in the pool, want 8", most, r.Own)
	}
}

// A replica that found its home lent stands in the pool, and stays there. Then jobs may
// have its home.
func TestWhoIsAwayLeavesItsHome(t *testing.T) {
	short := gang("short", 0, 1, 8)
	short.Duration = 5 * time.Minute
	s := village(1, 1, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, short, gang("long", 0, 1, 8), gang("next", 2*time.Hour, 1, 8))
	evicted, r := watch(t, "fewest-jobs", s, Past{}, nil)
	if len(evicted) > 0 || r.Finished != 3 || r.QueueingMean > 0 {
		t.Errorf("stopped %q, %d of 3 finished, waited %v s", evicted, r.Finished, r.QueueingMean)
	}
}

// A job that comes as units are asked back does not get the free part of them.
func TestFreePartIsKept(t *testing.T) {
	for _, name := range []string{"fewest-jobs", "stock-preemption"} {
		s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}, {At: 30 * time.Minute, Value: 0}}, gang("half", 0, 1, 4), gang("other", 10*time.Minute, 1, 4))
		evicted, _ := watch(t, name, s, Past{}, nil)
		if want := []string{"half"}; !slices.Equal(evicted, want) {
			t.Errorf("%s: stopped %q, want %q", name, evicted, want)
		}
	}
}

// Units that a replica is about to leave are not asked of a job.
func TestLeavingReplicasCount(t *testing.T) {
	s := village(0, 2, 8, sim.Curve{{At: 0, Value: 1}, {At: 10 * time.Minute, Value: 0}, {At: 10*time.Minute + 15*time.Second, Value: 1}}, gang("a", 0, 1, 8))
	s.Services[0].Drain = 25 * time.Second
	evicted, r := watch(t, "fewest-jobs", s, Past{}, nil)
	if len(evicted) > 0 || r.OnlineWaited != 1 {
		t.Errorf("stopped %q, %d pods waited, want nobody and 1", evicted, r.OnlineWaited)
	}
}

// Where more is wanted than there can be, as much as there can be is taken back.
func TestAsMuchAsThereIs(t *testing.T) {
	s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 3}}, gang("a", 0, 1, 8), gang("b", 0, 1, 8))
	s.Services[0].Lender.Owned = 24
	evicted, _ := watch(t, "fewest-jobs", s, Past{}, nil)
	if want := []string{"a", "b"}; !slices.Equal(evicted, want) {
		t.Errorf("stopped %q, want %q", evicted, want)
	}
}

// What comes free on another's account counts: a gang that stops for one service leaves a
// half of the other's node, and who has the other half is asked at once.
func TestWhatComesFreeCounts(t *testing.T) {
	s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, gang("gang", 0, 3, 4), gang("half", 0, 1, 4))
	s.Services[0].Lender.Owned = 8
	s.Services = append(s.Services, s.Services[0])
	s.Services[1].Lender.Name = "serving/code"
	s.Nodes[1].Home = "serving/code"
	evicted, r := watch(t, "fewest-jobs", s, Past{}, nil)
	if want := []string{"gang", "half"}; !slices.Equal(evicted, want) {
		t.Errorf("stopped %q, want %q", evicted, want)
	}
	if got := r.OnlineWait.Quantile(1); got > 6*time.Second {
		t.Errorf("a pod waited %s, jobs take 5 s to go", got)
	}
}

// Who finds another's replica in its home takes back what that one lends.
func TestWhoseHomeIsTaken(t *testing.T) {
	for _, name := range []string{"fewest-jobs", "stock-preemption"} {
		s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, gang("job", 0, 1, 8))
		s.Services[0].Lender.Owned = 8
		s.Services = append(s.Services, s.Services[0])
		s.Services[1].Lender.Name = "serving/code"
		s.Services[1].Load = sim.Curve{{At: 0, Value: 0}, {At: 20 * time.Minute, Value: 1}}
		s.Nodes[1].Home = "serving/code"
		evicted, r := watch(t, name, s, Past{}, nil)
		if want := []string{"job"}; !slices.Equal(evicted, want) || r.OnlineWait.Quantile(1) > 6*time.Second {
			t.Errorf("%s: stopped %q, want %q; a pod waited %s", name, evicted, want, r.OnlineWait.Quantile(1))
		}
	}
}

// What was shed is given back when there is room again.
func TestShrunkJobsGrow(t *testing.T) {
	for name, want := range map[string]int64{"least-loss": 0, "lyra-victims": 0, "oracle": 0, "random": 1} {
		j := gang("job", 0, 8, 1)
		j.MinPods = 4
		s := village(0, 1, 1, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 2}, {At: 20 * time.Minute, Value: 0}}, j)
		_, r := watch(t, name, s, Past{}, nil)
		if r.Evictions != want || (r.ShedPods > 0) == (want > 0) {
			t.Errorf("%s: %d stops, %d pods shed", name, r.Evictions, r.ShedPods)
		}
		// Ten minutes with 6 of 8 pods cost 2.5.
		if got := time.Duration(r.JCTMean) * time.Second; want == 0 && (got < 62*time.Minute || got > 64*time.Minute) {
			t.Errorf("%s: the job took %s, want about 62m30s", name, got)
		}
	}
}

// Chance is fair: it is drawn anew each time.
func TestRandomIsDrawnAnew(t *testing.T) {
	var load sim.Curve
	for i := range 40 {
		load = append(load, sim.Point{At: time.Duration(i) * 20 * time.Minute, Value: float64(i % 2)})
	}
	jobs := many(8)
	for i := range jobs {
		jobs[i].Duration, jobs[i].CheckpointEvery = 20*time.Hour, time.Minute
	}
	evicted, _ := watch(t, "random", village(0, 1, 1, load, jobs...), Past{}, nil)
	if distinct := len(slices.Compact(slices.Clone(evicted))); len(evicted) < 15 || distinct < 5 {
		t.Errorf("%d stops were of %d jobs of 8", len(evicted), distinct)
	}
}

// A job that gives up pods and is then stopped gives all it holds, once.
func TestDeskCountsOnce(t *testing.T) {
	j := gang("a", 0, 8, 1)
	j.MinPods, j.Exit, j.Grace = 2, time.Hour, time.Hour
	s := village(1, 0, 1, nil, j)
	var d desk
	_, err := sim.Run(s, acting(func(w *sim.World) {
		d.open(w)
		d.world.Start(w.Waiting()[0], []sim.Place{{Spot: 0, Lender: sim.Nobody, Pods: 8}})
		job := w.Running()[0]
		d.shed(job, []sim.Place{{Spot: 0, Lender: sim.Nobody, Pods: 3}}, time.Hour)
		if c := candidate(&d, job); d.coming[0] != 3 || len(c.Grants) != 1 || c.Grants[0].Count != 5 {
			t.Errorf("after it gave up 3 of 8 pods: %d come free, it can give %v", d.coming[0], c.Grants)
		}
		if d.open(w); d.coming[0] != 3 {
			t.Errorf("looked at anew: %d come free, want 3", d.coming[0])
		}
		if d.stop(job, time.Hour); d.coming[0] != 8 {
			t.Errorf("after it was stopped: %d come free, want 8", d.coming[0])
		}
		if d.open(w); d.coming[0] != 8 || len(d.going) != 1 {
			t.Errorf("looked at anew: %d come free of %d jobs, want 8 of 1", d.coming[0], len(d.going))
		}
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// Loans that ended count no more against a borrowing limit.
func TestLoansAreSwept(t *testing.T) {
	limit := int64(8)
	s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}}, gang("a", 0, 1, 8), gang("b", 0, 1, 8), gang("c", 0, 1, 8))
	s.Tenants = []lend.Tenant{{Name: "research", Quotas: []lend.Quota{{Flavor: "gpu", BorrowingLimit: &limit}}}, {Name: "serving"}}
	s.Queues = []lend.Queue{{Name: "research/default", Tenant: "research"}}
	r := play(t, "fewest-jobs", s)
	if r.Finished != 3 || r.QueueingMean != 3600 {
		t.Errorf("%d of 3 finished, waited %v s, want 3600", r.Finished, r.QueueingMean)
	}
}
