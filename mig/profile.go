package mig

import "strings"

// ProfileID is NVML's number of a GPU instance profile, nvmlGpuInstanceProfile_t: what
// the driver is asked with. It is not the number that nvidia-smi shows; that one is
// Profile.GIProfileID. Names differ from driver to driver and are for people.
type ProfileID int

// Engines are the media engines of a GPU or an instance.
type Engines struct {
	Decoders int `json:"decoders,omitempty"`
	Encoders int `json:"encoders,omitempty"`
	JPEG     int `json:"jpeg,omitempty"`
	OFA      int `json:"ofa,omitempty"`
}

// Profile is one size of slice that a board offers.
type Profile struct {
	ID ProfileID `json:"id"`
	// GIProfileID is the number that nvidia-smi mig -lgip shows.
	GIProfileID uint32 `json:"giProfileID"`
	// Name is as the driver writes it: 1g.5gb, 1g.5gb+me.
	Name string `json:"name"`
	// Compute slices of the GPU, and memory slots, which is the size of its placements.
	Compute int `json:"compute"`
	Memory  int `json:"memory"`
	// Max instances of the profile at once.
	Max int `json:"max"`
	// MemoryMiB and SMs of one instance; 0 is not known.
	MemoryMiB int64   `json:"memoryMiB,omitempty"`
	SMs       int     `json:"sms,omitempty"`
	Engines   Engines `json:"engines,omitzero"`
	// Starts are the slots where an instance may begin, ascending.
	Starts []int `json:"starts"`
}

// Geometry is what a board can be cut into.
type Geometry struct {
	// Board is its name in the list of boards, or what the driver calls the product.
	Board string `json:"board"`
	// Slots is the length of the axis on which instances are placed: 8 for most boards,
	// 4 and 12 for others. At most 16.
	Slots    int       `json:"slots"`
	Profiles []Profile `json:"profiles"` // by ID
	// Engines of the whole GPU, which instances share out. A number that is 0 is not
	// known, or there are none that an instance could have: it limits nothing.
	Engines Engines `json:"engines,omitzero"`
	// Apart are pairs of profiles that the driver does not allow at once, although there
	// is room: see BeforeR510.
	Apart [][2]ProfileID `json:"apart,omitempty"`
}

// Placed is an instance's place on a GPU: a profile and where it starts.
type Placed struct {
	Profile ProfileID `json:"profile"`
	Start   int       `json:"start"`
}

// Resource is the extended resource under which NVIDIA's device plugin advertises
// instances of the profile with the mixed strategy: nvidia.com/mig-1g.5gb.me for
// 1g.5gb+me.
func (p Profile) Resource() string { return "nvidia.com/mig-" + strings.ReplaceAll(p.Name, "+", ".") }

// Profile returns the profile with the number, if the board has it.
func (g *Geometry) Profile(id ProfileID) (Profile, bool) {
	for _, p := range g.Profiles {
		if p.ID == id {
			return p, true
		}
	}
	return Profile{}, false
}

// ProfileOf returns the profile that a resource name stands for, if the board has it.
func (g *Geometry) ProfileOf(resource string) (Profile, bool) {
	for _, p := range g.Profiles {
		if p.Resource() == resource {
			return p, true
		}
	}
	return Profile{}, false
}
