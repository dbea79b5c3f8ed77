package town

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
)

// Config says what a town is like.
type Config struct {
	Seed uint64
	// Owned GPUs of each service, in whole nodes.
	Owned int64
	// Pool is how large the training pool is, as a share of what the tenants' jobs of the
	// first week would hold on average if none waited.
	Pool float64
	// Length of the town's time, Warmup included; jobs that count may end within Drain more.
	Length, Warmup, Drain time.Duration
	Costs                 Costs
	Terms                 Terms
	// Holes: loads are unknown where the recording has a hole; else a straight line is
	// drawn over it.
	Holes bool
	// Small is the share of the jobs of one GPU that need a third of it at most. With Slices,
	// the GPUs of m-small are cut into thirds, of which its replicas and those jobs take one
	// each; without, both take whole ones.
	Small  float64
	Slices bool
	// Sample is how often loads are looked at; 0 is a minute.
	Sample time.Duration
	// Times is how often each job of the trace is submitted, shifted within an hour, and how
	// many times as large the pool is; 0 is 1.
	Times float64
}

func (c *Config) sample() time.Duration { return cmp.Or(c.Sample, Look) }

// Default is the town of the main experiment: it learns in the first Week, and the second
// counts.
func Default() Config {
	return Config{
		Seed: 1, Owned: 160, Pool: 0.5, Length: 2 * Week, Warmup: Week, Drain: Week,
		Costs: DefaultCosts(), Terms: DefaultTerms(),
	}
}

// Terms are the rules that services' owners set in their policies.
type Terms struct {
	LowWater, HighWater float64
	Dwell, Cooldown     time.Duration
	MaxGrace            time.Duration
	// Warm units are kept free above the need, and Refill says when they are asked back.
	Warm   int64
	Refill lend.Refill
	// Step is the part of what is owned that may be lent more in each Every.
	Step  float64
	Every time.Duration
	// Quantile is how often the headroom for growth is to suffice.
	Quantile float64
}

// DefaultTerms are the defaults of a LendingPolicy.
func DefaultTerms() Terms {
	return Terms{
		LowWater: 0.3, HighWater: 0.7, Dwell: 5 * time.Minute, Cooldown: 5 * time.Minute, MaxGrace: time.Minute,
		Warm: 1, Refill: lend.RefillAlways, Step: 0.1, Every: 2 * time.Minute, Quantile: 0.99,
	}
}

// Town is a cluster and the time that is played in it.
type Town struct {
	sim.Scenario
	// Jobs of the scenario's stream, of which each run needs its own.
	Jobs []sim.Job
	// Pool is how many GPUs are nobody's home.
	Pool int64
	// Owners and Borrowers, for those who tell of the town.
	Owners    []Owner
	Borrowers []Borrower
}

// Owner is a service, where its load is from, and what of the recording is said twice.
type Owner struct {
	Name, Recording, Repeats string
	Owned, Replica           int64
}

// Borrower is a tenant with jobs. Demand is how many GPUs they would hold on average if
// none waited, by the week of their submission.
type Borrower struct {
	Name    string
	Nominal int64
	Jobs    [2]int
	Demand  [2]float64
}

// GPUs of all nodes.
func (t *Town) GPUs() int64 { return int64(len(t.Nodes)) * PerNode }

// Play makes the scenario of one run.
func (t *Town) Play() *sim.Scenario {
	s := t.Scenario
	s.Jobs = sim.List(t.Jobs)
	return &s
}

// Reload is how long a replica takes until it serves: the median of a base model's load
// (GenTD26).
const Reload = 22700 * time.Millisecond

// begin is a Monday.
var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// New makes a town.
func New(c Config) (*Town, error) {
	jobs, err := taken(begins, begins+c.Length, tenants)
	if err != nil {
		return nil, err
	}
	jobs = c.multiplied(jobs)
	t := &Town{Jobs: c.played(jobs), Scenario: sim.Scenario{
		Start: begin, Length: c.Length, Warmup: c.Warmup, Drain: c.Drain, Seed: c.Seed, Sample: c.sample(), Gap: c.sample(), Points: 7 * 24,
	}}
	for i := range sources {
		if err := t.serve(&c, &sources[i], uint64(i)); err != nil {
			return nil, fmt.Errorf("service %s: %w", sources[i].name, err)
		}
	}
	t.pool(&c, jobs)
	t.sort()
	return t, nil
}

// sort by name what a scenario has so.
func (t *Town) sort() {
	slices.SortFunc(t.Nodes, func(a, b sim.Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Tenants, func(a, b lend.Tenant) int { return cmp.Compare(a.Name, b.Name) })
}

// serve adds a service, its nodes and its tenant.
func (t *Town) serve(c *Config, s *source, stream uint64) error {
	r, err := s.record()
	if err != nil {
		return err
	}
	if !c.Holes {
		r = r.bridged()
	}
	load, err := r.load(c.Owned/s.perPod, c.Length+c.Drain, roll(c.Seed, 1<<32+stream))
	if err != nil {
		return err
	}
	lender, perReplica, units := c.Terms.lender(s.name+"/"+s.name, s.name, c.Owned, s.perPod), float64(slots), sim.NodeUnits{Flavor: flavor, Count: PerNode}
	if c.Slices && s.name == sliced {
		lender, perReplica, units = c.Terms.lender(lender.Name, s.name, thirds*c.Owned, 1), perReplica/thirds, sim.NodeUnits{Flavor: slice, Count: thirds * PerNode}
		lender.Flavor = slice
	}
	t.Services = append(t.Services, sim.Service{
		Lender: lender, Load: load, Slots: perReplica, Target: Target, ScaleDownAfter: 5 * time.Minute, Least: 1, Reload: Reload, Drain: exit,
	})
	t.Owners = append(t.Owners, Owner{s.name, s.is, s.repeats, c.Owned, s.perPod})
	t.nodes(s.name, c.Owned/PerNode, lender.Name, units)
	t.Tenants = append(t.Tenants, tenant(s.name, lender.Flavor, lender.Owned))
	return nil
}

func (t *Terms) lender(name, tenant string, owned, perPod int64) lend.Lender {
	return lend.Lender{
		Name: name, Tenant: tenant, Flavor: flavor, Owned: owned, UnitsPerPod: perPod,
		LowWater: t.LowWater, HighWater: t.HighWater, Dwell: t.Dwell, Cooldown: t.Cooldown, MaxGrace: t.MaxGrace, Warm: t.Warm, Refill: t.Refill,
		Steps: lend.Steps{LendUnits: int64(math.Ceil(t.Step * float64(owned))), LendEvery: t.Every},
	}
}

// pool adds the training pool, and gives it to the tenants in proportion to what they ask
// for in the first week.
func (t *Town) pool(c *Config, jobs []job) {
	all := 0.0
	for _, name := range tenants {
		b := Borrower{Name: name}
		for i := range b.Demand {
			from := time.Duration(i) * Week
			b.Jobs[i], b.Demand[i] = demand(jobs, name, from, min(from+Week, c.Length))
		}
		all += b.Demand[0]
		t.Borrowers = append(t.Borrowers, b)
	}
	nodes := int64(math.Round(c.Pool * all / PerNode))
	t.Pool = nodes * PerNode
	t.nodes("pool", nodes, "", sim.NodeUnits{Flavor: flavor, Count: PerNode})
	for i := range t.Borrowers {
		b := &t.Borrowers[i]
		b.Nominal = int64(float64(t.Pool) * b.Demand[0] / all)
		one := tenant(b.Name, flavor, b.Nominal)
		if c.Slices {
			one.Quotas = append(one.Quotas, lend.Quota{Flavor: slice})
		}
		t.Tenants = append(t.Tenants, one)
		t.Queues = append(t.Queues, lend.Queue{Name: b.Name + "/default", Tenant: b.Name, Backfill: true})
	}
}

func (t *Town) nodes(name string, n int64, home string, units sim.NodeUnits) {
	for i := range n {
		t.Nodes = append(t.Nodes, sim.Node{Name: fmt.Sprintf("%s-%04d", name, i), Units: []sim.NodeUnits{units}, Home: home})
	}
}

// tenant of the one cohort there is.
func tenant(name, flavor string, nominal int64) lend.Tenant {
	return lend.Tenant{Name: name, Cohort: "town", Quotas: []lend.Quota{{Flavor: flavor, Nominal: nominal}}}
}
