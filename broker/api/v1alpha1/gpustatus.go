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
	// Namespace of the pod.
	// +required
	Namespace string `json:"namespace"`
	// Name of the pod.
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
	// Graphics is for how much of the time its compute or graphics engine was in use.
	// +optional
	Graphics *int32 `json:"graphics,omitempty"`
	// SM is the share of its multiprocessors that had work.
	// +optional
	SM *int32 `json:"sm,omitempty"`
	// Tensor is for how much of the time its tensor cores were in use.
	// +optional
	Tensor *int32 `json:"tensor,omitempty"`
	// DRAM is for how much of the time its memory was read or written.
	// +optional
	DRAM *int32 `json:"dram,omitempty"`
	// MemoryUsedMiB is how much of its memory is taken, in MiB.
	// +optional
	MemoryUsedMiB *int64 `json:"memoryUsedMiB,omitempty"`
	// Source: gpm, dcgm or nvml.
	// +optional
	Source string `json:"source,omitempty"`
}

// MIGProfile is a size of slice that a GPU offers, as its driver says.
type MIGProfile struct {
	// Profile is NVML's number of it (nvmlGpuInstanceProfile_t).
	// +required
	Profile int32 `json:"profile"`
	// GIProfileID is its number in nvidia-smi mig -lgip.
	// +required
	GIProfileID int64 `json:"giProfileID"`
	// Name that the driver has for it, such as 1g.5gb.
	// +required
	Name string `json:"name"`
	// Compute slices of one instance.
	// +required
	Compute int32 `json:"compute"`
	// Memory slots of one instance.
	// +required
	Memory int32 `json:"memory"`
	// Max instances of it at once.
	// +required
	Max int32 `json:"max"`
	// MemoryMiB of one instance; 0: not known.
	// +optional
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	// SMs (multiprocessors) of one instance; 0: not known.
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
	// Decoders of video (NVDEC).
	// +optional
	Decoders int32 `json:"decoders,omitempty"`
	// Encoders of video (NVENC).
	// +optional
	Encoders int32 `json:"encoders,omitempty"`
	// JPEG decoders.
	// +optional
	JPEG int32 `json:"jpeg,omitempty"`
	// OFA are optical flow accelerators.
	// +optional
	OFA int32 `json:"ofa,omitempty"`
}

// MIGBoard is what the GPUs of one kind can be cut into.
type MIGBoard struct {
	// Name that status.gpus[].board refers to.
	// +required
	Name string `json:"name"`
	// Slots is the number of memory slots.
	// +required
	Slots int32 `json:"slots"`
	// Engines of the whole GPU.
	// +optional
	Engines *MediaEngines `json:"engines,omitempty"`
	// Profiles that it offers, as its driver says.
	// +required
	// +listType=atomic
	Profiles []MIGProfile `json:"profiles"`
}

// GPUStatus is one GPU of a node.
type GPUStatus struct {
	// UUID of the GPU, as the driver says.
	// +required
	UUID string `json:"uuid"`
	// PCI address.
	// +optional
	PCI string `json:"pci,omitempty"`
	// Product is what the driver calls it.
	// +optional
	Product string `json:"product,omitempty"`
	// MemoryMiB of the whole GPU.
	// +optional
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	// MIG is whether MIG mode is on.
	// +optional
	MIG bool `json:"mig,omitempty"`
	// Board is the entry of status.boards that says what it can be cut into.
	// +optional
	Board string `json:"board,omitempty"`
	// Healthy is whether it is fit for lending: it answers, and nothing is wrong with it.
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
	// Holder is the pod that a GPU was handed to which is not in MIG mode.
	// +optional
	Holder *GPUHolder `json:"holder,omitempty"`
	// Processes on a GPU that is not in MIG mode; absent: not known.
	// +optional
	Processes *int32 `json:"processes,omitempty"`
	// Activity of a GPU that is not in MIG mode, in percent.
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
	// ID of the entry in spec.reshapes.
	// +required
	ID string `json:"id"`
	// State: Making, Made, Undoing, Undone, Refused or Stuck.
	// +required
	State string `json:"state"`
	// Message says why it was refused, what it waits for or what holds it.
	// +optional
	Message string `json:"message,omitempty"`
	// Since is when the state began.
	// +optional
	Since metav1.MicroTime `json:"since,omitzero"`
	// MakeMilliseconds is how long making it took, with handing out what was made.
	// +optional
	MakeMilliseconds int64 `json:"makeMilliseconds,omitempty"`
	// UndoMilliseconds is how long undoing it took; absent if that was not measured, as when
	// it was stuck or the agent was away meanwhile.
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
	// ReasonHoldersUnknown: of Ready, that who holds the slices could not be found out.
	ReasonHoldersUnknown = "HoldersUnknown"
	// GPUNodeLendable: nothing about the node would let a pod at GPUs that it was not
	// given. The broker lends nothing on a node where it is not True.
	GPUNodeLendable = "Lendable"
)

// GPUNodeStatus is what the node's agent reads and has done.
type GPUNodeStatus struct {
	// Conditions: Ready (the agent reads the GPUs and may change their layouts) and Lendable
	// (nothing lets a pod at GPUs that it was not given; else nothing new is lent here).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Heartbeat is when the agent last read the GPUs, by its node's clock. What it said is
	// unknown once this has not changed for two minutes.
	// +optional
	Heartbeat metav1.MicroTime `json:"heartbeat,omitzero"`
	// Driver is NVIDIA's driver's version.
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
	// Reshapes are how far those of spec.reshapes are.
	// +optional
	// +listType=map
	// +listMapKey=id
	Reshapes []ReshapeStatus `json:"reshapes,omitempty"`
}
