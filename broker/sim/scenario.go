package sim

import (
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

	Nodes []Node // by Name
	// Flavors are those that are slices of GPUs, or draw on another's quota, by Name. Of
	// those each pod has one unit.
	Flavors  []lend.Flavor
	Cohorts  []lend.Cohort // by Name
	Tenants  []lend.Tenant // by Name
	Queues   []lend.Queue  // by Name; each tenant's jobs name theirs
	Services []Service     // by Lender.Name
	Jobs     Jobs
	Failures Failures

	// Sample is how often load is looked at and services are scaled; 0 is 15 s.
	Sample time.Duration
	// ReshapeTakes is how long a change of a card's layout takes, and its undoing; 0 is 15 s.
	ReshapeTakes time.Duration
	// Gap is the least time between two decisions, unless an online pod waits; 0 is none.
	Gap time.Duration
	// Points is in how many equal parts of the time from Warmup to Length the result's
	// series is told; 0 is none.
	Points int
	// Check has the laws of the world checked after every decision, which takes time in
	// proportion to the cluster; a law that is broken ends the run with an error.
	Check bool
}

// Node is a machine with units of one or more flavors.
type Node struct {
	Name  string
	Units []NodeUnits // by Flavor
	// Cards are its GPUs in MIG mode, by UUID. What they are cut into is not in Units.
	Cards []Card
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
	// replicas are always wanted, and never more than Lender.Owned allows.
	Target         float64
	ScaleDownAfter time.Duration
	Least          int64
	// Replicas, if it has points, is what is wanted instead, whatever the load. Slots may
	// then be 0, which is one.
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
	// Submit is when it arrives, Duration how long it works on all its pods undisturbed. A
	// job that is larger than the cluster is no error: it waits.
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
