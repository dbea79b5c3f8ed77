package lend

import (
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/mig"
)

// Snapshot is the cluster as one decision sees it. All slices are sorted by
// their key (Name, UID or the order stated), so that equal clusters give equal
// snapshots.
type Snapshot struct {
	// Now is the moment of the decision.
	Now time.Time `json:"now"`
	// Epoch is the leader's epoch; it is stamped on everything that follows.
	Epoch int64 `json:"epoch"`

	Nodes []Node `json:"nodes"` // by Name
	// Boards are what the nodes' GPUs in MIG mode can be cut into, by Board.
	Boards []mig.Geometry `json:"boards,omitempty"`
	// Flavors are those that are slices of GPUs, by Name. A flavor that is not
	// listed is counted in units of its own.
	Flavors []Flavor `json:"flavors,omitempty"`
	Cohorts []Cohort `json:"cohorts,omitempty"` // by Name
	Tenants []Tenant `json:"tenants"`           // by Name
	Limits  []Limit  `json:"limits,omitempty"`  // by Name
	Queues  []Queue  `json:"queues"`            // by Name
	Lenders []Lender `json:"lenders"`           // by Name
	Jobs    []Job    `json:"jobs"`              // waiting jobs, by UID
	Loans   []Loan   `json:"loans"`             // open loans, by Name
}

// Node is a machine and its units. A node that exists is listed as long as it has
// units of a flavor, can have them again or is named in a grant: one that is not
// listed is gone for good, and so are the pods on it.
type Node struct {
	Name string `json:"name"`
	// Schedulable is false for a node that is cordoned, not ready or gone: its
	// free units are neither lent nor counted on.
	Schedulable bool `json:"schedulable"`
	// Silent: the node is not ready, so that nobody confirms the end of a pod on it.
	Silent bool `json:"silent,omitempty"`
	// Units per flavor, by Flavor.
	Units []Units `json:"units"`
	// Cards are its GPUs in MIG mode whose instances are known, by UUID; Reshapes the
	// changes of their layouts that are wanted or in force, by ID.
	Cards    []Card    `json:"cards,omitempty"`
	Reshapes []Reshape `json:"reshapes,omitempty"`
	// Unlendable says why nothing new is lent on the node although its units are there;
	// empty: it may be.
	Unlendable string `json:"unlendable,omitempty"`
	// LendLast orders the nodes for lending: those with a lower value first. It is above
	// 0 on the nodes that a service prefers for its own pods.
	LendLast int32 `json:"lendLast,omitempty"`
}

// Units is what one node has of one flavor. Units on loan are not in here: they
// are in Loans.
type Units struct {
	Flavor string `json:"flavor"`
	// Capacity is what the node can hand out (its allocatable): 0 for a while when its
	// kubelet or device plugin starts anew. While that is for a change of its cards, it is
	// what the node's agent sees, if that is more.
	Capacity int64 `json:"capacity"`
	// Broken is what the node has besides and cannot hand out (its capacity less
	// its allocatable). Pods may still hold such units.
	Broken int64 `json:"broken,omitempty"`
	// Online is held by pods of lenders, terminating ones included.
	Online int64 `json:"online"`
	// Leaving is the part of Online whose pods are terminating.
	Leaving int64 `json:"leaving,omitempty"`
	// Other is held by pods that are neither a lender's nor a loan's. It never
	// comes free by anything Ebbtide does.
	Other int64 `json:"other,omitempty"`
	// Pinned is what loans must leave of it for services, held or not.
	Pinned int64 `json:"pinned,omitempty"`
	// Promised is what pods outside lenders and loans will hold that the scheduler has
	// nominated to the node; others may still hold it.
	Promised int64 `json:"promised,omitempty"`
}

// Flavor is a MIG profile of GPUs, or draws on the quota of another flavor's, or both: of
// such a flavor each pod has one unit. One that draws on no other's quota is lent in the
// shape that it has, and neither made of others nor made into them.
type Flavor struct {
	Name    string `json:"name"`
	SliceOf string `json:"sliceOf"` // empty: its quota is its own
	// Compute slices of 7 and memory slices of 8 that one unit takes.
	Compute int64 `json:"compute"`
	Memory  int64 `json:"memory"`
	// Profile is the MIG profile that the flavor's resource names, such as 1g.5gb.
	Profile string `json:"profile,omitempty"`
}

// Cohort is a group of tenants and cohorts. One that a tenant or a cohort names and
// that is not listed is a root without a quota of its own.
type Cohort struct {
	Name   string  `json:"name"`
	Parent string  `json:"parent,omitempty"`
	Weight *int64  `json:"weight,omitempty"` // nil is 1
	Quotas []Quota `json:"quotas,omitempty"` // by Flavor
}

// Limit is something besides quota that jobs use up: what is left of a queue's
// limit, or of a namespace's ResourceQuota.
type Limit struct {
	Name string `json:"name"`
	// Left is how much more may be used; Most is the whole of it.
	Left int64 `json:"left"`
	Most int64 `json:"most"`
	// Reason and Message are the verdict about a job that does not fit.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Draw is what a job uses of a Limit while it holds units.
type Draw struct {
	Limit  string `json:"limit"`
	Amount int64  `json:"amount"`
}

// Tenant is a team and its quota.
type Tenant struct {
	Name   string `json:"name"`
	Cohort string `json:"cohort,omitempty"`
	Weight *int64 `json:"weight,omitempty"` // nil is 1
	// Quotas per flavor, by Flavor.
	Quotas []Quota `json:"quotas"`
	// Borrowed is what the tenant held beyond its nominal quota lately, by Flavor.
	Borrowed []History `json:"borrowed,omitempty"`
}

// History is an exponentially weighted average of units held over time, in
// thousandths of a unit.
type History struct {
	Flavor string `json:"flavor"`
	Milli  int64  `json:"milli"`
}

// Quota is what a tenant was promised of one flavor, in units. A nil limit is
// no limit.
type Quota struct {
	Flavor  string `json:"flavor"`
	Nominal int64  `json:"nominal"`
	// Held by the tenant's pods that are neither a lender's nor within a loan, those
	// included that wait and have room in it.
	Held           int64  `json:"held,omitempty"`
	BorrowingLimit *int64 `json:"borrowingLimit,omitempty"`
	LendingLimit   *int64 `json:"lendingLimit,omitempty"`
}

// Queue is where a tenant's jobs wait.
type Queue struct {
	// Name is namespace/name.
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	FIFO   bool   `json:"fifo,omitempty"`
	// FairShare queues of a tenant take turns: who used less for its weight first.
	FairShare bool  `json:"fairShare,omitempty"`
	Weight    int64 `json:"weight,omitempty"` // of a FairShare queue; 0 is 1
	// Used is what the queue's jobs held lately, own quota included, over all flavors.
	Used     int64 `json:"used,omitempty"` // thousandths of a unit, as History.Milli
	Backfill bool  `json:"backfill"`
	Paused   bool  `json:"paused,omitempty"`
	// Drain also asks back what the queue's jobs hold.
	Drain bool `json:"drain,omitempty"`
}

// Job is a suspended training job that waits to be admitted.
type Job struct {
	// Name is namespace/name.
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Tenant string `json:"tenant"`
	// Queue is namespace/name.
	Queue string `json:"queue"`
	// Problem says why the job cannot be admitted whatever is free.
	Problem  *Problem  `json:"problem,omitempty"`
	Priority int32     `json:"priority"`
	Created  time.Time `json:"created"`
	// Queued is since when the job waits without a break; zero is Created. A job that
	// was admitted and taken back waits anew, but keeps its place, which is by Created.
	Queued time.Time `json:"queued,omitzero"`
	// Draws on the Limits, by Limit.
	Draws []Draw `json:"draws,omitempty"`
	// Flavor, number of pods and units of each: the gang.
	Flavor      string `json:"flavor"`
	Pods        int64  `json:"pods"`
	UnitsPerPod int64  `json:"unitsPerPod"`
	// MinPods is how many of them an elastic job can go on with; 0 if it stops whole.
	MinPods int64 `json:"minPods,omitempty"`
	// Grace is how long its pods would take to stop; 0 is not known.
	Grace time.Duration `json:"grace,omitempty"`
	// Attempt is the number of times the job has been admitted before.
	Attempt int32 `json:"attempt"`
}

// Grant is a number of units of one flavor on one node. An empty Lender means
// the borrower's own nominal quota, CohortLender quota that its cohort leaves unused.
type Grant struct {
	Lender string `json:"lender,omitempty"`
	Node   string `json:"node"`
	Flavor string `json:"flavor"`
	Count  int64  `json:"count"`
}

// CohortLender is the lender that a grant of a cohort's unused quota names. No
// LendingPolicy's namespace/name looks like it.
func CohortLender(cohort string) string { return cohortPrefix + cohort }

const cohortPrefix = "cohort:"

// IsCohortLender reports whether a grant's lender is a cohort, and no service.
func IsCohortLender(lender string) bool { return strings.HasPrefix(lender, cohortPrefix) }

// Loan is an open loan: its units are held from the moment the Loan exists until
// it is returned, whether or not its pods are bound yet.
type Loan struct {
	// Name is namespace/name.
	Name     string  `json:"name"`
	Job      string  `json:"job"`
	JobUID   string  `json:"jobUID"`
	Borrower string  `json:"borrower"`
	Queue    string  `json:"queue"`
	Priority int32   `json:"priority"`
	Attempt  int32   `json:"attempt"`
	Pods     int64   `json:"pods"`
	Grants   []Grant `json:"grants"` // by Node, then Lender; without what was shed
	// MinPods is how many of its Pods an elastic job can go on with, each of UnitsPerPod
	// units; 0 if it stops whole.
	MinPods     int64 `json:"minPods,omitempty"`
	UnitsPerPod int64 `json:"unitsPerPod,omitempty"`
	// ShedOrder has the nodes of its pods in the order in which they go when it gets
	// smaller, for jobs that keep the pods of the lowest indexes; it ends where no more can
	// go. Empty: any pods can go.
	ShedOrder []string `json:"shedOrder,omitempty"`
	// Shedding is what it is giving back, part of Grants, until ReclaimBy; Pods are without
	// the pods for it. ShedLive counts those that still exist; ShedKilled: they were told
	// to die at once.
	Shedding   []Grant `json:"shedding,omitempty"`
	ShedLive   int64   `json:"shedLive,omitempty"`
	ShedKilled bool    `json:"shedKilled,omitempty"`
	// Since is when it was granted; Checkpoint the last time its work was saved,
	// never before Since and never after Now.
	Since      time.Time `json:"since"`
	Checkpoint time.Time `json:"checkpoint"`
	// CheckpointNote says what of the job's words about it cannot be true.
	CheckpointNote string `json:"checkpointNote,omitempty"`
	// Grace is how long its pods may take to stop.
	Grace time.Duration `json:"grace"`

	// Reclaiming: asked back; ReclaimBy is when what is left is killed.
	Reclaiming bool      `json:"reclaiming,omitempty"`
	ReclaimBy  time.Time `json:"reclaimBy,omitzero"`
	ReclaimID  string    `json:"reclaimID,omitempty"`
	// ReclaimedFor is the UID of the job that the units were asked back for.
	ReclaimedFor string `json:"reclaimedFor,omitempty"`
	// Preempted: the scheduler took it back by itself; its pods are going.
	Preempted bool `json:"preempted,omitempty"`
	// Killed: its pods were already told to die at once.
	Killed bool `json:"killed,omitempty"`
	// Quarantined: its pods did not go although their time was over long ago.
	Quarantined bool `json:"quarantined,omitempty"`
	// Live counts pods of the job that still exist and have not finished.
	Live int64 `json:"live"`
	// Bound is how many of Pods do not wait for a node: all of them, except those
	// that exist without one, and all while none exists.
	Bound int64 `json:"bound,omitempty"`
	// Finished: the job succeeded, failed or is gone.
	Finished bool `json:"finished,omitempty"`
}
