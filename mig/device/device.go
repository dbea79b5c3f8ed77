// Package device says what a node's GPUs can be asked and told, whatever stands behind
// them: NVIDIA's driver (mig/nvml) or a simulation of it (mig/simgpu).
//
// It promises names for the ways in which the driver refuses, so that who calls can
// tell what to try again from what will never work. It refuses to change MIG mode:
// there is no call for it.
package device

import (
	"context"
	"errors"

	"github.com/ebbtide/ebbtide/mig"
)

// The ways in which a driver refuses. Errors that calls return wrap one of these, or
// something else that is to be tried again.
var (
	// ErrInUse: processes or compute instances are still there.
	ErrInUse = errors.New("in use by another client")
	// ErrNotFound: no such GPU or instance, or no longer.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the board allows no such placement.
	ErrInvalid = errors.New("invalid argument")
	// ErrNoRoom: the place is taken, maybe by what was to be created: read the state.
	ErrNoRoom = errors.New("insufficient resources")
	// ErrNotSupported: MIG mode is off, or the GPU or driver cannot do it.
	ErrNotSupported = errors.New("not supported")
	// ErrNoPermission: the caller may not.
	ErrNoPermission = errors.New("no permission")
	// ErrLost: the GPU is gone from the bus or needs a reset.
	ErrLost = errors.New("GPU is lost")
)

// GPU is one GPU as the driver describes it.
type GPU struct {
	UUID string `json:"uuid"`
	// PCI is the bus address, PCIDevice the device and vendor ID (0x20B010DE).
	PCI       string `json:"pci"`
	PCIDevice string `json:"pciDevice"`
	Product   string `json:"product"`
	// Index is the driver's number. It changes when GPUs are lost.
	Index     int   `json:"index"`
	MemoryMiB int64 `json:"memoryMiB"`
	// MIG is whether MIG mode is on, Pending what it will be after a reset; Capable
	// whether the GPU has it at all.
	MIG     bool `json:"mig"`
	Pending bool `json:"migPending"`
	Capable bool `json:"migCapable"`
	// Healthy is false with Problem saying why: lost, uncorrectable memory errors.
	Healthy bool   `json:"healthy"`
	Problem string `json:"problem,omitempty"`
	// Geometry is what the driver offers; nil if it cannot say. Profiles that it names
	// and that this program does not know are in it.
	Geometry *mig.Geometry `json:"geometry,omitempty"`
	// Instances by start, then profile; nil with MIG off.
	Instances []Instance `json:"instances,omitempty"`
	// Processes on a GPU that is not in MIG mode; nil is not known.
	Processes []Process `json:"processes,omitempty"`
}

// Instance is a GPU instance as the driver describes it.
type Instance struct {
	mig.Placed
	// GI and CI are the driver's numbers; CI is -1 for one without compute instance.
	GI int `json:"gi"`
	CI int `json:"ci"`
	// UUID of the MIG device; empty without compute instance. Neither unique over time
	// nor stable.
	UUID string `json:"uuid,omitempty"`
	// Whole: it has exactly one compute instance, which spans it.
	Whole bool `json:"whole"`
	// Processes on it; nil is not known, empty is none.
	Processes []Process `json:"processes"`
}

// Process is a client of a GPU or an instance.
type Process struct {
	PID       int   `json:"pid"`
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
}

// Activity is how busy an instance, or a whole GPU, was between two readings, as
// shares from 0 to 1. nil is not available, which is never 0.
type Activity struct {
	Graphics *float64 `json:"graphics,omitempty"`
	SM       *float64 `json:"sm,omitempty"`
	Tensor   *float64 `json:"tensor,omitempty"`
	DRAM     *float64 `json:"dram,omitempty"`
	// MemoryUsedMiB of the instance's memory.
	MemoryUsedMiB *int64 `json:"memoryUsedMiB,omitempty"`
	// Source says where it comes from: gpm, dcgm, nvml.
	Source string `json:"source,omitempty"`
}

// Driver is a node's GPUs. It is for one caller at a time; calls block until the driver
// has answered, which a busy GPU may take seconds for. A context that ends keeps a call
// from beginning, and does not take back one that has begun.
type Driver interface {
	// Read lists the GPUs with their instances as they are now, by UUID. Instances are
	// found profile by profile, so that those without a compute instance are listed. A
	// GPU that does not answer is listed with Healthy false.
	Read(ctx context.Context) ([]GPU, error)
	// Create makes a GPU instance at the place and one compute instance that spans it.
	// Where the second fails, the first is destroyed again; where that fails too it
	// stays, as Read will say.
	Create(ctx context.Context, gpu string, at mig.Placed) (Instance, error)
	// Destroy ends the compute instances and the GPU instance at the place, if it has the
	// number gi; -1 is any. ErrInUse leaves a GPU instance without compute instance where
	// only the second refused.
	// Look by Read that it is gone: GPUs were seen to report success and keep it.
	Destroy(ctx context.Context, gpu string, at mig.Placed, gi int) error
	// Repair makes the compute instance of a GPU instance that has none.
	Repair(ctx context.Context, gpu string, at mig.Placed) (Instance, error)
	// Activity of the instance at the place, or of the whole GPU if at is nil, since the
	// call before. The shares are nil on the first call, which has none before it.
	Activity(ctx context.Context, gpu string, at *mig.Placed) (Activity, error)
}

// Facts is what Describe tells of the driver itself.
type Facts struct {
	Driver string `json:"driver"`
	NVML   string `json:"nvml"`
	CUDA   string `json:"cuda,omitempty"`
	// Simulated: there is no hardware behind it.
	Simulated bool `json:"simulated,omitempty"`
}

// Describer is a Driver that knows its versions.
type Describer interface {
	Describe(ctx context.Context) (Facts, error)
}
