package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Allocation says who hands a node's GPUs and slices to pods.
//
// +kubebuilder:validation:Enum=DevicePlugin;DynamicResources
type Allocation string

const (
	// AllocationDevicePlugin: a device plugin, and the kubelet chooses the device.
	AllocationDevicePlugin Allocation = "DevicePlugin"
	// AllocationDynamicResources: the scheduler allocates devices of ResourceSlices.
	AllocationDynamicResources Allocation = "DynamicResources"
)

// GPUHolder is the pod that holds an instance or a GPU.
type GPUHolder struct {
	// +required
	Namespace string `json:"namespace"`
	// +required
	Name string `json:"name"`
	// UID, if whoever handed the instance out knows it.
	// +optional
	UID types.UID `json:"uid,omitempty"`
}

// States of a MIG instance, as the agent sees it.
const (
	// InstanceReady: whole, and made by the agent or found at its first start.
	InstanceReady = "Ready"
	// InstanceRemnant: without its compute instance, by a change that was cut short.
	InstanceRemnant = "Remnant"
	// InstanceForeign: somebody else made it, or changed it.
	InstanceForeign = "Foreign"
	// InstanceStuck: it could not be destroyed although nobody holds it.
	InstanceStuck = "Stuck"
	// InstanceAbsent: of the node's layout, but not there now: made when it is needed, or
	// lost.
	InstanceAbsent = "Absent"
)

// MIGInstance is one slice of a GPU.
type MIGInstance struct {
	MIGPlacement `json:",inline"`
	// Resource that it is advertised as, such as nvidia.com/mig-1g.5gb.
	// +optional
	Resource string `json:"resource,omitempty"`
	// UUID of the MIG device. It may come back for another instance.
	// +optional
	UUID string `json:"uuid,omitempty"`
	// State: Ready, Remnant, Foreign, Stuck or Absent.
	// +required
	State string `json:"state"`
	// Holder is the pod that it was handed to.
	// +optional
	Holder *GPUHolder `json:"holder,omitempty"`
	// Processes on it; absent: not known.
	// +optional
	Processes *int32 `json:"processes,omitempty"`
	// Activity, in percent of the instance.
	// +optional
	Activity *GPUActivity `json:"activity,omitempty"`
}

// GPUActivity is how busy an instance or a GPU was lately, in percent. What is absent
// could not be measured, and is not 0.
type GPUActivity struct {
	// +optional
	Graphics *int32 `json:"graphics,omitempty"`
	// +optional
	SM *int32 `json:"sm,omitempty"`
	// +optional
	Tensor *int32 `json:"tensor,omitempty"`
	// +optional
	DRAM *int32 `json:"dram,omitempty"`
	// +optional
	MemoryUsedMiB *int64 `json:"memoryUsedMiB,omitempty"`
	// Source: gpm, dcgm or nvml.
	// +optional
	Source string `json:"source,omitempty"`
}

// MIGProfile is a size of slice that a GPU offers, as its driver says.
type MIGProfile struct {
	// +required
	Profile int32 `json:"profile"`
	// +required
	GIProfileID int64 `json:"giProfileID"`
	// +required
	Name string `json:"name"`
	// Compute slices and memory slots of one instance.
	// +required
	Compute int32 `json:"compute"`
	// +required
	Memory int32 `json:"memory"`
	// Max instances of it at once.
	// +required
	Max int32 `json:"max"`
	// +optional
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	// +optional
	SMs int32 `json:"sms,omitempty"`
	// Media engines of one instance.
	// +optional
	Engines *MediaEngines `json:"engines,omitempty"`
	// Starts are the slots where one may begin.
	// +required
	// +listType=atomic
	Starts []int32 `json:"starts"`
}

// MediaEngines of a GPU or an instance.
type MediaEngines struct {
	// +optional
	Decoders int32 `json:"decoders,omitempty"`
	// +optional
	Encoders int32 `json:"encoders,omitempty"`
	// +optional
	JPEG int32 `json:"jpeg,omitempty"`
	// +optional
	OFA int32 `json:"ofa,omitempty"`
}

// MIGBoard is what the GPUs of one kind can be cut into.
type MIGBoard struct {
	// +required
	Name string `json:"name"`
	// Slots is the number of memory slots.
	// +required
	Slots int32 `json:"slots"`
	// +optional
	Engines *MediaEngines `json:"engines,omitempty"`
	// +required
	// +listType=atomic
	Profiles []MIGProfile `json:"profiles"`
}

// GPUStatus is one GPU of a node.
type GPUStatus struct {
	// +required
	UUID string `json:"uuid"`
	// +optional
	PCI string `json:"pci,omitempty"`
	// +optional
	Product string `json:"product,omitempty"`
	// +optional
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	// MIG is whether MIG mode is on.
	// +optional
	MIG bool `json:"mig,omitempty"`
	// Board is the entry of status.boards that says what it can be cut into.
	// +optional
	Board string `json:"board,omitempty"`
	// +optional
	Healthy bool `json:"healthy,omitempty"`
	// Problem says why it is not healthy.
	// +optional
	Problem string `json:"problem,omitempty"`
	// Fingerprint of the layout.
	// +optional
	Fingerprint string `json:"fingerprint,omitempty"`
	// Instances by start.
	// +optional
	// +listType=atomic
	Instances []MIGInstance `json:"instances,omitempty"`
	// Holder, Processes and Activity of a GPU that is not in MIG mode.
	// +optional
	Holder *GPUHolder `json:"holder,omitempty"`
	// +optional
	Processes *int32 `json:"processes,omitempty"`
	// +optional
	Activity *GPUActivity `json:"activity,omitempty"`
}

// States of a Reshape, as the agent reports them.
const (
	// ReshapeMaking: the agent is at it.
	ReshapeMaking = "Making"
	// ReshapeMade: what was to be made is there and handed out.
	ReshapeMade = "Made"
	// ReshapeUndoing: it is being undone, or waits for its holder to go.
	ReshapeUndoing = "Undoing"
	// ReshapeUndone: what was there before is there again.
	ReshapeUndone = "Undone"
	// ReshapeRefused: nothing was done, and the message says why.
	ReshapeRefused = "Refused"
	// ReshapeStuck: it could go neither on nor back; the message says what holds it.
	ReshapeStuck = "Stuck"
)

// ReshapeOver tells whether a Reshape in that state is over: it was undone, or refused.
func ReshapeOver(state string) bool { return state == ReshapeUndone || state == ReshapeRefused }

// ReshapeStatus is how far a Reshape is.
type ReshapeStatus struct {
	// +required
	ID string `json:"id"`
	// State: Making, Made, Undoing, Undone, Refused or Stuck.
	// +required
	State string `json:"state"`
	// +optional
	Message string `json:"message,omitempty"`
	// Since is when the state began.
	// +optional
	Since metav1.MicroTime `json:"since,omitzero"`
	// MakeMilliseconds and UndoMilliseconds are how long it took.
	// +optional
	MakeMilliseconds int64 `json:"makeMilliseconds,omitempty"`
	// +optional
	UndoMilliseconds int64 `json:"undoMilliseconds,omitempty"`
	// Recovered counts how often the agent found it half done and went on.
	// +optional
	Recovered int32 `json:"recovered,omitempty"`
}

// Conditions of a GPUNode.
const (
	// GPUNodeReady: the agent reads the GPUs and may change their layouts. Its reason says
	// why not: RivalManager, DriverUnavailable, and so on.
	GPUNodeReady = "Ready"
	// GPUNodeLendable: nothing about the node would let a pod at GPUs that it was not
	// given. The broker lends nothing on a node where it is not True.
	GPUNodeLendable = "Lendable"
)

// GPUNodeStatus is what the node's agent reads and has done.
type GPUNodeStatus struct {
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Heartbeat is when the agent last read the GPUs, by its node's clock. What it said is
	// unknown once this has not changed for two minutes.
	// +optional
	Heartbeat metav1.MicroTime `json:"heartbeat,omitzero"`
	// +optional
	Driver string `json:"driver,omitempty"`
	// Allocation: DevicePlugin or DynamicResources.
	// +optional
	Allocation Allocation `json:"allocation,omitempty"`
	// Boards of the node's GPUs.
	// +optional
	// +listType=map
	// +listMapKey=name
	Boards []MIGBoard `json:"boards,omitempty"`
	// GPUs by UUID.
	// +optional
	// +listType=map
	// +listMapKey=uuid
	GPUs []GPUStatus `json:"gpus,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=id
	Reshapes []ReshapeStatus `json:"reshapes,omitempty"`
}
