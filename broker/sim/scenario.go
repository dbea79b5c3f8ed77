package sim

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Scenario is all that a run depends on. Times are since Start.
type Scenario struct {
	Start time.Time
	// Length of what is measured, Warmup included, of which nothing is: jobs that are
	// submitted in it, and what is held in it, count for nothing. After Length, no more jobs
	// are taken, and the run goes on until those that count have ended, Drain at most.
	Length, Warmup, Drain time.Duration
	// Seed of all that is drawn.
	Seed uint64

	Nodes    []Node        // by Name
	Cohorts  []lend.Cohort // by Name
	Tenants  []lend.Tenant // by Name
	Queues   []lend.Queue  // by Name; each tenant's jobs name theirs
	Services []Service     // by Lender.Name
	Jobs     Jobs
	Failures Failures

	// Sample is how often load is looked at and services are scaled; 0 is 15 s.
	Sample time.Duration
	// Gap is the least time between two decisions, unless an online pod waits; 0 is none.
	Gap time.Duration
	// Points is in how many equal parts of the time from Warmup to Length the result's
	// series is told; 0 is none.
	Points int
}

// Node is a machine with units of one or more flavors.
type Node struct {
	Name  string
	Units []NodeUnits // by Flavor
	// Home is the service whose replicas prefer the node; empty: nobody's.
	Home string
}

// NodeUnits is what a node has of a flavor.
type NodeUnits struct {
	Flavor string
	Count  int64
}

// Service is an online service. Of Lender, what is a rule or a size counts, not what a
// snapshot says of a moment.
type Service struct {
	Lender lend.Lender
	// Load in requests in flight over all replicas, and Slots, how many a replica serves at
	// once.
	Load  Curve
	Slots float64
	// Target is the share of its slots for which a replica is meant, by which its
	// autoscaler goes; ScaleDownAfter is for how long fewer must have been enough. Least
	// replicas are always wanted, at least as many as Lender.Owned allows at most.
	Target         float64
	ScaleDownAfter time.Duration
	Least          int64
	// Replicas, if it has points, is what is wanted instead.
	Replicas Curve
	// Reload is from a replica's start on a node until it serves; Drain how long one that is
	// scaled down still holds its units.
	Reload, Drain time.Duration
}

// Most replicas that the service's units allow.
func (s *Service) Most() int64 { return s.Lender.Owned / max(s.Lender.UnitsPerPod, 1) }

// Job is a training job, one gang of equal pods.
type Job struct {
	// Name is namespace/name, and no other job's.
	Name, Tenant, Queue string
	Priority            int32
	// Submit is when it arrives, Duration how long it works on all its pods undisturbed.
	Submit, Duration  time.Duration
	Flavor            string
	Pods, UnitsPerPod int64
	// MinPods is with how few of them it can go on; 0: it stops whole.
	MinPods int64
	Costs
}

// Units of the whole gang.
func (j *Job) Units() int64 { return j.Pods * j.UnitsPerPod }

// Costs is what it costs a job to be disturbed. Zero is none.
type Costs struct {
	// CheckpointEvery is how often it saves its work; 0: never.
	CheckpointEvery time.Duration
	// SaveTakes is how long it takes to save work when it is asked to stop; 0: it does not. If
	// its grace is shorter, it tries in vain until that is over.
	SaveTakes time.Duration
	// Grace is how long its pods may take to stop, if the lender does not allow less.
	Grace time.Duration
	// Exit is how long its pods take to stop where nothing is saved.
	Exit time.Duration
	// Restart is from every start but the first until it works, Reshape from a change of
	// its number of pods.
	Restart, Reshape time.Duration
}

// Jobs is a stream of jobs in the order of Submit.
type Jobs interface {
	// Next returns the next job; ok is false after the last. A stream that cannot go on
	// gives an error.
	Next() (j Job, ok bool, err error)
}

// List is a stream of jobs that are all there. Each run needs its own.
func List(jobs []Job) Jobs { return &list{jobs} }

type list struct{ left []Job }

func (l *list) Next() (Job, bool, error) {
	if len(l.left) == 0 {
		return Job{}, false, nil
	}
	j := l.left[0]
	l.left = l.left[1:]
	return j, true, nil
}

// Failures of nodes, whole ones. The zero Failures are none.
type Failures struct {
	// Every is the mean time between failures of one node, Repair how long it is away.
	Every, Repair time.Duration
}

// Validate says what of a scenario cannot be played.
func (s *Scenario) Validate() error {
	switch {
	case s.Length <= 0:
		return fmt.Errorf("length: is %s, must be above 0", s.Length)
	case s.Warmup < 0 || s.Warmup >= s.Length:
		return fmt.Errorf("warmup: is %s, must be at least 0 and below length (%s)", s.Warmup, s.Length)
	case s.Drain < 0 || s.Sample < 0 || s.Gap < 0:
		return fmt.Errorf("drain, sample, gap: are %s, %s, %s, must be at least 0", s.Drain, s.Sample, s.Gap)
	case s.Jobs == nil:
		return fmt.Errorf("jobs: must be given")
	case s.Failures.Every < 0 || s.Failures.Repair < 0:
		return fmt.Errorf("failures: must be at least 0")
	}
	seen := map[string]bool{}
	for i, n := range s.Nodes {
		if n.Name == "" || seen[n.Name] {
			return fmt.Errorf("nodes[%d].name: is %q, must be given and no other node's", i, n.Name)
		}
		seen[n.Name] = true
		for _, u := range n.Units {
			if u.Flavor == "" || u.Count < 0 {
				return fmt.Errorf("nodes[%d].units: %q has %d, must have a flavor and at least 0", i, u.Flavor, u.Count)
			}
		}
	}
	for i := range s.Services {
		if err := s.Services[i].validate(); err != nil {
			return fmt.Errorf("services[%d] (%s): %w", i, s.Services[i].Lender.Name, err)
		}
	}
	return nil
}

func (s *Service) validate() error {
	switch l := &s.Lender; {
	case l.Owned < 1 || l.UnitsPerPod < 1:
		return fmt.Errorf("owned, unitsPerPod: are %d, %d, must be at least 1", l.Owned, l.UnitsPerPod)
	case len(s.Replicas) == 0 && (!(s.Slots > 0) || !(s.Target > 0 && s.Target <= 1)):
		return fmt.Errorf("slots, target: are %v, %v, must be above 0, and target at most 1", s.Slots, s.Target)
	case len(s.Load) == 0:
		return fmt.Errorf("load: must be given")
	case s.Reload < 0 || s.Drain < 0 || s.ScaleDownAfter < 0:
		return fmt.Errorf("reload, drain, scaleDownAfter: must be at least 0")
	}
	return nil
}
