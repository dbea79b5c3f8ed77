package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
	"github.com/ebbtide/ebbtide/e2e/traces"
)

const (
	flavor  = gang.DefaultFlavor
	perNode = 8
	// clusters of the trace, each of which is a tenant.
	clusters = 10
	// most is the share of all its replicas' slots that a service's load takes at its peak,
	// and perReplica is how many a replica has.
	most, perReplica = 0.6, 64
	day              = 24 * time.Hour
)

// services are the recorded loads, and the GPUs of a replica, by name.
var services = []struct {
	name   string
	perPod int64
}{{"azure-code", 4}, {"azure-conv", 4}, {"deepseek-r1", 8}, {"m-mid", 2}, {"m-small", 1}}

// Town is a cluster and the time that is played in it.
type Town struct {
	// GPUs, in nodes of 8.
	GPUs int64
	// From is where in the trace it begins, Length how long it lasts.
	From, Length time.Duration
	// Copies of each job of the trace; below 1 it is the share of them that is played.
	Copies float64
	// Cluster is the only one whose jobs are played, and then the only tenant beside the
	// services' own; empty: all ten.
	Cluster string
	// Backlog is how many jobs wait from the beginning on: the trace's first ones.
	Backlog int
	// Every is the time between two decisions, unless an online pod waits.
	Every time.Duration
}

// costs of stopping a job: those of the middle one of DeepBoot's models (TPDS 2023).
var costs = sim.Costs{CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Exit: 2 * time.Second, Restart: 30 * time.Second}

// Scenario is the town's, for one run.
func (t *Town) Scenario() (*sim.Scenario, error) {
	jobs, err := t.jobs()
	if err != nil {
		return nil, err
	}
	s := &sim.Scenario{
		Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Length: t.Length, Seed: 1, Gap: t.Every, Jobs: jobs,
	}
	nodes := t.GPUs / perNode
	own := max(nodes*9/10/int64(len(services)), 1)
	if err := t.serve(s, own); err != nil {
		return nil, err
	}
	left := max(nodes-own*int64(len(services)), 1)
	addNodes(s, "pool", left, "")
	names := t.clusters()
	for _, name := range names {
		s.Tenants = append(s.Tenants, tenant(name, left*perNode/int64(len(names))))
		s.Queues = append(s.Queues, lend.Queue{Name: gang.Queue(name), Tenant: name, Backfill: true})
	}
	for i := range s.Services {
		s.Tenants = append(s.Tenants, tenant(s.Services[i].Lender.Tenant, own*perNode))
	}
	slices.SortFunc(s.Tenants, func(a, b lend.Tenant) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Nodes, func(a, b sim.Node) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// clusters are those of the trace whose jobs are played.
func (t *Town) clusters() (names []string) {
	if t.Cluster != "" {
		return []string{t.Cluster}
	}
	for i := range clusters {
		names = append(names, fmt.Sprintf("cluster%02d", i+1))
	}
	return names
}

// serve adds the services, each on nodes of its own. Their recordings are played again and
// again, with their holes.
func (t *Town) serve(s *sim.Scenario, nodes int64) error {
	loads, err := traces.Loads()
	if err != nil {
		return err
	}
	for _, v := range services {
		for i := range loads {
			l := &loads[i]
			if l.Service != v.name {
				continue
			}
			end := l.End()
			scale := most * perReplica * float64(nodes*perNode/v.perPod) / l.Curve.Max(0, end)
			name := v.name + "/" + v.name
			s.Services = append(s.Services, sim.Service{
				Lender: lend.Lender{
					Name: name, Tenant: v.name, Flavor: flavor, Owned: nodes * perNode, UnitsPerPod: v.perPod,
					LowWater: 0.3, HighWater: 0.7, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute, Warm: 1,
					Steps: lend.Steps{LendUnits: nodes * perNode / 10, LendEvery: 2 * time.Minute},
				},
				Load: l.Curve.Scaled(scale).Repeated(end, end, t.Length), Slots: perReplica, Target: 0.7, Least: 1,
				ScaleDownAfter: 5 * time.Minute, Reload: 23 * time.Second, Drain: 2 * time.Second,
			})
			addNodes(s, v.name, nodes, name)
		}
	}
	if len(s.Services) != len(services) {
		return fmt.Errorf("traces have %d of the %d services", len(s.Services), len(services))
	}
	return nil
}

func addNodes(s *sim.Scenario, name string, n int64, home string) {
	for i := range n {
		s.Nodes = append(s.Nodes, sim.Node{Name: fmt.Sprintf("%s-%05d", name, i), Units: []sim.NodeUnits{{Flavor: flavor, Count: perNode}}, Home: home})
	}
}

func tenant(name string, nominal int64) lend.Tenant {
	return lend.Tenant{Name: name, Cohort: "town", Quotas: []lend.Quota{{Flavor: flavor, Nominal: nominal}}}
}
