package lend

import "time"

// Lender is an online service and what it is doing now.
type Lender struct {
	// Name is the LendingPolicy's namespace/name.
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Flavor string `json:"flavor"`
	// Problem says why the policy cannot be used (an unknown target, say). Such a
	// lender lends nothing new and its loans are kept.
	Problem *Problem `json:"problem,omitempty"`
	// Advise: decide and report, change nothing.
	Advise bool `json:"advise,omitempty"`

	// Owned units, and the units that one replica asks for: the owed shape.
	Owned       int64 `json:"owned"`
	UnitsPerPod int64 `json:"unitsPerPod"`
	// Desired replicas: the highest of what the workload and its autoscaler want.
	Desired int64 `json:"desired"`
	// Running counts replicas that hold units and are not terminating.
	Running int64 `json:"running"`
	// Ready counts those of Running that serve.
	Ready int64 `json:"ready"`
	// Pending are replicas that wait for units, by Name. A pod that cannot run
	// for another reason than units is not among them.
	Pending []PendingPod `json:"pending,omitempty"`

	// Rules from the LendingPolicy. Water marks are shares, 0 to 1.
	LowWater  float64       `json:"lowWater"`
	HighWater float64       `json:"highWater"`
	Dwell     time.Duration `json:"dwell"`
	Cooldown  time.Duration `json:"cooldown"`
	MaxGrace  time.Duration `json:"maxGrace"`
	Warm      int64         `json:"warm"`
	// Refill is when what is kept warm is filled up again; empty is RefillAlways.
	Refill Refill `json:"refill,omitempty"`
	Steps  Steps  `json:"steps,omitzero"`

	Load Load `json:"load"`
	// Notice is how long it takes from asking units back to a replica that serves on them,
	// as measured. Less than MaxGrace counts as that.
	Notice time.Duration `json:"notice,omitempty"`
	// Floors are what the service needs at given times whatever its load, by Name.
	Floors []Floor `json:"floors,omitempty"`
	// Forecast is what the past says about the load until Notice from now; nil: nothing.
	Forecast *Forecast `json:"forecast,omitempty"`
	// Hold says why nothing new may be lent although nothing is wrong: the service is
	// being rolled out, or its autoscaler may not go as high as it would.
	Hold *Problem `json:"hold,omitempty"`
	// Scale: the broker sets the replicas. nil: somebody else does.
	Scale *Scale `json:"scale,omitempty"`
	// MIG is how the lender's slices may be reshaped; nil: they may not, and none are.
	MIG *MIGRules `json:"mig,omitempty"`
	// Prepare is set while something must be prepared before units may be lent: a new
	// loan waits until it is Done.
	Prepare *Preparation `json:"prepare,omitempty"`
}

// Refill says when units are asked back for the headroom.
type Refill string

const (
	// RefillAlways: as soon as less than need and headroom is free, so that the headroom is
	// what the need may grow by before anybody waits.
	RefillAlways Refill = "Always"
	// RefillWhenUsed: once the need alone has no room, and then for need and headroom. Until
	// then the service grows into the headroom and nobody is stopped. What is lent anew
	// leaves all of it.
	RefillWhenUsed Refill = "WhenUsed"
)

// Steps bound how fast is lent and taken back. The zero Steps bound nothing but a
// signal's push, to half of the running replicas.
type Steps struct {
	// LendUnits more may be lent in each LendEvery that the lender has been open for,
	// the first at once; 0 is no bound.
	LendUnits int64         `json:"lendUnits,omitempty"`
	LendEvery time.Duration `json:"lendEvery,omitempty"`
	// LendAfter is the least time for which what the service needs must have been as low
	// as it is now before it is believed: the highest need within it counts.
	LendAfter time.Duration `json:"lendAfter,omitempty"`
	// Push is how far a signal above its high water raises the need at once, as a share
	// of the running replicas; 0 is DefaultPush. PushPods is the same in replicas: the
	// larger of the two counts.
	Push     float64 `json:"push,omitempty"`
	PushPods int64   `json:"pushPods,omitempty"`
}

// DefaultPush is the share of the running replicas by which a signal raises the need
// at once where nothing else is said.
const DefaultPush = 0.5

// Floor is a number of units that are kept from From until Until.
type Floor struct {
	// Name is how verdicts call it: schedule[0].
	Name  string `json:"name"`
	Units int64  `json:"units"`
	// From and Until bound the window, the next one or the present one. Units are asked
	// back Notice before From, so that they are there when it begins.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Lead is how much earlier something has to begin that has to be done before.
	Lead time.Duration `json:"lead,omitempty"`
}

// FloorRecall is the name of the floor by which somebody asks units back by hand.
const FloorRecall = "recall"

// Forecast is what package forecast makes of a load's past. All values are requests
// in flight over all replicas.
type Forecast struct {
	// Season is the highest load that the same hours of yesterday and of last week make
	// likely until Notice and the least duration of a loan from now; 0 if it is not known.
	Season float64 `json:"season,omitempty"`
	// Growth is by what factor, at least 1, the load grows within Notice at most, as
	// often as the policy's quantile says.
	Growth float64 `json:"growth"`
	// Dispersion says whether the load can be forecast: the variance of the load over its
	// mean within an hour, 1 for independent arrivals, but for a load that scatters little
	// for its size no more than a policy's limit may be.
	Dispersion float64 `json:"dispersion"`
	// Scatter is the variance over the mean as it was measured, however large the load. It
	// says how far the load rises within a moment; below Dispersion it counts as that.
	Scatter float64 `json:"scatter,omitempty"`
	// ScatterUnknown: too little was heard yet to say what the dispersion is. A service of
	// which Floor is known keeps that until it is; without one, the marks decide.
	ScatterUnknown bool `json:"scatterUnknown,omitempty"`
	// Floor is the highest load of the last seven days: what is kept where the
	// dispersion is too high. 0: the past is shorter than that.
	Floor float64 `json:"floor,omitempty"`
	// Ahead are the highest loads that the same hours of yesterday and of last week make
	// likely until some time from now, the nearest first: how long a trough lasts. None: the
	// past does not say.
	Ahead []Ahead `json:"ahead,omitempty"`
}

// Ahead is the highest load that is likely within a time from now.
type Ahead struct {
	Within time.Duration `json:"within"`
	Load   float64       `json:"load"`
}

// Scale is a target whose replicas the broker sets.
type Scale struct {
	Min      int64 `json:"min"`
	Max      int64 `json:"max"`
	Replicas int64 `json:"replicas"` // as they are set now
}

// Preparation is something that is done before units are lent.
type Preparation struct {
	// Done: it is ready, or was given up.
	Done bool `json:"done"`
	// Message says what is waited for.
	Message string `json:"message,omitempty"`
}

// Problem is why an object cannot be used.
type Problem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// PendingPod is an online pod without a node.
type PendingPod struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// Load is what is known of a lender's load. Zero values mean unknown, never
// idle: nothing in here is used unless Known.
type Load struct {
	// Known: every signal answered with finite numbers.
	Known bool `json:"known"`
	// Unknown says why it is not known.
	Unknown string `json:"unknown,omitempty"`
	// ObservedAt is the oldest sample's time.
	ObservedAt time.Time `json:"observedAt,omitzero"`
	// Coverage is the share of replicas that were heard from, 0 to 1: of those that
	// are ready, and of those that were and no longer are.
	Coverage float64 `json:"coverage"`
	// Requests in flight (running + waiting) over all replicas, the mean over the stable
	// window, and how many one replica serves at once. Slots 0: no signal gives requests.
	Requests float64 `json:"requests"`
	Slots    float64 `json:"slots"`
	// Assumed is the part of Requests that nothing reported: what began to serve only now
	// counts as busy. It is not the mean of a window, and no part of the past.
	Assumed float64 `json:"assumed,omitempty"`
	// Panic is the mean over the panic window, which is shorter.
	Panic float64 `json:"panic,omitempty"`
	// Signals beside the requests (waiting per replica, KV use, own queries), by
	// Name, each with its own water marks.
	Signals []Signal `json:"signals,omitempty"`
}

// Signal is one value and its water marks, all in the same unit.
type Signal struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// PerReplica is how much of the value one replica should have; 0 if that says
	// nothing about the number of replicas.
	PerReplica float64 `json:"perReplica,omitempty"`
	// Rising: the value grew three times in succession. A queue that grows is a rise
	// before it is long.
	Rising bool `json:"rising,omitempty"`
}
