package nvml

import (
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Reading is what a node's driver said when it was asked everything.
type Reading struct {
	Facts device.Facts `json:"facts"`
	// Lacks are the functions that this program would call and the library does not have.
	Lacks []string `json:"lacks,omitempty"`
	// SharesPIDs: processes of the whole node can be seen. Otherwise they are unknown.
	SharesPIDs bool         `json:"sharesPIDs"`
	GPUs       []GPUReading `json:"gpus"`
	// ReadMilliseconds is how long Read took: the first time, with the board still to be
	// read, and after that.
	ReadMilliseconds []float64 `json:"readMilliseconds"`
}

// GPUReading is all about one GPU.
type GPUReading struct {
	device.GPU
	VBIOS        string `json:"vbios,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	// ResetlessMIG and IndependentMIGQuery are the driver's fields 184 and 199: MIG mode
	// changes without a reset, and can be asked about in any mode.
	ResetlessMIG        Answer `json:"resetlessMIG"`
	IndependentMIGQuery Answer `json:"independentMIGQuery"`
	// Profiles by number, with those that the board does not have and why.
	Profiles []ProfileReading `json:"profiles,omitempty"`
	// Board is the entry in this program's list of boards, and Differences what the driver
	// says otherwise.
	Board       string   `json:"board,omitempty"`
	Differences []string `json:"differences,omitempty"`
	// GPM is whether the driver measures activity; Activity between two samples, of the
	// whole GPU.
	GPM      Answer           `json:"gpm"`
	Activity *device.Activity `json:"activity,omitempty"`
	// Uncorrected memory errors since the driver was loaded, rows that were remapped for
	// them, and whether one waits for a reset or could not be.
	Uncorrected    Answer `json:"uncorrected"`
	RemappedRows   Answer `json:"remappedRows"`
	RemapPending   bool   `json:"remapPending"`
	RemapFailed    bool   `json:"remapFailed"`
	EventTypes     Answer `json:"eventTypes"`
	Virtualization Answer `json:"virtualization"`
}

// Answer is a number, or why there is none.
type Answer struct {
	Value *uint64 `json:"value,omitempty"`
	Error string  `json:"error,omitempty"`
}

// ProfileReading is what the driver said when it was asked for a profile.
type ProfileReading struct {
	ID          mig.ProfileID `json:"id"`
	Error       string        `json:"error,omitempty"`
	GIProfileID uint32        `json:"giProfileID"`
	Name        string        `json:"name,omitempty"`
	Slices      uint32        `json:"slices"`
	Instances   uint32        `json:"instances"`
	SMs         uint32        `json:"sms"`
	CopyEngines uint32        `json:"copyEngines"`
	Engines     mig.Engines   `json:"engines,omitzero"`
	MemoryMiB   uint64        `json:"memoryMiB"`
	// Placements as the driver lists them: start and size.
	Placements [][2]uint32 `json:"placements,omitempty"`
	// PlacementsError is why there are none.
	PlacementsError string `json:"placementsError,omitempty"`
}
