package lend

import (
	"time"

	"github.com/ebbtide/ebbtide/quota"
)

// State is what one decision remembers for the next: hysteresis has no other
// memory. The zero State is a broker that has just started: every dwell begins
// anew, so a restart never lends at once.
type State struct {
	Lenders []LenderState `json:"lenders"`         // by Name
	Jobs    []JobState    `json:"jobs"`            // by UID
	Loans   []LoanState   `json:"loans,omitempty"` // by Name
	// Reshapes are those that were begun and are not seen yet, and the GPUs of those that
	// are over, by GPU.
	Reshapes []ReshapeMemory `json:"reshapes,omitempty"`
	// At is when the last decision was made; zero before the first.
	At time.Time `json:"at,omitzero"`
	// Since is when the first decision was made; zero if that is not known, and so long
	// ago.
	Since time.Time `json:"since,omitzero"`
	// Decisions counts calls of Decide since the start; it names reclaims.
	Decisions int64 `json:"decisions"`
}

// LenderState is the memory about one lender.
type LenderState struct {
	Name string `json:"name"`
	// LowSince is when all signals were first seen low, without a break since;
	// zero when they are not.
	LowSince time.Time `json:"lowSince,omitzero"`
	// UnknownSince is when the load was first seen unknown, without a break since.
	UnknownSince time.Time `json:"unknownSince,omitzero"`
	// UnknownLent is how many units were lent then: what a long unknown returns
	// step by step.
	UnknownLent int64 `json:"unknownLent,omitempty"`
	// LastUnknown is when the load was last unknown, or nobody looked; zero if that is a
	// stable window ago, and was before a panic that lasts.
	LastUnknown time.Time `json:"lastUnknown,omitzero"`
	// LastReclaim is when units were last asked back for this lender.
	LastReclaim time.Time `json:"lastReclaim,omitzero"`
	// Reclaims are the times of that within the flap budget's window, oldest first. One in
	// which nothing was asked back that had been lent since the one before is not among
	// them: a load that rises in steps is one change of the tide.
	Reclaims []time.Time `json:"reclaims,omitempty"`
	// PanicUntil is how long the lender is in panic; zero if it is not. PanicPods is the
	// highest need since the panic began.
	PanicUntil time.Time `json:"panicUntil,omitzero"`
	PanicPods  int64     `json:"panicPods,omitempty"`
	// OpenSince is since when, without a break, units may be lent, counted from when there
	// first were any, and OpenLent how many were lent then.
	OpenSince time.Time `json:"openSince,omitzero"`
	OpenLent  int64     `json:"openLent,omitempty"`
	// Peaks are the needs within Steps.LendAfter that no later one reaches, oldest first.
	// Where it is not known what was needed, all that is owned counts as needed. For a
	// lender with a Scale it is without what the workload has anyway.
	Peaks []Peak `json:"peaks,omitempty"`
	// Scaled is when the replicas of a lender with a Scale were last lowered.
	Scaled time.Time `json:"scaled,omitzero"`
	// Advice is what an adviser would have done.
	Advice *Advice `json:"advice,omitempty"`
}

// Peak is a need in replicas and when it was last so high.
type Peak struct {
	At   time.Time `json:"at"`
	Pods int64     `json:"pods"`
}

// Advice is what a lender in mode Advise would have done, as if there were always jobs
// to lend to.
type Advice struct {
	Since time.Time `json:"since"`
	// Lent units now, and unit-seconds so far.
	Lent        int64   `json:"lent"`
	UnitSeconds float64 `json:"unitSeconds"`
	// LentAt is when Lent last grew.
	LentAt time.Time `json:"lentAt,omitzero"`
	// Leaving are units that were asked back and would not be free yet, by By.
	Leaving  []Leaving `json:"leaving,omitempty"`
	Reclaims int64     `json:"reclaims"`
	// Waited is how many online pods would have waited, LongestWait for how long at most;
	// Waiting is how many of them would wait now.
	Waited      int64         `json:"waited"`
	Waiting     int64         `json:"waiting,omitempty"`
	LongestWait time.Duration `json:"longestWait"`
}

// Leaving is a number of units that are free by By.
type Leaving struct {
	Units int64     `json:"units"`
	By    time.Time `json:"by"`
}

// JobState is the memory about one job.
type JobState struct {
	UID string `json:"uid"`
	// Evictions are the times at which the job's loans were reclaimed, oldest
	// first, no older than the windows of the budget and of cycles.
	Evictions []time.Time `json:"evictions"`
	// NotStarted is when a loan of the job was last asked back because its pods had
	// found no nodes; zero if that is too long ago to matter.
	NotStarted time.Time `json:"notStarted,omitzero"`
	// Asked is when units were last asked back for the waiting job; zero if never, or
	// if it was admitted since.
	Asked time.Time `json:"asked,omitzero"`
	// Expecting: something of that was still to come back. The next decision serves the
	// job first.
	Expecting bool `json:"expecting,omitempty"`
	// PutOff is the number of the decision in which the job would have looked for what it
	// could take back and was told to wait for its turn; 0 if it does not.
	PutOff int64 `json:"putOff,omitempty"`
}

// LoanState is the memory about one open loan.
type LoanState struct {
	Name string `json:"name"`
	// EndingSince is when the loan was first seen to end without having been asked
	// back, its pods still there; zero while it does not.
	EndingSince time.Time `json:"endingSince,omitzero"`
	// WaitingSince is since when, without a break, some of its pods had no node; zero
	// while all have one.
	WaitingSince time.Time `json:"waitingSince,omitzero"`
	// KilledSince is when its pods were first seen to be there although they were told to die
	// at once; zero while none is. ShedKilledSince is that of the part that it gives back.
	KilledSince     time.Time `json:"killedSince,omitzero"`
	ShedKilledSince time.Time `json:"shedKilledSince,omitzero"`
}

// ReshapeMemory is the memory about one GPU's layout.
type ReshapeMemory struct {
	GPU string `json:"gpu"`
	// Quiet is until when the layout is not changed again: a change has to pay for itself.
	Quiet time.Time `json:"quiet,omitzero"`
	// Begun is a change that was decided on Node and has not been seen since: until it is, or
	// some time has passed, it counts as if it were being made. At is when the last one was
	// decided, or first seen.
	Begun *Reshape  `json:"begun,omitempty"`
	Node  string    `json:"node,omitempty"`
	At    time.Time `json:"at,omitzero"`
	// State is what the change was last seen in, and Entered when first, without a break
	// since.
	State   ReshapeState `json:"state,omitempty"`
	Entered time.Time    `json:"entered,omitzero"`
	// IdleSince is since when, without a break, what was made could not be lent, for another
	// reason than that its lender has to wait.
	IdleSince time.Time `json:"idleSince,omitzero"`
}

// Policy holds the rules that are not a lender's own. DefaultPolicy gives the
// documented defaults.
type Policy struct {
	// StaleAfter: a load sample older than this is unknown.
	StaleAfter time.Duration `json:"staleAfter"`
	// Quorum is the least share of ready replicas that must be heard from.
	Quorum float64 `json:"quorum"`
	// UnknownGrace: a lender unknown for longer gets its units back, step by step.
	UnknownGrace time.Duration `json:"unknownGrace"`
	// UnknownStep is the time between two such steps.
	UnknownStep time.Duration `json:"unknownStep"`
	// TargetUtilization is the share of a replica's slots that need is sized for.
	TargetUtilization float64 `json:"targetUtilization"`
	// StableWindow is what Load.Requests is the mean of. A broker that has just started
	// lends nothing for as long.
	StableWindow time.Duration `json:"stableWindow,omitempty"`
	// PanicThreshold: a lender panics when the panic window asks for at least so many
	// times its ready replicas; 0 never.
	PanicThreshold float64 `json:"panicThreshold,omitempty"`
	// DispersionLimit is above which a load is not forecastable; 0 is no limit.
	DispersionLimit float64 `json:"dispersionLimit,omitempty"`
	// BurstSigmas is how many standard deviations of the load, by its dispersion, are
	// kept free; 0 is none.
	BurstSigmas float64 `json:"burstSigmas,omitempty"`
	// FlapBudget is how often units are asked back for one lender within FlapWindow
	// before it lends nothing new until that is over; 0 is no limit.
	FlapBudget int           `json:"flapBudget,omitempty"`
	FlapWindow time.Duration `json:"flapWindow,omitempty"`
	// MinimumLoan: a younger loan is only taken back for an online pod that waits
	// or a lender above its high water.
	MinimumLoan time.Duration `json:"minimumLoan"`
	// StartWithin: a loan is asked back whole if some of its pods have had no node for
	// longer, and its job is not admitted again for as long; 0 is no limit.
	StartWithin time.Duration `json:"startWithin,omitempty"`
	// StuckAfter: what is left of a loan so long after it was told to die at once does not
	// count as coming free any more, and others are asked instead; 0 is never.
	StuckAfter time.Duration `json:"stuckAfter,omitempty"`
	// EvictionBudget is how often one job may be reclaimed within EvictionWindow
	// before it is no longer lent to; 0 is no limit.
	EvictionBudget int           `json:"evictionBudget"`
	EvictionWindow time.Duration `json:"evictionWindow"`
	// CycleLimit is how often a job is stopped within CycleWindow until it counts as going
	// round: it is reported, and stopped last for all but pods that wait. 0 is no limit.
	CycleLimit  int           `json:"cycleLimit,omitempty"`
	CycleWindow time.Duration `json:"cycleWindow,omitempty"`
	// ReserveAfter is how long a job waits before what it needs is kept for it: later
	// jobs then get only what it could do without. 0 never keeps anything.
	ReserveAfter time.Duration `json:"reserveAfter,omitempty"`
	// QuotaGrace is the longest grace of a loan that no LendingPolicy lent.
	QuotaGrace time.Duration `json:"quotaGrace,omitempty"`
	// FairPreemption are the rules by which a tenant with a smaller share takes from
	// one with a larger one, tried in order; none turns it off.
	FairPreemption []quota.FairRule `json:"fairPreemption,omitempty"`
	// RestartCost is added to the lost work of every job that is stopped.
	RestartCost time.Duration `json:"restartCost"`
	// StopCost is what it counts besides that a job is stopped, however many units it has:
	// so long a time of one unit. With 0 many small jobs go as readily as one large one that
	// loses as much.
	StopCost time.Duration `json:"stopCost,omitempty"`
}

// DefaultPolicy returns the rules that apply where the configuration is silent.
func DefaultPolicy() Policy {
	return Policy{
		StaleAfter:        45 * time.Second,
		Quorum:            0.9,
		UnknownGrace:      5 * time.Minute,
		UnknownStep:       time.Minute,
		TargetUtilization: 0.7,
		StableWindow:      time.Minute,
		PanicThreshold:    2,
		DispersionLimit:   5,
		BurstSigmas:       3,
		FlapBudget:        4,
		FlapWindow:        time.Hour,
		MinimumLoan:       5 * time.Minute,
		StartWithin:       5 * time.Minute,
		StuckAfter:        15 * time.Second,
		EvictionBudget:    4,
		EvictionWindow:    time.Hour,
		CycleLimit:        8,
		CycleWindow:       24 * time.Hour,
		ReserveAfter:      10 * time.Minute,
		QuotaGrace:        time.Minute,
		FairPreemption:    []quota.FairRule{quota.LessThanOrEqualToFinalShare, quota.LessThanInitialShare},
		RestartCost:       time.Minute,
	}
}
