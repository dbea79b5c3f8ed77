package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// HeadroomRefill says when units are asked back for the headroom.
//
// +kubebuilder:validation:Enum=Always;WhenUsed
type HeadroomRefill string

const (
	// RefillAlways: as soon as less than need and headroom is free.
	RefillAlways HeadroomRefill = "Always"
	// RefillWhenUsed: once the need alone has no room, and then for need and headroom.
	RefillWhenUsed HeadroomRefill = "WhenUsed"
)

// Headroom says what is kept warm above the need.
type Headroom struct {
	// Warm is the number of units kept free above the need, rounded up to whole
	// replicas of the target.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Warm *int64 `json:"warm,omitempty"`
	// Quantile is how often the headroom is to suffice for what the load grows by until
	// units that were asked back serve, e.g. "0.99". It counts once the service is known
	// for a day.
	// +optional
	// +kubebuilder:default="0.99"
	// +kubebuilder:validation:Pattern=`^0\.[0-9]{1,6}$`
	Quantile string `json:"quantile,omitempty"`
	// Refill is when units are asked back for the headroom: Always, as soon as less than
	// need and headroom is free; WhenUsed, once the need alone has no room, and then for
	// both. Until then the service grows into the headroom and no borrower is stopped. What
	// is lent anew leaves all of it, and above its high water a service is refilled always.
	// +optional
	// +kubebuilder:default=Always
	Refill HeadroomRefill `json:"refill,omitempty"`
}

// Window is a time that comes again, for which units are kept.
//
// +kubebuilder:validation:XValidation:rule="self.start != self.end",message="start and end must differ"
type Window struct {
	// Start and End as five cron fields: minute, hour, day of month, month, day of week.
	// What is lent beyond keep is back before the window starts.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	Start string `json:"start"`
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	End string `json:"end"`
	// Timezone of both, by its name in the IANA database.
	// +optional
	// +kubebuilder:default=UTC
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Timezone string `json:"timezone,omitempty"`
	// Keep is the number of units that the service has within the window.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Keep int64 `json:"keep"`
}

// ScalingMode says who sets the target's replicas.
//
// +kubebuilder:validation:Enum=Observe;Manage
type ScalingMode string

const (
	// ScalingObserve: somebody else does, and the broker writes nothing on the target.
	ScalingObserve ScalingMode = "Observe"
	// ScalingManage: the broker does. Refused where an autoscaler has the same target.
	ScalingManage ScalingMode = "Manage"
)

// Scaling says who sets the target's replicas, and within which bounds.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'Observe' || (has(self.max) && self.min <= self.max)",message="mode Manage needs max, and min at most max"
type Scaling struct {
	// +optional
	// +kubebuilder:default=Observe
	Mode ScalingMode `json:"mode,omitempty"`
	// Min and Max replicas, for mode Manage.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Min int32 `json:"min,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Max *int32 `json:"max,omitempty"`
}

// Behavior bounds how fast is lent and taken back, in the words of a
// HorizontalPodAutoscaler: lending scales the service's share down, reclaiming up.
type Behavior struct {
	// Lend. Absent: one unit or 10% of the owned units in 120s, whichever is more.
	// +optional
	Lend *autoscalingv2.HPAScalingRules `json:"lend,omitempty"`
	// Reclaim bounds what a signal above its high water asks for at once. Absent: half
	// of the running replicas. Waiting pods and a panic know no bound.
	// +optional
	Reclaim *autoscalingv2.HPAScalingRules `json:"reclaim,omitempty"`
}

// Pool is a part of the service's nodes.
type Pool struct {
	// NodeSelector of the pool's nodes.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=8
	NodeSelector map[string]string `json:"nodeSelector"`
	// Max is how many units the service's pods use of the pool before the next one is
	// preferred. Absent: all.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Max *int64 `json:"max,omitempty"`
}

// Hook creates an object from a template and waits until it is ready.
type Hook struct {
	// Template of the object, of any namespaced kind that the broker may create (see
	// docs/tasks/prewarm.md). Its name is made by the broker, and its namespace is the
	// policy's.
	// +required
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:EmbeddedResource
	Template runtime.RawExtension `json:"template"`
	// Until is when the object is ready.
	// +required
	Until HookUntil `json:"until"`
	// Timeout after which it goes on without.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="timeout must be between 1s and 1h"
	Timeout metav1.Duration `json:"timeout,omitzero"`
}

// HookUntil is what is waited for: a condition that is True, or the value of a field.
//
// +kubebuilder:validation:XValidation:rule="has(self.condition) != has(self.field)",message="exactly one of condition and field must be set"
// +kubebuilder:validation:XValidation:rule="has(self.field) == has(self.value)",message="field and value must be set together"
type HookUntil struct {
	// Condition is the type of one of status.conditions.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Condition string `json:"condition,omitempty"`
	// Field is a path such as .status.phase, Value what it must be.
	// +optional
	// +kubebuilder:validation:Pattern=`^(\.[a-zA-Z][a-zA-Z0-9]*)+$`
	// +kubebuilder:validation:MaxLength=253
	Field string `json:"field,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Value string `json:"value,omitempty"`
}

// Hooks are run around lending.
type Hooks struct {
	// BeforeLend runs when units could be lent and none are; nothing is lent before it
	// is ready or its timeout has passed.
	// +optional
	BeforeLend *Hook `json:"beforeLend,omitempty"`
	// BeforeReturn runs when units are about to be taken back: for a window of the
	// schedule, as long before as its timeout says; for everything else at once, and
	// nothing waits for it, since online pods do.
	// +optional
	BeforeReturn *Hook `json:"beforeReturn,omitempty"`
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
