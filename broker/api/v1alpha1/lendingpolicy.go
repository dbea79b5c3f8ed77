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

// Signal is one source of load: a profile that knows an engine's metric names,
// or a PromQL query with its own water marks.
//
// +kubebuilder:validation:XValidation:rule="has(self.profile) != has(self.query)",message="exactly one of profile and query must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.query) || (has(self.lowWater) && has(self.highWater))",message="query needs lowWater and highWater"
// +kubebuilder:validation:XValidation:rule="!(has(self.lowWater) && has(self.highWater)) || quantity(self.lowWater).isLessThan(quantity(self.highWater))",message="lowWater must be below highWater"
// +kubebuilder:validation:XValidation:rule="has(self.profile) || !has(self.slots)",message="slots belongs to a profile"
type Signal struct {
	// Profile names a built-in engine profile: vllm.
	// +optional
	// +kubebuilder:validation:Enum=vllm
	Profile string `json:"profile,omitempty"`
	// Slots is how many requests one replica serves at once (vLLM:
	// --max-num-seqs). Absent: the profile's default, 256 for vllm.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Slots int32 `json:"slots,omitempty"`
	// Query is PromQL whose result must be a scalar or a vector of one element.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query,omitempty"`
	// LowWater and HighWater of a query, in the query's own unit.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	LowWater string `json:"lowWater,omitempty"`
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	HighWater string `json:"highWater,omitempty"`
}

// Headroom says what is kept warm above the need.
type Headroom struct {
	// Warm is the number of units kept free above the need, rounded up to whole
	// replicas of the target.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Warm *int64 `json:"warm,omitempty"`
}

// Reclaim bounds how long taking back may last.
type Reclaim struct {
	// MaxGrace is the longest time between asking a borrower's pods to stop and
	// killing them: the bound within which an online pod gets its units.
	// +optional
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="maxGrace must be between 1s and 1h"
	MaxGrace metav1.Duration `json:"maxGrace,omitzero"`
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
	// +kubebuilder:default={warm: 1}
	Headroom Headroom `json:"headroom,omitzero"`
	// +optional
	// +kubebuilder:default={maxGrace: "60s"}
	Reclaim Reclaim `json:"reclaim,omitzero"`
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
)

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
