package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// firstFit starts jobs in order, each where there is room, and never stops one.
type firstFit struct{}

func (firstFit) Name() string { return "first fit" }

func (firstFit) Decide(w *World) time.Duration {
	waiting := append([]*JobState(nil), w.Waiting()...)
	for _, j := range waiting {
		var places []Place
		left := j.Pods
		flavor, _ := w.Flavor(j.Flavor)
		for i := range w.Spots() {
			if w.Spots()[i].Flavor != flavor {
				continue
			}
			if n := min(w.Spots()[i].Lendable()/j.UnitsPerPod, left); n > 0 {
				places, left = append(places, Place{int32(i), Nobody, n}), left-n
			}
		}
		if left == 0 {
			w.Start(j, places)
		}
	}
	return 0
}

func town(jobs int) *Scenario {
	s := &Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: 24 * time.Hour, Drain: 48 * time.Hour, Points: 24,
		Services: []Service{{
			Lender: lend.Lender{Name: "serving/chat", Tenant: "serving", Flavor: "gpu", Owned: 160, UnitsPerPod: 8},
			Load:   Curve{{0, 1000}, {8 * time.Hour, 200}, {16 * time.Hour, 1000}}, Slots: 100, Target: 0.7,
			ScaleDownAfter: 5 * time.Minute, Reload: 30 * time.Second, Drain: 2 * time.Second,
		}},
	}
	for i := range 40 {
		home := ""
		if i < 20 {
			home = "serving/chat"
		}
		s.Nodes = append(s.Nodes, Node{Name: fmt.Sprintf("node-%03d", i), Units: []NodeUnits{{"gpu", 8}}, Home: home})
	}
	var list []Job
	for i := range jobs {
		list = append(list, Job{
			Name: fmt.Sprintf("research/job-%05d", i), Tenant: "research", Queue: "research/default", Flavor: "gpu",
			Submit: time.Duration(i) * time.Minute, Duration: time.Duration(1+i%5) * time.Hour, Pods: 1, UnitsPerPod: int64(1 + i%8),
		})
	}
	s.Jobs = List(list)
	return s
}

func TestADay(t *testing.T) {
	r, err := Run(town(500), firstFit{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Finished != 500 || r.Submitted != 500 {
		t.Errorf("%d of %d jobs finished", r.Finished, r.Submitted)
	}
}
