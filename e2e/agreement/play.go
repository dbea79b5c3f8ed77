package agreement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/sim/product"
)

// sample is how often the load and the replicas are looked at: the curve of one is already
// what the broker heard when it decided, and that of the other is followed at once.
const sample = 10 * time.Millisecond

// Play is the day in the simulator. What each job costs the programs is drawn, by the seed,
// from what jobs cost them in the lab.
func (d *Day) Play(seed uint64) (Outcome, error) {
	s := d.scenario(rand.New(rand.NewPCG(seed, 0)))
	var b booked
	loans := 0
	options := product.Options{
		Every: d.Interval, Relend: d.Interval, StableWindow: sample, PanicWindow: sample,
		Seen: func(in lend.Snapshot, plan lend.Plan) {
			b.follow(in.Now, &plan)
			for i := range plan.Actions {
				if plan.Actions[i].Kind == lend.ActionLend {
					loans++
				}
			}
		},
	}
	r, err := sim.Run(s, &paced{product.New(d.Policy, options), d.Moments}, nil)
	if err != nil {
		return Outcome{}, fmt.Errorf("playing the day: %w", err)
	}
	return Outcome{
		LentGPUHours: d.hours(&b, s.Start.Add(d.Length)), EvictedPods: int(r.EvictedPods), Reclaims: int(r.Evictions), Loans: loans, JobsFinished: int(r.Finished),
	}, nil
}

// paced decides at given moments, and at no others.
type paced struct {
	sim.Policy
	moments []time.Duration
}

func (p *paced) Decide(w *sim.World) time.Duration {
	due := false
	for len(p.moments) > 0 && p.moments[0] <= w.Now() {
		p.moments, due = p.moments[1:], true
	}
	if due {
		p.Policy.Decide(w)
	}
	if len(p.moments) == 0 {
		return 0
	}
	return p.moments[0] - w.Now()
}

func (d *Day) scenario(r *rand.Rand) *sim.Scenario {
	jobs := make([]sim.Job, 0, len(d.Jobs))
	for i := range d.Jobs {
		jobs = append(jobs, d.job(&d.Jobs[i], r))
	}
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Length: d.Length, Seed: 1, Sample: sample,
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
func (d *Day) job(j *Job, r *rand.Rand) sim.Job {
	turnover, start, leave := draw(r, d.Turnover), draw(r, d.Start), draw(r, d.Leave)
	later := func(t time.Duration) time.Duration { return max(t+leave, time.Millisecond) }
	out := sim.Job{
		Name: j.Name, Tenant: j.Tenant, Queue: j.Queue, Priority: j.Priority, Submit: j.Submit,
		Duration: max(j.Lasts+turnover, time.Millisecond), Flavor: d.Flavor, Pods: j.Pods, UnitsPerPod: j.PerPod,
		Costs: sim.Costs{CheckpointEvery: j.Checkpoint, Grace: later(j.Grace), Exit: later(j.Exit), Restart: max(start, 0)},
	}
	if j.Exit <= j.Grace {
		out.SaveTakes = out.Exit
	}
	return out
}

func draw(r *rand.Rand, of []time.Duration) time.Duration { return of[r.IntN(len(of))] }

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
