package baseline

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// watched is a policy with somebody who looks on after each decision.
type watched struct {
	sim.Policy
	look func(w *sim.World)
}

func (p watched) Decide(w *sim.World) time.Duration {
	again := p.Policy.Decide(w)
	p.look(w)
	return again
}

// village is a service on some nodes of 8 units with a load, in pods of a size, beside a
// pool, with the jobs of one tenant that has no quota.
func village(pool, home int, per int64, load sim.Curve, jobs ...sim.Job) *sim.Scenario {
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: day, Drain: day, Check: true,
		Services: []sim.Service{{
			Lender: lend.Lender{Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: int64(home) * 8, UnitsPerPod: per, MaxGrace: 30 * time.Second},
			Load:   load, Slots: 1, Target: 1, Reload: 20 * time.Second, Drain: time.Second,
		}},
	}
	for i := range pool + home {
		n := sim.Node{Name: fmt.Sprintf("node-%d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}}
		if i >= pool {
			n.Home = "serving/chat"
		}
		s.Nodes = append(s.Nodes, n)
	}
	if s.Jobs = sim.List(jobs); home == 0 {
		s.Services = nil
	}
	return s
}

// gang is a job of an hour that takes 5 seconds to go.
func gang(name string, submit time.Duration, pods, units int64) sim.Job {
	return sim.Job{
		Name: "research/" + name, Tenant: "research", Queue: "research/default", Flavor: "gpu",
		Submit: submit, Duration: time.Hour, Pods: pods, UnitsPerPod: units, Costs: sim.Costs{Grace: time.Minute, Exit: 5 * time.Second},
	}
}

// watch plays a scenario, and tells which jobs were stopped, and how often.
func watch(t *testing.T, name string, s *sim.Scenario, past Past, look func(w *sim.World)) (evicted []string, r *sim.Result) {
	t.Helper()
	p, err := New(name, past)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int32{}
	r, err = sim.Run(s, watched{p, func(w *sim.World) {
		for _, j := range slices.Concat(w.Waiting(), w.Running()) {
			times[j.Name] = j.Evictions
		}
		if look != nil {
			look(w)
		}
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range times {
		for range n {
			evicted = append(evicted, strings.TrimPrefix(name, "research/"))
		}
	}
	slices.Sort(evicted)
	return evicted, r
}

// At 10 minutes a service wants one pod of 8 units. Its two nodes are lent: one to a job of
// 8 units, the other to two of 4.
func TestWhoStops(t *testing.T) {
	for name, want := range map[string][]string{
		"fewest-jobs":      {"wide"},
		"exhaustive":       {"late", "late-too"},
		"stock-preemption": {"wide"},
		"pools-apart":      nil,
		"quota-cron":       {"late", "late-too"},
	} {
		t.Run(name, func(t *testing.T) {
			wide := gang("wide", 0, 1, 8)
			s := village(0, 2, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, wide, gang("late", 9*time.Minute, 1, 4), gang("late-too", 9*time.Minute, 1, 4))
			got, r := watch(t, name, s, idlePast(s), nil)
			if !slices.Equal(got, want) {
				t.Errorf("stopped %q, want %q", got, want)
			}
			if grace := 30 * time.Second; r.OnlineWait.Above(grace) > 0 {
				t.Errorf("the pod waited longer than %s", grace)
			}
		})
	}
}

// idlePast is a day before the scenario in which nothing was wanted.
func idlePast(s *sim.Scenario) Past {
	p := Past{From: -day, Services: slices.Clone(s.Services)}
	for i := range p.Services {
		p.Services[i].Load = sim.Curve{{At: -day, Value: 0}}
	}
	return p
}

// Stock preemption stops a gang whole for one of its pods; what it held elsewhere is free
// for whoever comes first, and training takes what services leave idle.
func TestStockPreemptionBreaksGangs(t *testing.T) {
	s := village(0, 4, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, gang("gang", 0, 4, 8))
	got, r := watch(t, "stock-preemption", s, Past{}, nil)
	if want := []string{"gang"}; !slices.Equal(got, want) || r.EvictedPods != 4 {
		t.Errorf("stopped %q, %d pods, want %q and 4 pods", got, r.EvictedPods, want)
	}
}

// A job's own grace counts where nobody limits it.
func TestStockPreemptionWaitsForGrace(t *testing.T) {
	long := gang("long", 0, 1, 8)
	long.Grace, long.Exit = 10*time.Minute, 10*time.Minute
	for name, want := range map[string]time.Duration{"stock-preemption": 10 * time.Minute, "fewest-jobs": 30 * time.Second} {
		s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}}, long)
		_, r := watch(t, name, s, Past{}, nil)
		if got := r.OnlineWait.Quantile(1); got < want*98/100 || got > want*102/100 {
			t.Errorf("%s: the pod waited %s, want %s", name, got, want)
		}
	}
}

// The cron lends in its hours only, even if the service is idle all day: yesterday it was
// busy from 8 to 20.
func TestQuotaCronKeepsItsHours(t *testing.T) {
	var jobs []sim.Job
	for i := range 48 {
		jobs = append(jobs, gang(fmt.Sprintf("job-%02d", i), time.Duration(i)*30*time.Minute, 1, 8))
	}
	s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}}, jobs...)
	past := idlePast(s)
	past.Services[0].Load = sim.Curve{{At: -day, Value: 0}, {At: -16 * time.Hour, Value: 1}, {At: -4 * time.Hour, Value: 0}}
	seen := map[bool]bool{}
	_, r := watch(t, "quota-cron", s, past, func(w *sim.World) {
		if w.Now() >= s.Length {
			return
		}
		hour := w.Now() / time.Hour
		open, lent := hour < 7 || hour >= 20, false
		for _, j := range w.Running() {
			lent = lent || j.Phase == sim.Running
		}
		if seen[lent] = true; lent && !open {
			t.Fatalf("at %s something is lent", w.Now())
		}
	})
	if !seen[true] || r.Lent < 10 {
		t.Errorf("lent %v unit-hours", r.Lent)
	}
}

// What was never wanted yesterday is lent for ever, and nothing of it is taken back, even
// if the service wants it.
func TestStaticSplitNeverTakesBack(t *testing.T) {
	hold := gang("hold", 0, 1, 8)
	hold.Duration = 12 * time.Hour
	s := village(0, 3, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 3}}, hold, gang("next", 0, 1, 8))
	past := idlePast(s)
	past.Services[0].Load = sim.Curve{{At: -day, Value: 2}}
	got, r := watch(t, "static-split", s, past, func(w *sim.World) {
		if lent := w.Services()[0].Lent; lent > 8 {
			t.Fatalf("%d units are lent, only 8 were never wanted", lent)
		}
	})
	if len(got) > 0 || r.OnlineWait.Quantile(1) < 10*time.Hour {
		t.Errorf("stopped %q, a pod waited %s", got, r.OnlineWait.Quantile(1))
	}
}

// Units that were taken back are for the pod that waits: a job that is as small as the
// first part of them must not take it while the rest is not yet free.
func TestTakenBackIsKept(t *testing.T) {
	quick, slow := gang("quick", 0, 1, 4), gang("slow", 0, 1, 4)
	quick.Exit, slow.Exit = time.Second, 20*time.Second
	for _, name := range []string{"fewest-jobs", "random", "exhaustive", "stock-preemption", "quota-cron"} {
		s := village(0, 1, 8, sim.Curve{{At: 0, Value: 0}, {At: 10 * time.Minute, Value: 1}, {At: 30 * time.Minute, Value: 0}}, quick, slow, gang("small", 5*time.Minute, 1, 4))
		_, r := watch(t, name, s, idlePast(s), nil)
		if got := r.OnlineWait.Quantile(1); got > 21*time.Second {
			t.Errorf("%s: the pod waited %s, the slower job takes 20 s to go", name, got)
		}
		if r.Evictions != 2 || r.Finished != 3 {
			t.Errorf("%s: %d evictions, %d jobs finished, want 2 and 3", name, r.Evictions, r.Finished)
		}
	}
}

// The headroom is lent to nobody; when it is used up, it is restored.
func TestIdleLeavesHeadroom(t *testing.T) {
	s := village(0, 2, 1, sim.Curve{{At: 0, Value: 4}}, func() (jobs []sim.Job) {
		for i := range 16 {
			jobs = append(jobs, gang(fmt.Sprintf("job-%02d", i), 0, 1, 1))
		}
		return jobs
	}()...)
	s.Services[0].Lender.Warm = 3
	most := int64(0)
	watch(t, "fewest-jobs", s, Past{}, func(w *sim.World) { most = max(most, w.Services()[0].Lent) })
	if want := int64(16 - 4 - 3); most != want {
		t.Errorf("%d units were lent, want %d", most, want)
	}
}

// dice draw what rapid would draw too small too often: a scenario in which nothing happens
// tests nothing.
type dice struct{ *rand.Rand }

func roll[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) from(least, most int) int { return least + d.IntN(most-least+1) }

// hamlets are random small scenarios in which every job fits the pool.
func hamlets(t *rapid.T, failures bool) (*sim.Scenario, []sim.Job) {
	d := dice{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
	pool := d.from(1, 3)
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: 26 * time.Hour, Drain: 60 * day, Check: true, Sample: time.Minute,
		Seed: d.Uint64(), Gap: roll(d, 0, 0, time.Minute),
	}
	if failures {
		s.Failures = sim.Failures{Every: 3 * day, Repair: time.Hour}
	}
	for i := range pool {
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("a-%d", i), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}})
	}
	for i := range roll(d, 0, 1, 2, 2) {
		d.service(s, fmt.Sprintf("serving/s%d", i))
	}
	var jobs []sim.Job
	for i := range d.from(0, 30) {
		jobs = append(jobs, d.job(jobs, pool, failures, fmt.Sprintf("job-%02d", i)))
	}
	if d.IntN(2) == 0 {
		s.Tenants = []lend.Tenant{
			{Name: "research", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: int64(pool) * 5}}},
			{Name: "serving", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: 72}}},
			{Name: "vision", Cohort: "lab", Quotas: []lend.Quota{{Flavor: "gpu", Nominal: int64(pool) * 3}}},
		}
		s.Cohorts = []lend.Cohort{{Name: "lab"}}
		s.Queues = []lend.Queue{{Name: "research/default", Tenant: "research", Backfill: true}}
	}
	s.Jobs = sim.List(jobs)
	return s, jobs
}

// service adds one that wants nothing at the end, with a home.
func (d dice) service(s *sim.Scenario, name string) {
	home, per := d.from(1, 3), roll[int64](d, 1, 2, 4, 8)
	for k := range home {
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("%s-%d", strings.ReplaceAll(name, "/", "-"), k), Units: []sim.NodeUnits{{Flavor: "gpu", Count: 8}}, Home: name})
	}
	var load sim.Curve
	for at := time.Duration(0); at < s.Length; at += roll(d, time.Minute, 20*time.Minute, 2*time.Hour) {
		load = append(load, sim.Point{At: at, Value: roll(d, 0, 0, nan, float64(d.from(0, home*8)), float64(home*8))})
	}
	s.Services = append(s.Services, sim.Service{
		Lender: lend.Lender{Name: name, Tenant: "serving", Flavor: "gpu", Owned: int64(home) * 8, UnitsPerPod: per, MaxGrace: 30 * time.Second, Warm: int64(d.from(0, 4))},
		Load:   append(load, sim.Point{At: s.Length, Value: 0}), Slots: float64(per), Target: 1,
		ScaleDownAfter: 5 * time.Minute, Reload: 20 * time.Second, Drain: time.Second,
	})
}

// job is one that comes after the others. It can end between two failures, if it saves
// nothing, or if nodes fail.
func (d dice) job(before []sim.Job, pool int, failures bool, name string) sim.Job {
	j := gang(name, 0, 1, roll[int64](d, 1, 1, 2, 4, 8, int64(d.from(1, 8))))
	if n := len(before); n > 0 {
		j.Submit = before[n-1].Submit + roll(d, 0, time.Minute, time.Hour)
	}
	j.Duration = roll(d, 0, time.Minute, time.Hour, 9*time.Hour)
	j.Pods = int64(d.from(1, pool*int(8/j.UnitsPerPod)))
	if d.IntN(2) == 0 {
		j.MinPods = int64(d.from(1, int(j.Pods)))
	}
	j.Costs = sim.Costs{
		CheckpointEvery: roll(d, 0, 10*time.Minute), SaveTakes: roll(d, 0, 10*time.Second),
		Grace: roll(d, 0, 20*time.Second, time.Hour), Exit: roll(d, 0, 5*time.Second, time.Hour), Restart: 40 * time.Second, Reshape: 5 * time.Second,
	}
	if failures || j.CheckpointEvery == 0 {
		j.Duration = min(j.Duration, time.Hour)
	}
	return j
}

// On random scenarios no act is illegal, the laws hold, and all jobs end; equal scenarios
// give equal results.
func TestPoliciesKeepTheLaws(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			runs, busy := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				s, jobs := hamlets(t, rapid.Bool().Draw(t, "failures"))
				var first []byte
				for range 2 {
					again := *s
					again.Jobs = sim.List(jobs)
					r := result(t, name, &again)
					if r.Finished != r.Submitted {
						t.Fatalf("%d of %d jobs finished", r.Finished, r.Submitted)
					}
					text, err := json.Marshal(r)
					if err != nil {
						t.Fatal(err)
					}
					if first != nil && string(first) != string(text) {
						t.Fatalf("equal scenarios, different results:\n%s\n%s", first, text)
					}
					first = text
					if runs++; r.Evictions+r.ShedPods > 0 {
						busy++
					}
				}
			})
			if never := name == "pools-apart" || name == "static-split"; never != (busy == 0) {
				t.Errorf("in %d of %d runs somebody was stopped", busy, runs)
			}
		})
	}
}

// The oracle never makes a pod wait, since it begins to take back before the pod is there.
func TestOracleNeverLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := hamlets(t, false)
		s.Gap = 0
		if r := result(t, "oracle", s); r.OnlineWaited > 0 {
			t.Fatalf("%d of %d pods waited, up to %s", r.OnlineWaited, r.OnlinePods, r.OnlineWait.Quantile(1))
		}
	})
}

// What is lent comes back within the grace that the service allows, where no node fails.
func TestNobodyWaitsLongerThanGrace(t *testing.T) {
	for _, name := range []string{"quota-cron", "random", "fewest-jobs", "exhaustive", "least-loss", "oracle"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s, _ := hamlets(t, false)
				// Pods of one size: of a small one's place a large one cannot make use.
				for i := range s.Services {
					s.Services[i].Lender.UnitsPerPod, s.Services[i].Slots = s.Services[0].Lender.UnitsPerPod, s.Services[0].Slots
				}
				if r := result(t, name, s); r.OnlineWait.Above(31*time.Second) > 0 {
					t.Fatalf("a pod waited %s", r.OnlineWait.Quantile(1))
				}
			})
		})
	}
}

// result plays a scenario with its first day as the past.
func result(t *rapid.T, name string, s *sim.Scenario) *sim.Result {
	p, err := New(name, Before(s, day))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Run(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
