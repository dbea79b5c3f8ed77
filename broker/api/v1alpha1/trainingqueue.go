package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// QueueOrder is the order in which a queue's jobs are considered.
//
// +kubebuilder:validation:Enum=Priority;FIFO
type QueueOrder string

const (
	// OrderPriority: higher priority first, then who came first.
	OrderPriority QueueOrder = "Priority"
	// OrderFIFO: who came first.
	OrderFIFO QueueOrder = "FIFO"
)

// TrainingQueueSpec says how a queue's jobs are admitted.
type TrainingQueueSpec struct {
	// +optional
	// +kubebuilder:default=Priority
	Order QueueOrder `json:"order,omitempty"`
	// Backfill lets a job pass others of the same queue that do not fit now.
	// +optional
	// +kubebuilder:default=true
	Backfill *bool `json:"backfill,omitempty"`
	// Paused admits nothing; what runs goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`
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
	// Conditions: Accepted.
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
