//go:build linux && cgo

package nvml

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
)

// profilesEnd is past every number that a profile has in any library to come. The list
// ends where the driver says that a number is invalid, and not before those that this
// program knows.
const profilesEnd = 64

// profileInfos asks the driver for all its profiles. fn gets each answer, with the
// number that the driver is asked by.
func profileInfos(handle nvml.Device, fn func(id int, info nvml.GpuInstanceProfileInfo, r nvml.Return)) {
	for id := range profilesEnd {
		info, r := handle.GetGpuInstanceProfileInfo(id)
		if r == nvml.ERROR_INVALID_ARGUMENT && id >= nvml.GPU_INSTANCE_PROFILE_COUNT {
			return
		}
		fn(id, info, r)
	}
}

// unsupported reports whether the driver says that there is no such thing. Any other
// refusal says nothing of what there is.
func unsupported(r nvml.Return) bool {
	return r == nvml.ERROR_NOT_SUPPORTED || r == nvml.ERROR_INVALID_ARGUMENT
}

// geometryOf is what the driver says that the GPU can be cut into; nil without profiles.
// Where the driver does not answer for one of them, it is an error.
func geometryOf(handle nvml.Device, board string, memoryBytes uint64) (*mig.Geometry, error) {
	g := &mig.Geometry{Board: board}
	var failed error
	profileInfos(handle, func(id int, info nvml.GpuInstanceProfileInfo, r nvml.Return) {
		var places []nvml.GpuInstancePlacement
		if r == nvml.SUCCESS {
			places, r = handle.GetGpuInstancePossiblePlacements(&info)
		}
		if r != nvml.SUCCESS && !unsupported(r) {
			failed = errors.Join(failed, refusal(fmt.Sprintf("read profile %d", id), r))
		}
		if r != nvml.SUCCESS || len(places) == 0 {
			return
		}
		p := profileOf(id, info, places, memoryBytes)
		g.Profiles = append(g.Profiles, p)
		g.Slots = max(g.Slots, p.Starts[len(p.Starts)-1]+p.Memory)
	})
	if failed != nil || len(g.Profiles) == 0 {
		return nil, failed
	}
	// What the largest instance has is what the GPU has.
	for _, p := range g.Profiles {
		if p.Memory == g.Slots {
			g.Engines.Decoders = max(g.Engines.Decoders, p.Engines.Decoders)
			g.Engines.Encoders = max(g.Engines.Encoders, p.Engines.Encoders)
			g.Engines.JPEG = max(g.Engines.JPEG, p.Engines.JPEG)
			g.Engines.OFA = max(g.Engines.OFA, p.Engines.OFA)
		}
	}
	return g, nil
}

func profileOf(id int, info nvml.GpuInstanceProfileInfo, places []nvml.GpuInstancePlacement, memoryBytes uint64) mig.Profile {
	p := mig.Profile{
		ID: mig.ProfileID(id), GIProfileID: info.Id, Name: profileName(id, info, memoryBytes),
		Compute: int(info.SliceCount), Max: int(info.InstanceCount),
		MemoryMiB: int64(info.MemorySizeMB), SMs: int(info.MultiprocessorCount), Engines: enginesOf(info),
	}
	for _, place := range places {
		p.Memory = int(place.Size)
		p.Starts = append(p.Starts, int(place.Start))
	}
	slices.Sort(p.Starts)
	return p
}

func enginesOf(info nvml.GpuInstanceProfileInfo) mig.Engines {
	return mig.Engines{
		Decoders: int(info.DecoderCount), Encoders: int(info.EncoderCount),
		JPEG: int(info.JpegCount), OFA: int(info.OfaCount),
	}
}

// attributes are what names say of the engines of a profile, beside its size.
var attributes = map[int]string{
	nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1:   "+me",
	nvml.GPU_INSTANCE_PROFILE_2_SLICE_REV1:   "+me",
	nvml.GPU_INSTANCE_PROFILE_1_SLICE_GFX:    "+gfx",
	nvml.GPU_INSTANCE_PROFILE_2_SLICE_GFX:    "+gfx",
	nvml.GPU_INSTANCE_PROFILE_3_SLICE_GFX:    "+gfx",
	nvml.GPU_INSTANCE_PROFILE_4_SLICE_GFX:    "+gfx",
	nvml.GPU_INSTANCE_PROFILE_1_SLICE_NO_ME:  "-me",
	nvml.GPU_INSTANCE_PROFILE_2_SLICE_NO_ME:  "-me",
	nvml.GPU_INSTANCE_PROFILE_1_SLICE_ALL_ME: "+me.all",
	nvml.GPU_INSTANCE_PROFILE_2_SLICE_ALL_ME: "+me.all",
}

// profileName is the name by which NVIDIA's device plugin advertises a profile: its
// slices, and its part of the GPU's memory, which is rounded up to eighths and then to
// gigabytes. Drivers print other names for some boards; the advertised one is the one
// that pods ask for. A profile that came after this program has its number in its name,
// so that no two have the same.
func profileName(id int, info nvml.GpuInstanceProfileInfo, memoryBytes uint64) string {
	const mib, gib = 1 << 20, 1 << 30
	share := 1.0
	if memoryBytes > 0 {
		share = float64(info.MemorySizeMB*mib) / float64(memoryBytes)
	}
	total := float64((memoryBytes + gib - 1) / gib)
	name := fmt.Sprintf("%dg.%dgb", info.SliceCount, int(math.Round(math.Ceil(share*8)/8*total)))
	if id >= nvml.GPU_INSTANCE_PROFILE_COUNT {
		return fmt.Sprintf("%s+profile%d", name, id)
	}
	return name + attributes[id]
}

// computeProfiles are the numbers of the compute instance that spans a GPU instance of
// so many slices.
var computeProfiles = map[int]int{
	1: nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, 2: nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE,
	3: nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE, 4: nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE,
	6: nvml.COMPUTE_INSTANCE_PROFILE_6_SLICE, 7: nvml.COMPUTE_INSTANCE_PROFILE_7_SLICE,
	8: nvml.COMPUTE_INSTANCE_PROFILE_8_SLICE,
}
