package agreement

import (
	"fmt"
	"math"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// Play is the day in the simulator.
func (d *Day) Play() (Outcome, error) {
	f := &feed{day: d}
	r, err := f.run()
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{
		LentGPUHours: r.Lent * d.Speed, EvictedPods: int(r.EvictedPods), Reclaims: int(r.Evictions), Loans: f.loans, JobsFinished: int(r.Finished),
	}, nil
}

func (d *Day) scenario(length time.Duration, jobs []sim.Job) *sim.Scenario {
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Length: length, Seed: 1, Sample: d.Interval, Gap: d.Gap,
		Cohorts: d.Cohorts, Tenants: d.Tenants, Queues: d.Queues, Jobs: sim.List(jobs),
		Services: []sim.Service{{
			Lender: d.Lender, Load: curve(d.Requests), Slots: d.Slots, Target: d.Policy.TargetUtilization,
			Replicas: curve(d.Replicas), Reload: d.ModelLoad, Drain: d.Drain,
		}},
	}
	for i := range d.Nodes {
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("gpu-%03d", i), Units: []sim.NodeUnits{{Flavor: d.Flavor, Count: d.PerNode}}})
	}
	return s
}

// job saves when it is asked to stop if it exits in time, and is else killed.
func (d *Day) job(j *Job, at time.Duration) sim.Job {
	out := sim.Job{
		Name: j.Name, Tenant: j.Tenant, Queue: j.Queue, Submit: at, Duration: j.Lasts + d.Turnover, Flavor: d.Flavor, Pods: j.Pods, UnitsPerPod: j.PerPod,
		Costs: sim.Costs{CheckpointEvery: j.Checkpoint, Grace: j.Grace + d.Leave, Exit: j.Exit + d.Leave, Restart: d.Start},
	}
	if j.Exit <= j.Grace {
		out.SaveTakes = out.Exit
	}
	return out
}

func curve(points []Point) sim.Curve {
	out := make(sim.Curve, 0, len(points))
	for _, p := range points {
		if p.Unknown {
			p.Value = math.NaN()
		}
		out = append(out, sim.Point{At: p.At, Value: p.Value})
	}
	return out
}
