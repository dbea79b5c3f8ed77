package town

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/demo/day"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

// mondayNoon is where it is in the recording from which the day's short-term variation is.
const mondayNoon = 36 * time.Hour

// DeepSeekNodes is the published fleet.
const DeepSeekNodes = 278

// DeepSeek is the town of DeepSeek's day: its nodes, a service that wants a replica on each
// node that was published as in use, and the jobs of the main experiment with no pool at
// all, who are always more than there is room for. The published day is played twice, and
// the second counts: the broker has seen one before. Its service's replicas are set to the
// published steps; the load follows them as in the lab's demo (package day).
func DeepSeek(c Config) (*Town, error) {
	steps, err := traces.DeepSeekDay()
	if err != nil {
		return nil, fmt.Errorf("reading DeepSeek's day: %w", err)
	}
	jobs, err := taken(begins, begins+2*Day, tenants)
	if err != nil {
		return nil, err
	}
	const owned = DeepSeekNodes * PerNode
	t := &Town{Jobs: c.played(jobs), Scenario: sim.Scenario{
		Start: begin.Add(12 * time.Hour), Length: 2 * Day, Warmup: Day, Seed: c.Seed, Sample: c.sample(), Points: 24 * 4,
	}}
	rates, err := traces.AzureWeek("conv")
	if err != nil {
		return nil, fmt.Errorf("reading the day's short-term variation: %w", err)
	}
	days, err := day.New(DeepSeekNodes, steps, rates, mondayNoon)
	if err != nil {
		return nil, fmt.Errorf("making DeepSeek's day: %w", err)
	}
	var load, replicas sim.Curve
	for at := time.Duration(0); at < Day; at += Look {
		load = append(load, sim.Point{At: at, Value: days.Load(at) * days.Variation(at) * slots * Target})
	}
	for _, s := range steps {
		replicas = append(replicas, sim.Point{At: s.Start, Value: float64(s.Nodes)})
	}
	lender := c.Terms.lender("deepseek/v3-r1", "deepseek", owned, PerNode)
	t.Services = []sim.Service{{
		Lender: lender, Load: load.Repeated(Day, Day, 3*Day), Replicas: replicas.Repeated(Day, Day, 3*Day), Slots: slots, Target: Target, Least: 1, Reload: Reload, Drain: exit,
	}}
	t.nodes("h800", DeepSeekNodes, lender.Name, sim.NodeUnits{Flavor: flavor, Count: PerNode})
	t.Tenants = append(t.Tenants, tenant("deepseek", flavor, owned))
	for _, name := range tenants {
		t.Tenants = append(t.Tenants, tenant(name, flavor, 0))
		t.Queues = append(t.Queues, lend.Queue{Name: name + "/default", Tenant: name, Backfill: true})
	}
	t.sort()
	return t, nil
}

// Step of the published day: how many nodes the service gave up, or wanted back (negative).
type Step struct {
	At    time.Duration // since the beginning of the day that counts
	For   time.Duration // until the next step
	Nodes int64
	Less  int64
}

// DeepSeekSteps are the steps of the day.
func DeepSeekSteps() ([]Step, error) {
	steps, err := traces.DeepSeekDay()
	if err != nil {
		return nil, fmt.Errorf("reading DeepSeek's day: %w", err)
	}
	var out []Step
	for i, s := range steps {
		before := steps[(i+len(steps)-1)%len(steps)]
		out = append(out, Step{At: s.Start, For: s.Length, Nodes: s.Nodes, Less: before.Nodes - s.Nodes})
	}
	return out, nil
}
