package lend

import "time"

// ActionKind is what is to be done. The set is closed.
type ActionKind string

const (
	// ActionLend admits a job: it may hold Grants from now on.
	ActionLend ActionKind = "Lend"
	// ActionReclaim asks a loan back: its job is suspended and its pods get their
	// grace.
	ActionReclaim ActionKind = "Reclaim"
	// ActionEvict kills what is left of a loan whose grace has passed.
	ActionEvict ActionKind = "Evict"
	// ActionReturn closes a loan whose units are proven free.
	ActionReturn ActionKind = "Return"
)

// Plan is what to do, and why. Actions are in execution order: returns first,
// then evictions, reclaims, and lends last, so that no prefix of them lends what
// a later one takes away.
type Plan struct {
	Actions []Action `json:"actions"`
	// Lenders is the arithmetic of each lender, by Name.
	Lenders []LenderView `json:"lenders"`
	// Reshapes are the changes of cards' layouts: Undos to do before Actions, Makes after.
	Reshapes []ReshapeAction `json:"reshapes,omitempty"`
	// Scales are the replicas to set, by Lender: only those that change.
	Scales []ScaleTo `json:"scales,omitempty"`
	// Tenants is what quotas say of each tenant and cohort and flavor, by Name (a
	// cohort's is CohortLender), then Flavor.
	Tenants []TenantView `json:"tenants,omitempty"`
	// Cycling are the jobs that are admitted and taken back again and again, by UID.
	Cycling []Cycle `json:"cycling,omitempty"`
	// Waiting is every waiting job in the order in which it was considered.
	Waiting []Place `json:"waiting,omitempty"`
	// Verdicts has one entry for every lender, waiting job and open loan, by
	// Subject, also where nothing is done.
	Verdicts []Verdict `json:"verdicts"`
}

// Action is one step of a Plan. Which fields are set depends on Kind.
type Action struct {
	Kind ActionKind `json:"kind"`
	// Loan is the loan's namespace/name; for ActionLend, the name it will have.
	Loan   string `json:"loan"`
	Job    string `json:"job"`
	JobUID string `json:"jobUID"`
	// Attempt, Grants and MaxGrace belong to ActionLend.
	Attempt  int32         `json:"attempt,omitempty"`
	Grants   []Grant       `json:"grants,omitempty"`
	MaxGrace time.Duration `json:"maxGrace,omitempty"`
	// ReclaimBy, ReclaimID and LostWork belong to ActionReclaim.
	ReclaimBy time.Time `json:"reclaimBy,omitzero"`
	ReclaimID string    `json:"reclaimID,omitempty"`
	// LostWork is the estimated cost in unit-seconds.
	LostWork float64 `json:"lostWork,omitempty"`
	// ReclaimedFor is the UID of the waiting job that the units are for; empty if they
	// are for online services, or for nobody.
	ReclaimedFor string `json:"reclaimedFor,omitempty"`
	// Shed of ActionReclaim is what an elastic job gives back while it goes on; of
	// ActionEvict and ActionReturn, that they are about no more than that. Empty: the
	// whole loan.
	Shed []Grant `json:"shed,omitempty"`
	// Owed is what the reclaim makes room for, the same for all actions with one
	// ReclaimID.
	Owed []Owed `json:"owed,omitempty"`
	// Asking are the lenders on whose account a reclaim is: their cooldown begins with it.
	Asking []string `json:"asking,omitempty"`

	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Cycle is a job that goes round.
type Cycle struct {
	UID string `json:"uid"`
	// Evictions within the policy's CycleWindow.
	Evictions int `json:"evictions"`
}

// ScaleTo sets the replicas of a lender whose Scale the broker manages.
type ScaleTo struct {
	Lender   string `json:"lender"`
	Replicas int64  `json:"replicas"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// Owed is a number of equal pods that a lender must be able to place now.
type Owed struct {
	Lender      string `json:"lender"`
	Flavor      string `json:"flavor"`
	UnitsPerPod int64  `json:"unitsPerPod"`
	Pods        int64  `json:"pods"`
}

// LenderView is the arithmetic behind a lender's verdict, in units.
type LenderView struct {
	Name  string `json:"name"`
	Owned int64  `json:"owned"`
	Held  int64  `json:"held"`
	Need  int64  `json:"need"`
	// NeedBy says what set the need: autoscaler, load, panic, "signal NAME", a Floor's
	// name, season, absolute floor, or unknown load; empty where nothing is needed.
	NeedBy   string `json:"needBy,omitempty"`
	Headroom int64  `json:"headroom"`
	Lent     int64  `json:"lent"` // after the plan's lends, reclaiming loans included
	Lendable int64  `json:"lendable"`
	// Utilization is requests in flight over the slots of all owned units; -1 when
	// unknown.
	Utilization float64 `json:"utilization"`
	// Advice is the book of a lender that only advises.
	Advice *Advice `json:"advice,omitempty"`
}

// TenantView is the arithmetic behind the verdicts on a tenant's jobs, in units of
// the flavor.
type TenantView struct {
	Name   string `json:"name"`
	Flavor string `json:"flavor"`
	// Used by pods, loans and what services keep; Available is how much more could be
	// had without taking anything back; both after the plan.
	Used      int64 `json:"used"`
	Available int64 `json:"available"`
	// Share is the weighted dominant share, in thousandths, the same for all flavors.
	Share int64 `json:"share"`
}

// Place is a waiting job's place.
type Place struct {
	UID string `json:"uid"`
	// Position in its queue, from 1.
	Position int32 `json:"position"`
	// Ahead is how many units of its flavor jobs before it in the cluster wait for, its
	// own included.
	Ahead int64 `json:"ahead"`
}

// SubjectKind says what a Verdict is about.
type SubjectKind string

// The subjects of verdicts.
const (
	SubjectLender SubjectKind = "Lender"
	SubjectJob    SubjectKind = "Job"
	SubjectLoan   SubjectKind = "Loan"
)

// Verdict is the reason for what was or was not done about one subject. It is
// the condition, the event, the log line and the answer of explain.
type Verdict struct {
	Kind    SubjectKind `json:"kind"`
	Subject string      `json:"subject"` // namespace/name
	// UID of a waiting job; empty for others. Jobs of different kinds may have one name.
	// It is no part of a record: Place has it.
	UID    string `json:"-"`
	Reason string `json:"reason"`
	// Message is one sentence for the subject's owner. It names no other tenant's
	// jobs, and does not change while nothing changes.
	Message string `json:"message"`
}

// Reasons of verdicts and actions.
const (
	ReasonBelowLowWater        = "BelowLowWater"        // lender: lending
	ReasonDwellNotMet          = "DwellNotMet"          // lender: low, but not for long enough
	ReasonAboveLowWater        = "AboveLowWater"        // lender: between the marks, lends nothing new
	ReasonAboveHighWater       = "AboveHighWater"       // lender: a signal is high, takes back
	ReasonLoadUnknown          = "LoadUnknown"          // lender: no usable load
	ReasonLoadSampleStale      = "LoadSampleStale"      // lender: load too old
	ReasonLoadCoverageLow      = "LoadCoverageLow"      // lender: too few replicas heard from
	ReasonCooldownActive       = "CooldownActive"       // lender: a reclaim was too recent
	ReasonLenderPodPending     = "LenderPodPending"     // lender, reclaim: an online pod waits
	ReasonNeedRose             = "NeedRose"             // reclaim: need, or need and headroom, exceed what is free
	ReasonLenderUnknownTooLong = "LenderUnknownTooLong" // reclaim: blind for too long
	ReasonNothingLendable      = "NothingLendable"      // lender: all is needed, lent or kept as headroom
	ReasonAdviseOnly           = "AdviseOnly"           // lender: mode Advise
	ReasonOwnedOverNominal     = "OwnedOverNominal"     // lender: owns less than its policy says
	ReasonOnHold               = "OnHold"               // lender: a Hold without a reason
	ReasonPaused               = "Paused"               // lender: a Hold by hand
	ReasonLoadNotForecastable  = "LoadNotForecastable"  // lender: what is now says too little about a minute from now
	ReasonFlapBudgetSpent      = "FlapBudgetSpent"      // lender: asked back too often lately
	ReasonBrokerStarted        = "BrokerStarted"        // lender: the broker has only just begun to see
	ReasonPreparing            = "Preparing"            // lender: something has to be done before units are lent
	ReasonStepLimit            = "StepLimitReached"     // lender: the next step is not due yet
	ReasonNeedFell             = "NeedFell"             // scale: fewer replicas are needed for long enough

	ReasonLent                = "Lent"                  // job: admitted on a loan
	ReasonWithinNominal       = "WithinNominal"         // job: admitted on its tenant's own quota
	ReasonNoLendableUnits     = "NoLendableUnits"       // job: lenders lend too little now
	ReasonNoRoomForGang       = "NoRoomForGang"         // job: enough units, not in its shape
	ReasonOverBorrowingLimit  = "OverBorrowingLimit"    // job: its tenant may not borrow more
	ReasonLendingLimitReached = "LendingLimitReached"   // job: lenders' tenants may not lend more
	ReasonBehindInQueue       = "BehindInQueue"         // job: the queue allows no backfill
	ReasonReservedForEarlier  = "ReservedForEarlier"    // job: what it could use is kept for one that has waited longer
	ReasonWaitingForReturn    = "WaitingForReturn"      // job: units were asked back for it and are not free yet
	ReasonLimitReached        = "LimitReached"          // job: a limit of its queue is used up
	ReasonResourceQuota       = "ResourceQuotaExceeded" // job: its namespace's ResourceQuota would refuse its pods
	ReasonQueueDraining       = "QueueDraining"         // job, reclaim: its queue is being emptied
	ReasonQueuePaused         = "QueuePaused"           // job: its queue is paused
	ReasonUnknownQueue        = "UnknownQueue"          // job: no such queue
	ReasonUnknownTenant       = "UnknownTenant"         // job: its namespace belongs to no tenant
	ReasonUnknownFlavor       = "UnknownFlavor"         // job, lender: no flavor of the tenant's quota matches
	ReasonSeveralSlices       = "SeveralSlicesInPod"    // job: its pods ask for several slices of GPUs each
	ReasonReshaping           = "Reshaping"             // job, reshape: slices are made into the ones that it needs
	ReasonReshapeUnused       = "ReshapeUnused"         // reshape: nobody can use what was made
	ReasonCycling             = "TakenBackRepeatedly"   // job: it is admitted and taken back again and again
	ReasonEvictionBudget      = "EvictionBudgetSpent"   // job: reclaimed too often lately

	ReasonActive        = "Active"            // loan: running
	ReasonReclaiming    = "Reclaiming"        // loan: grace is running
	ReasonShedding      = "Shedding"          // loan: some of its units are asked back
	ReasonShed          = "Shed"              // loan: some of its units are free
	ReasonGraceExpired  = "GraceExpired"      // loan: killed
	ReasonQuarantined   = "Quarantined"       // loan: its pods do not go
	ReasonUnquarantined = "Unquarantined"     // loan: an administrator says that it is over
	ReasonReturned      = "Returned"          // loan: units free after a reclaim
	ReasonReleased      = "Released"          // loan: job ended by itself
	ReasonPreempted     = "Preempted"         // loan: the scheduler took it back
	ReasonNodeUnhealthy = "NodeUnhealthy"     // loan: on a node that is gone
	ReasonOwnerWants    = "OwnerWantsQuota"   // reclaim: a tenant wants what is within its nominal quota
	ReasonFairShare     = "FairShare"         // reclaim: a tenant with a smaller share wants it
	ReasonOutranked     = "OutrankedInTenant" // reclaim: a job of the same tenant with a higher priority wants its quota
	ReasonCrowdedOut    = "CrowdedOut"        // reclaim: others hold its units, which its pods had not taken yet
	ReasonSlicesUndone  = "SlicesUndone"      // reclaim: its slices are being undone, which the broker did not begin
	ReasonNotStarted    = "NotStarted"        // reclaim, job: the gang's pods found no node for too long
)
