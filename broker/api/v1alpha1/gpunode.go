package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MIGPlacement is an instance's place on a GPU.
type MIGPlacement struct {
	// Profile is NVML's number of the profile (nvmlGpuInstanceProfile_t), and not the one
	// that nvidia-smi mig -lgip shows.
	// +required
	// +kubebuilder:validation:Minimum=0
	Profile int32 `json:"profile"`
	// Name that the driver has for the profile, such as 1g.5gb.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// Start is the first memory slot.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=15
	Start int32 `json:"start"`
	// Generation of the instance; 0 where none is meant.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// PinnedSlices are the places of one GPU that are kept for services in the shape
// that they have.
type PinnedSlices struct {
	// GPU is its UUID.
	// +required
	// +kubebuilder:validation:MaxLength=63
	GPU string `json:"gpu"`
	// Places that are kept.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Places []MIGPlacement `json:"places"`
}

// Reshape is a change of one GPU's layout: idle slices of a lender are destroyed, and
// others are made in their place for a training job. It never changes but for Undo.
//
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.undo) && oldSelf.undo) || has(self.undo) && self.undo",message="undo, once true, stays so"
// +kubebuilder:validation:XValidation:rule="self.gpu == oldSelf.gpu && self.lender == oldSelf.lender && self.from == oldSelf.from && self.to == oldSelf.to && self.base == oldSelf.base && self.destroy == oldSelf.destroy && self.create == oldSelf.create && has(self.undoSeconds) == has(oldSelf.undoSeconds) && (!has(self.undoSeconds) || self.undoSeconds == oldSelf.undoSeconds)",message="a reshape does not change but for undo"
type Reshape struct {
	// ID identifies the operation in the ledger and in the agent's journal.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id"`
	// GPU is its UUID.
	// +required
	// +kubebuilder:validation:MaxLength=63
	GPU string `json:"gpu"`
	// Lender is the LendingPolicy (namespace/name) whose slices these are.
	// +required
	// +kubebuilder:validation:MaxLength=317
	Lender string `json:"lender"`
	// JobUID is the job that the new slices are for.
	// +optional
	JobUID types.UID `json:"jobUID,omitempty"`
	// From is the flavor of what is destroyed.
	// +required
	// +kubebuilder:validation:MaxLength=253
	From string `json:"from"`
	// To is the flavor of what is made.
	// +required
	// +kubebuilder:validation:MaxLength=253
	To string `json:"to"`
	// Base is the fingerprint of the layout that the change was planned for. On any
	// other the agent refuses it.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Base string `json:"base"`
	// Destroy are the slices that go, in order.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Destroy []MIGPlacement `json:"destroy"`
	// Create are the places of those that come, in order.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Create []MIGPlacement `json:"create"`
	// UndoSeconds is how long undoing it is expected to take, as measured of others or
	// assumed. Absent: nobody knows.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UndoSeconds int64 `json:"undoSeconds,omitempty"`
	// Undo asks for what was there before: as soon as nobody holds what was made, it is
	// destroyed and what was destroyed is made again. Once true it stays.
	// +optional
	Undo bool `json:"undo,omitempty"`
}

// GPUNodeSpec is what the broker wants of a node's GPUs.
type GPUNodeSpec struct {
	// Pinned places by GPU. After a reboot they are made again before all others.
	// +optional
	// +listType=map
	// +listMapKey=gpu
	// +kubebuilder:validation:MaxItems=32
	Pinned []PinnedSlices `json:"pinned,omitempty"`
	// Reshapes that are wanted or in force. One that was undone is taken off the list.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Reshapes []Reshape `json:"reshapes,omitempty"`
}

// GPUNode is a node's GPUs and slices. It has the node's name. The agent on the node
// writes its status, the broker its spec, and the scheduler sets undo in it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=gn,categories=ebbtide
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Lendable",type=string,JSONPath=`.status.conditions[?(@.type=="Lendable")].status`
// +kubebuilder:printcolumn:name="GPUs",type=string,priority=1,JSONPath=`.status.gpus[*].product`
// +kubebuilder:printcolumn:name="Slices",type=string,priority=1,JSONPath=`.status.gpus[*].instances[*].name`
// +kubebuilder:printcolumn:name="Reshapes",type=string,JSONPath=`.status.reshapes[*].state`
// +kubebuilder:printcolumn:name="Driver",type=string,JSONPath=`.status.driver`
// +kubebuilder:printcolumn:name="Heartbeat",type=date,JSONPath=`.status.heartbeat`
type GPUNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the broker wants; others may set undo of a reshape.
	// +optional
	Spec GPUNodeSpec `json:"spec,omitzero"`
	// Status is what the node's agent reads and has done.
	// +optional
	Status GPUNodeStatus `json:"status,omitempty"`
}

// GPUNodeList is a list of GPUNodes.
//
// +kubebuilder:object:root=true
type GPUNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GPUNode `json:"items"`
}
