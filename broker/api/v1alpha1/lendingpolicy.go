package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LendingMode says whether the policy acts or only advises.
//
// +kubebuilder:validation:Enum=Lend;Advise
type LendingMode string

const (
	// ModeLend lends and takes back.
	ModeLend LendingMode = "Lend"
	// ModeAdvise decides and reports, and changes nothing.
	ModeAdvise LendingMode = "Advise"
)

// TargetRef names the workload whose idle units are lent: anything in the
// policy's namespace that has a scale subresource.
type TargetRef struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	APIVersion string `json:"apiVersion"`
	// +required
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// LendingPolicySpec says when a service's idle units are lent.
//
// +kubebuilder:validation:XValidation:rule="int(self.lowWater.split('%')[0]) < int(self.highWater.split('%')[0])",message="lowWater must be below highWater"
type LendingPolicySpec struct {
	// TargetRef is the workload that lends. One policy per target.
	// +required
	TargetRef TargetRef `json:"targetRef"`
	// +optional
	// +kubebuilder:default=Lend
	Mode LendingMode `json:"mode,omitempty"`
	// Flavor of the units. Absent: the one flavor of the tenant's quota that has
	// the resource which the target's pods ask for.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Flavor string `json:"flavor,omitempty"`
	// Owned is the number of units the service may use, and lend from. Absent:
	// the maximum replicas of the HorizontalPodAutoscaler on the target, times
	// the units of one replica.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Owned *int64 `json:"owned,omitempty"`
	// Signals of load. All must be low for the dwell before anything is lent;
	// any one that is high takes back.
	// +optional
	// +kubebuilder:default={{profile: "vllm"}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Signals []Signal `json:"signals,omitempty"`
	// LowWater: lend while load is below this share of the slots of all owned
	// units, e.g. "30%".
	// +optional
	// +kubebuilder:default="30%"
	// +kubebuilder:validation:Pattern=`^([1-9]?[0-9]|100)%$`
	// +kubebuilder:validation:MaxLength=4
	LowWater string `json:"lowWater,omitempty"`
	// HighWater: take back when load is above this share.
	// +optional
	// +kubebuilder:default="70%"
	// +kubebuilder:validation:Pattern=`^([1-9]?[0-9]|100)%$`
	// +kubebuilder:validation:MaxLength=4
	HighWater string `json:"highWater,omitempty"`
	// Dwell is how long all signals must have been low before lending starts.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="dwell must not be negative"
	Dwell *metav1.Duration `json:"dwell,omitempty"`
	// Cooldown is how long nothing is lent after a reclaim.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="cooldown must not be negative"
	Cooldown *metav1.Duration `json:"cooldown,omitempty"`
	// +optional
	// +kubebuilder:default={warm: 1, quantile: "0.99", refill: "Always"}
	Headroom Headroom `json:"headroom,omitzero"`
	// Schedule keeps units at times that are known beforehand.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Schedule []Window `json:"schedule,omitempty"`
	// +optional
	// +kubebuilder:default={mode: "Observe"}
	Scaling Scaling `json:"scaling,omitzero"`
	// MIG says how the service's slices are lent, if its pods run on slices of GPUs.
	// +optional
	MIG *MIGPolicy `json:"mig,omitempty"`
	// +optional
	Behavior *Behavior `json:"behavior,omitempty"`
	// Pools of nodes, the preferred first: the service's pods go to the first that has
	// room, and what is lent comes from the last.
	// +optional
	// +kubebuilder:validation:MaxItems=8
	Pools []Pool `json:"pools,omitempty"`
	// +optional
	Hooks *Hooks `json:"hooks,omitempty"`
	// +optional
	// +kubebuilder:default={maxGrace: "60s"}
	Reclaim Reclaim `json:"reclaim,omitzero"`
	// Paused lends nothing new; what is lent stays until it is needed or its job ends.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// Recall asks units back by hand.
	// +optional
	Recall *Recall `json:"recall,omitempty"`
}

// Recall keeps units for the service for a time, whatever its load says: those of them
// that are lent are asked back at once, with the grace that their loans have.
type Recall struct {
	// Keep is how many units; absent: all that the service owns.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Keep *int64 `json:"keep,omitempty"`
	// Until is when the load decides again.
	Until metav1.Time `json:"until"`
}

// Defaults that the API server fills in, for code that meets an object without them.
const (
	// DefaultDwell is the default of spec.dwell and of spec.cooldown.
	DefaultDwell = 5 * time.Minute
	// DefaultWarm is the default of spec.headroom.warm.
	DefaultWarm int64 = 1
)

// Conditions of a LendingPolicy.
const (
	// ConditionAccepted: the spec was resolved against the cluster.
	ConditionAccepted = "Accepted"
	// ConditionSignalsKnown: the load is known, fresh and covers the replicas.
	ConditionSignalsKnown = "SignalsKnown"
	// ConditionLending: new loans may be made now; its reason is the verdict.
	ConditionLending = "Lending"
	// ConditionScaling: the broker sets the target's replicas (mode Manage).
	ConditionScaling = "Scaling"
	// ConditionForecastable: the load's past says enough about its near future.
	ConditionForecastable = "Forecastable"
	// ConditionPinned: the slices that spec.mig.pinned keeps are there, where they leave the
	// most for others. A policy without it has no such condition.
	ConditionPinned = "Pinned"
)

// Advice is what mode Advise would have done, as if there were always jobs to lend to.
type Advice struct {
	// Since when it is counted: the first decision with this mode.
	// +optional
	Since metav1.Time `json:"since,omitzero"`
	// LentUnits that would be lent now.
	// +optional
	LentUnits int64 `json:"lentUnits"`
	// LentUnitHours so far, e.g. "1234.5".
	// +optional
	LentUnitHours string `json:"lentUnitHours,omitempty"`
	// Reclaims so far: how often units would have been asked back.
	// +optional
	Reclaims int64 `json:"reclaims"`
	// PodsWaited is how many online pods would have waited for units to come back, and
	// LongestWait for how long at most.
	// +optional
	PodsWaited int64 `json:"podsWaited"`
	// +optional
	LongestWait metav1.Duration `json:"longestWait,omitzero"`
}

// LendingPolicyStatus is what the broker decided last, in units.
type LendingPolicyStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Owned is the number of units that lending counts with.
	// +optional
	Owned int64 `json:"owned"`
	// Held by the target's own pods.
	// +optional
	Held int64 `json:"held"`
	// Need is what the service must keep now.
	// +optional
	Need int64 `json:"need"`
	// Headroom is kept free above the need.
	// +optional
	Headroom int64 `json:"headroom"`
	// Lent is advanced, under a resourceVersion precondition, before a Loan
	// against this policy exists, and lowered after its units are returned.
	// +optional
	Lent int64 `json:"lent"`
	// Lendable is what could be lent in addition now.
	// +optional
	Lendable int64 `json:"lendable"`
	// Notice is how long it may take from asking units back to a replica that serves on
	// them: as measured lately, and no less than maxGrace and a start.
	// +optional
	Notice metav1.Duration `json:"notice,omitzero"`
	// Advice is set in mode Advise.
	// +optional
	Advice *Advice `json:"advice,omitempty"`
	// Epoch of the broker that wrote the status last. It never falls.
	// +optional
	Epoch int64 `json:"epoch,omitempty"`
	// Load is the share of the owned slots in use, e.g. "23%", or "unknown".
	// +optional
	Load string `json:"load,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LendingPolicy makes an online service a lender. The service's owner writes it
// beside the service.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=lp,categories=ebbtide
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name="Mode",type=string,priority=1,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Load",type=string,JSONPath=`.status.load`
// +kubebuilder:printcolumn:name="Owned",type=integer,JSONPath=`.status.owned`
// +kubebuilder:printcolumn:name="Need",type=integer,JSONPath=`.status.need`
// +kubebuilder:printcolumn:name="Lent",type=integer,JSONPath=`.status.lent`
// +kubebuilder:printcolumn:name="Lendable",type=integer,JSONPath=`.status.lendable`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Lending")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type LendingPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec LendingPolicySpec `json:"spec"`
	// +optional
	Status LendingPolicyStatus `json:"status,omitempty"`
}

// LendingPolicyList is a list of LendingPolicies.
//
// +kubebuilder:object:root=true
type LendingPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LendingPolicy `json:"items"`
}
