package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// QueueOrder is the order in which a queue's jobs are considered.
//
// +kubebuilder:validation:Enum=Priority;FIFO;FairShare
type QueueOrder string

const (
	// OrderPriority: higher priority first, then who came first.
	OrderPriority QueueOrder = "Priority"
	// OrderFIFO: who came first.
	OrderFIFO QueueOrder = "FIFO"
	// OrderFairShare: as Priority within the queue; against the tenant's other
	// FairShare queues, the queue that used less lately for its weight comes first.
	OrderFairShare QueueOrder = "FairShare"
)

// TrainingQueueSpec says how a queue's jobs are admitted.
type TrainingQueueSpec struct {
	// +optional
	// +kubebuilder:default=Priority
	Order QueueOrder `json:"order,omitempty"`
	// Backfill lets a job pass others of the same queue that do not fit now, as long as
	// it does not keep them from what they wait for once they have waited for long.
	// +optional
	// +kubebuilder:default=true
	Backfill *bool `json:"backfill,omitempty"`
	// Paused admits nothing; what runs goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// Drain admits nothing, and asks back the units of what runs. Its jobs keep their
	// places in the queue.
	// +optional
	Drain bool `json:"drain,omitempty"`
	// Weight is the queue's share of what its tenant uses, against the tenant's other
	// FairShare queues. Absent: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Weight *int64 `json:"weight,omitempty"`
	// Limits bound what the queue's jobs hold at once.
	// +optional
	Limits *QueueLimits `json:"limits,omitempty"`
}

// QueueLimits bound what a queue's admitted jobs hold at once. A job beyond them
// waits; one that alone is larger can never run, and says so.
type QueueLimits struct {
	// Jobs that are admitted at once. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Jobs *int32 `json:"jobs,omitempty"`
	// Flavors bound units. A flavor that is not listed has no limit.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Flavors []FlavorLimit `json:"flavors,omitempty"`
}

// FlavorLimit is a number of units of one flavor.
type FlavorLimit struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Units int64 `json:"units"`
}

// QueuedJob is a job's place in its queue.
type QueuedJob struct {
	// Name of the job, in the queue's namespace.
	Name string `json:"name"`
	// Position from 1, in the order in which the queue's jobs are considered.
	Position int32 `json:"position"`
	// Reason why it waits.
	// +optional
	Reason string `json:"reason,omitempty"`
	// EstimatedStart is when it would start if units kept coming free as they did
	// lately. Absent: nothing came free lately to judge by, or the job cannot start
	// whatever comes free.
	// +optional
	EstimatedStart *metav1.Time `json:"estimatedStart,omitempty"`
}

// TrainingQueueStatus is what the broker saw last.
type TrainingQueueStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Pending counts jobs that wait.
	// +optional
	Pending int32 `json:"pending"`
	// Admitted counts jobs that run on a Loan.
	// +optional
	Admitted int32 `json:"admitted"`
	// Waiting are the first jobs of the queue, at most 16. The broker's API has all.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Waiting []QueuedJob `json:"waiting,omitempty"`
	// Conditions: Accepted, Draining.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TrainingQueue is where a tenant's training jobs are submitted, by the label
// ebbtide.dev/queue.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=trq,categories=ebbtide
// +kubebuilder:printcolumn:name="Order",type=string,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="Paused",type=boolean,JSONPath=`.spec.paused`
// +kubebuilder:printcolumn:name="Drain",type=boolean,priority=1,JSONPath=`.spec.drain`
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.pending`
// +kubebuilder:printcolumn:name="Admitted",type=integer,JSONPath=`.status.admitted`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TrainingQueue struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={order: "Priority"}
	Spec TrainingQueueSpec `json:"spec,omitzero"`
	// +optional
	Status TrainingQueueStatus `json:"status,omitempty"`
}

// TrainingQueueList is a list of TrainingQueues.
//
// +kubebuilder:object:root=true
type TrainingQueueList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrainingQueue `json:"items"`
}
