package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// picker draws numbers of a name.
type picker struct{ *rapid.T }

func (t picker) pick(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t.T, name) }

func (t picker) span(name string, most time.Duration) time.Duration {
	return time.Duration(t.pick(name, 0, int(most/time.Second))) * time.Second
}

func (t picker) of(name string, list []string) string { return rapid.SampledFrom(list).Draw(t.T, name) }

// drawTown draws a small cluster with services, jobs and failures, and GPUs that are whole or
// cut. Each call of what it returns is the same scenario anew.
func drawTown(rt *rapid.T) func() *Scenario {
	t := picker{rt}
	flavors := []string{"big", "small"}[:t.pick("flavors", 1, 2)]
	s := Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: 400 * time.Hour, Seed: uint64(t.pick("seed", 0, 1000)),
		Sample: 10 * minute, Points: t.pick("points", 0, 7), Check: true, Gap: t.span("gap", 2*minute), ReshapeTakes: t.span("reshape", minute),
	}
	if t.pick("cards", 0, 1) == 1 {
		s.Flavors = cutFlavors()
		flavors = append(flavors, "z1g", "z2g", "z3g")
	}
	nodes := t.pick("nodes", 2, 6)
	for i := range t.pick("services", 1, 3) {
		s.Services = append(s.Services, t.service(i, flavors))
	}
	for i := range nodes {
		s.Nodes = append(s.Nodes, t.node(i, &s, flavors))
	}
	var jobs []Job
	submit := time.Duration(0)
	for i := range t.pick("jobs", 3, 25) {
		submit += t.span("wait", 20*minute)
		jobs = append(jobs, t.job(i, submit, flavors))
	}
	if t.pick("fail", 0, 1) == 1 {
		s.Failures = Failures{Every: time.Duration(t.pick("failures", 5, 60)) * time.Hour, Repair: t.span("repair", 10*minute)}
	}
	return func() *Scenario {
		again := s
		again.Jobs = List(jobs)
		return &again
	}
}

func (t picker) service(i int, flavors []string) Service {
	load := Curve{}
	for at := time.Duration(0); at < 4*time.Hour; at += time.Duration(t.pick("hold", 1, 90)) * minute {
		value := float64(t.pick("load", -2, 60))
		if value < 0 {
			value = math.NaN()
		}
		load = append(load, Point{at, value})
	}
	s := Service{
		Lender: lend.Lender{
			Name: fmt.Sprintf("serving/%d", i), Flavor: t.of("flavor", flavors),
			Owned: int64(t.pick("owned", 1, 24)), UnitsPerPod: int64(t.pick("replica", 1, 4)),
		},
		Load: load, Slots: float64(t.pick("slots", 1, 8)), Target: 0.7,
		ScaleDownAfter: t.span("scaleDownAfter", 10*minute), Reload: t.span("reload", 5*minute), Drain: t.span("drain", 5*minute),
	}
	if isSlice(s.Lender.Flavor) {
		s.Lender.UnitsPerPod = 1
	}
	return s
}

// node has something of all flavors if it is the first.
func (t picker) node(i int, s *Scenario, flavors []string) Node {
	n := Node{Name: fmt.Sprintf("n%d", i)}
	for _, f := range flavors {
		if !isSlice(f) && (i == 0 || t.pick("has", 0, 1) == 1) {
			n.Units = append(n.Units, NodeUnits{f, int64(t.pick("units", 2, 8))})
		}
	}
	if len(s.Flavors) > 0 {
		for k := range t.pick("cards", int(one(i == 0)), 2) {
			n.Cards = append(n.Cards, t.card(fmt.Sprintf("GPU-%d-%d", i, k)))
		}
	}
	if home := t.pick("home", -1, len(s.Services)-1); home >= 0 {
		n.Home = s.Services[home].Lender.Name
	}
	return n
}

func (t picker) job(i int, submit time.Duration, flavors []string) Job {
	j := Job{
		Name: fmt.Sprintf("research/%02d", i), Flavor: t.of("flavor", flavors),
		Submit: submit, Duration: t.span("duration", 90*minute),
		Pods: int64(t.pick("pods", 1, 4)), UnitsPerPod: int64(t.pick("units", 1, 4)),
		Costs: Costs{
			CheckpointEvery: t.span("every", 20*minute), SaveTakes: t.span("save", minute), Grace: t.span("grace", minute),
			Exit: t.span("exit", 40*time.Second), Restart: t.span("restart", 2*minute), Reshape: t.span("resize", 20*time.Second),
		},
	}
	if isSlice(j.Flavor) {
		j.UnitsPerPod = 1
	}
	if t.pick("elastic", 0, 1) == 1 {
		j.MinPods = int64(t.pick("least", 1, int(j.Pods)))
	}
	return j
}

// anything does whatever is allowed, until a time, and after that starts jobs wherever they
// fit.
type anything struct {
	draws *Draws
	until time.Duration
	world *World
}

func (*anything) Name() string { return "anything" }

func (a *anything) Decide(w *World) time.Duration {
	if a.world = w; w.Now() >= a.until {
		a.undoAll(w)
		firstFit{}.Decide(w)
		return 0
	}
	for _, j := range slices.Clone(w.Running()) {
		a.disturb(w, j)
	}
	a.reshape(w)
	for _, j := range slices.Clone(w.Waiting()) {
		pods := j.Pods
		if j.MinPods > 0 {
			pods = j.MinPods + int64(a.draws.Below(int(j.Pods-j.MinPods+1)))
		}
		if places, ok := a.places(w, j, pods); ok && a.draws.Below(3) > 0 {
			w.Start(j, places)
		}
	}
	return time.Duration(a.draws.Below(20)) * minute
}

func (a *anything) disturb(w *World, j *JobState) {
	grace := time.Duration(a.draws.Below(90)) * time.Second
	switch a.draws.Below(10) {
	case 0:
		w.Stop(j, grace)
	case 1:
		working, _ := takeAway(j.Places, j.Going)
		if j.Phase != Running || j.MinPods == 0 || j.At == j.MinPods {
			return
		}
		p := working[a.draws.Below(len(working))]
		p.Pods = 1 + int64(a.draws.Below(int(min(p.Pods, j.At-j.MinPods))))
		w.Shed(j, []Place{p}, grace)
	case 2:
		if j.Phase != Running || j.MinPods == 0 || j.Held == j.Pods {
			return
		}
		if places, ok := a.places(w, j, 1+int64(a.draws.Below(int(j.Pods-j.Held)))); ok {
			w.Grow(j, places)
		}
	}
}

// places for so many pods, one after the other anywhere.
func (a *anything) places(w *World, j *JobState, pods int64) (places []Place, ok bool) {
	flavor, _ := w.Flavor(j.Flavor)
	taken := map[Place]int64{}
	of := func(p Place) Place { // where places are that take from the same
		if !w.madeFor(p) {
			p.Lender = Nobody
		}
		p.Pods = 0
		return p
	}
	for range pods {
		var can []Place
		for i, s := range w.Spots() {
			for lender := range int32(len(w.Services()) + 1) {
				p := Place{int32(i), lender - 1, 1}
				if s.Flavor == flavor && w.roomFor(j, p)-taken[of(p)] >= j.UnitsPerPod {
					can = append(can, p)
				}
			}
		}
		if len(can) == 0 {
			return nil, false
		}
		p := can[a.draws.Below(len(can))]
		taken[of(p)] += j.UnitsPerPod
		places = append(places, p)
	}
	return places, true
}

// workDone is all that jobs have done, by the scenario and the world at its end, in hours as
// results count them.
func workDone(s *Scenario, w *World) (hours float64, jobs int64) {
	for j, ok, _ := s.Jobs.Next(); ok; j, ok, _ = s.Jobs.Next() {
		size := float64(j.UnitsPerPod)
		if i := slices.IndexFunc(s.Flavors, func(f lend.Flavor) bool { return f.Name == j.Flavor }); i >= 0 {
			size = float64(s.Flavors[i].Compute) / 7
		}
		done := j.all()
		if live := w.byName[j.Name]; live != nil {
			done = live.work.done
		}
		hours += time.Duration(done).Hours() * size
		jobs++
	}
	return hours, jobs
}

// Whatever a policy does, the laws hold, no unit-hour is lost or won, and the same gives the
// same.
func TestAnythingThatIsAllowed(t *testing.T) {
	var all Result
	rapid.Check(t, func(t *rapid.T) {
		town := drawTown(t)
		seed := rapid.Uint64().Draw(t, "policy")
		until := time.Duration(rapid.IntRange(4, 12).Draw(t, "until")) * time.Hour
		play := func() (*Result, *World) {
			p := &anything{draws: NewDraws(seed), until: until}
			r, err := Run(town(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			return r, p.world
		}
		r, w := play()
		again, _ := play()
		if one, two := told(t, r), told(t, again); one != two {
			t.Fatal(cmp.Diff(one, two))
		}
		work, jobs := workDone(town(), w)
		if r.Submitted != jobs || r.Queueing.Count() != jobs || r.JCT.Count() != jobs || r.Finished != jobs-int64(len(w.byName)) {
			t.Fatalf("of %d jobs %d were submitted, %d queued, %d ended, %d finished", jobs, r.Submitted, r.Queueing.Count(), r.JCT.Count(), r.Finished)
		}
		held := r.Own + r.Lent
		if spent := work + r.RolledBack + r.Restarting + r.Stopping + r.LostToFailures; math.Abs(held-spent) > 1e-6*max(held, 1) {
			t.Fatalf("jobs held %v unit-hours, of which %v were work and the rest of %v was lost", held, work, spent)
		}
		all.Finished += r.Finished
		all.Evictions += r.Evictions
		all.ShedPods += r.ShedPods
		all.Reshapes += r.Reshapes
		all.OnlineWaited += r.OnlineWaited
		all.FailedJobs += r.FailedJobs
	})
	t.Logf("%d jobs ended, %d were evicted and %d by failures; %d pods were given up, %d online pods waited, %d cards were reshaped",
		all.Finished, all.Evictions, all.FailedJobs, all.ShedPods, all.OnlineWaited, all.Reshapes)
	if min(all.Finished, all.Evictions, all.ShedPods, all.Reshapes, all.OnlineWaited) == 0 {
		t.Error("of what may happen something never did")
	}
}

// told is all of a result, to the byte.
func told(t *rapid.T, r *Result) string {
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s\n%v\n%v\n%v", data, r.Queueing, r.JCT, r.OnlineWait)
}

// Spots are found as if one looked at all of them.
func TestSpotsAreFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		t := picker{rt}
		w := newWorld(drawTown(rt)())
		for range t.pick("changes", 0, 30) {
			i := t.pick("spot", 0, len(w.spots)-1)
			s := &w.spots[i]
			if s.Cut {
				continue
			}
			s.Down = t.pick("down", 0, 5) == 0
			s.Online = int64(t.pick("online", 0, int(s.Capacity)))
			s.Training = int64(t.pick("training", 0, int(s.Capacity-s.Online)))
			w.rooms.move(int32(i), s)
		}
		for flavor := range int32(len(w.flavors)) {
			for home := range int32(len(w.services) + 1) {
				for units := range int64(9) {
					search(t, w, flavor, home-1, units+1)
				}
			}
		}
	})
}

// search compares what is found with looking at all.
func search(t picker, w *World, flavor, home int32, units int64) {
	var any, at int32 = -1, -1
	var free int64
	for i, s := range w.spots {
		if s.Flavor != flavor {
			continue
		}
		free += s.Free()
		if s.Free() < units {
			continue
		}
		if any < 0 || s.Free() < w.spots[any].Free() {
			any = int32(i)
		}
		if s.Home == home && (at < 0 || s.Free() < w.spots[at].Free()) {
			at = int32(i)
		}
	}
	if got, ok := w.Fullest(flavor, units); ok != (any >= 0) || ok && got != any {
		t.Fatalf("found %d (%t), want %d in %+v", got, ok, any, w.spots)
	}
	if got, ok := w.rooms.home(flavor, home, units); ok != (at >= 0) || ok && got != at {
		t.Fatalf("found %d (%t) at home %d, want %d in %+v", got, ok, home, at, w.spots)
	}
	if got := w.FreeUnits(flavor); got != free {
		t.Fatalf("%d are free, want %d", got, free)
	}
}
