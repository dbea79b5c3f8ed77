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

// drawTown draws a small cluster with services, jobs and failures. Each call of what it
// returns is the same scenario anew.
func drawTown(t *rapid.T) func() *Scenario {
	pick := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t, name) }
	flavors := []string{"big", "small"}[:pick("flavors", 1, 2)]
	var services []Service
	for i := range pick("services", 0, 3) {
		load := Curve{}
		for at := time.Duration(0); at < 4*time.Hour; at += time.Duration(pick("hold", 1, 90)) * minute {
			value := float64(pick("load", -2, 60))
			if value < 0 {
				value = math.NaN()
			}
			load = append(load, Point{at, value})
		}
		services = append(services, Service{
			Lender: lend.Lender{
				Name: fmt.Sprintf("serving/%d", i), Flavor: rapid.SampledFrom(flavors).Draw(t, "flavor"),
				Owned: int64(pick("owned", 1, 24)), UnitsPerPod: int64(pick("replica", 1, 4)),
			},
			Load: load, Slots: float64(pick("slots", 1, 8)), Target: 0.7,
			ScaleDownAfter: time.Duration(pick("scaleDownAfter", 0, 600)) * time.Second,
			Reload:         time.Duration(pick("reload", 0, 300)) * time.Second,
			Drain:          time.Duration(pick("drain", 0, 300)) * time.Second,
		})
	}
	var nodes []Node
	for i := range pick("nodes", 1, 6) {
		n := Node{Name: fmt.Sprintf("n%d", i)}
		for k, f := range flavors {
			if k == 0 || i == 0 || pick("has", 0, 1) == 1 {
				n.Units = append(n.Units, NodeUnits{f, int64(pick("units", 0, 8))})
			}
		}
		if home := pick("home", -1, len(services)-1); home >= 0 {
			n.Home = services[home].Lender.Name
		}
		nodes = append(nodes, n)
	}
	for i := range services { // what no node has, nobody can want
		if !slices.ContainsFunc(nodes, func(n Node) bool {
			return slices.ContainsFunc(n.Units, func(u NodeUnits) bool { return u.Flavor == services[i].Lender.Flavor })
		}) {
			services[i].Lender.Flavor = flavors[0]
		}
	}
	var jobs []Job
	submit := time.Duration(0)
	for i := range pick("jobs", 0, 25) {
		submit += time.Duration(pick("wait", 0, 20)) * minute
		j := Job{
			Name: fmt.Sprintf("research/%02d", i), Flavor: rapid.SampledFrom(flavors).Draw(t, "flavor"),
			Submit: submit, Duration: time.Duration(pick("duration", 0, 90*60)) * time.Second,
			Pods: int64(pick("pods", 1, 4)), UnitsPerPod: int64(pick("units", 1, 4)),
			Costs: Costs{
				CheckpointEvery: time.Duration(pick("every", 0, 20)) * minute, SaveTakes: time.Duration(pick("save", 0, 60)) * time.Second,
				Grace: time.Duration(pick("grace", 0, 60)) * time.Second, Exit: time.Duration(pick("exit", 0, 40)) * time.Second,
				Restart: time.Duration(pick("restart", 0, 120)) * time.Second, Reshape: time.Duration(pick("reshape", 0, 20)) * time.Second,
			},
		}
		if pick("elastic", 0, 1) == 1 {
			j.MinPods = int64(pick("least", 1, int(j.Pods)))
		}
		jobs = append(jobs, j)
	}
	s := Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: 400 * time.Hour, Seed: uint64(pick("seed", 0, 1000)),
		Nodes: nodes, Services: services, Sample: 10 * minute, Points: pick("points", 0, 7), Check: true,
		Gap: time.Duration(pick("gap", 0, 120)) * time.Second,
	}
	if pick("fail", 0, 1) == 1 {
		s.Failures = Failures{Every: time.Duration(pick("failures", 20, 60)) * time.Hour, Repair: time.Duration(pick("repair", 0, 600)) * time.Second}
	}
	return func() *Scenario {
		again := s
		again.Jobs = List(jobs)
		return &again
	}
}

// anything does whatever is allowed, until a time, and after that starts jobs wherever they
// fit.
type anything struct {
	draws *Draws
	until time.Duration
}

func (*anything) Name() string { return "anything" }

func (a *anything) Decide(w *World) time.Duration {
	if w.Now() >= a.until {
		firstFit{}.Decide(w)
		return 0
	}
	for _, j := range slices.Clone(w.Running()) {
		a.disturb(w, j)
	}
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
	taken := make([]int64, len(w.Spots()))
	for range pods {
		var can []int32
		for i, s := range w.Spots() {
			if s.Flavor == flavor && s.Free()-taken[i] >= j.UnitsPerPod {
				can = append(can, int32(i))
			}
		}
		if len(can) == 0 {
			return nil, false
		}
		p := Place{can[a.draws.Below(len(can))], int32(a.draws.Below(len(w.Services())+1)) - 1, 1}
		taken[p.Spot] += j.UnitsPerPod
		places = append(places, p)
	}
	return places, true
}

// unitsOfWork sums up, besides the engine, what jobs should do.
func unitsOfWork(s *Scenario) (hours float64, jobs int64) {
	for j, ok, _ := s.Jobs.Next(); ok; j, ok, _ = s.Jobs.Next() {
		hours += time.Duration(j.all()).Hours() * float64(j.UnitsPerPod)
		jobs++
	}
	return hours, jobs
}

// Whatever a policy does, the laws hold, no unit-hour is lost or won, and the same gives the
// same.
func TestAnythingThatIsAllowed(t *testing.T) {
	complete := 0
	rapid.Check(t, func(t *rapid.T) {
		town := drawTown(t)
		seed := rapid.Uint64().Draw(t, "policy")
		until := time.Duration(rapid.IntRange(0, 12).Draw(t, "until")) * time.Hour
		play := func() *Result {
			r, err := Run(town(), &anything{NewDraws(seed), until}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := play()
		if one, two := told(t, r), told(t, play()); one != two {
			t.Fatal(cmp.Diff(one, two))
		}
		work, jobs := unitsOfWork(town())
		if r.Submitted != jobs || r.Queueing.Count() != jobs || r.JCT.Count() != jobs {
			t.Fatalf("of %d jobs %d were submitted, %d queued, %d ended", jobs, r.Submitted, r.Queueing.Count(), r.JCT.Count())
		}
		if r.Finished != jobs { // some fit nowhere
			return
		}
		complete++
		held := r.Own + r.Lent
		if spent := work + r.RolledBack + r.Restarting + r.Stopping + r.LostToFailures; math.Abs(held-spent) > 1e-6*max(held, 1) {
			t.Fatalf("jobs held %v unit-hours, of which %v were work and the rest of %v was lost", held, work, spent)
		}
	})
	if complete == 0 {
		t.Error("in no scenario did all jobs end")
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
