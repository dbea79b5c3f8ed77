//go:build linux && cgo

package nvml

import (
	"context"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
)

// Probe reads everything. It takes as long as Read does and, for each GPU that measures
// activity, a fifth of a second.
func (d *Driver) Probe(ctx context.Context) (Reading, error) {
	reading := Reading{SharesPIDs: d.sharesPIDs}
	var err error
	if reading.Facts, err = d.Describe(ctx); err != nil {
		return Reading{}, err
	}
	for _, symbol := range optional {
		if !d.has[symbol] {
			reading.Lacks = append(reading.Lacks, symbol)
		}
	}
	for range 3 {
		before := d.now()
		gpus, err := d.Read(ctx)
		if err != nil {
			return Reading{}, err
		}
		reading.ReadMilliseconds = append(reading.ReadMilliseconds, float64(d.now().Sub(before).Microseconds())/1000)
		reading.GPUs = nil
		for _, g := range gpus {
			reading.GPUs = append(reading.GPUs, GPUReading{GPU: g})
		}
	}
	for n := range reading.GPUs {
		if err := d.probe(ctx, &reading.GPUs[n]); err != nil {
			return Reading{}, err
		}
	}
	return reading, nil
}

func (d *Driver) probe(ctx context.Context, g *GPUReading) error {
	d.mu.Lock()
	c := d.cards[g.UUID]
	d.mu.Unlock()
	if c == nil || c.handle == nil {
		return nil // It never answered.
	}
	d.probeFacts(c.handle, g)
	d.probeMemory(c.handle, g)
	profileInfos(c.handle, func(id int, info nvml.GpuInstanceProfileInfo, r nvml.Return) {
		g.Profiles = append(g.Profiles, probeProfile(c.handle, id, info, r, uint64(g.MemoryMiB)<<20))
	})
	if board, ok := mig.BoardFor(g.PCIDevice); ok {
		g.Board = board.Board
		if g.Geometry != nil {
			g.Differences = mig.Difference(*g.Geometry, board)
		}
	}
	// The first call has nothing to compare with.
	for range 2 {
		a, err := d.Activity(ctx, g.UUID, nil)
		if err != nil {
			g.GPM.Error = err.Error()
			return ctx.Err()
		}
		g.Activity = &a
		d.pause(2 * leastInterval)
	}
	return ctx.Err()
}

func (d *Driver) probeFacts(handle nvml.Device, g *GPUReading) {
	if d.has[symbolVBIOS] {
		g.VBIOS, _ = handle.GetVbiosVersion()
	}
	if d.has[symbolArch] {
		if arch, r := handle.GetArchitecture(); r == nvml.SUCCESS {
			g.Architecture = architecture(arch)
		}
	}
	g.ResetlessMIG = d.field(handle, nvml.FI_DEV_IS_RESETLESS_MIG_SUPPORTED)
	g.IndependentMIGQuery = d.field(handle, nvml.FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE)
	g.GPM = d.ask(symbolGPM, func() (uint64, nvml.Return) {
		support, r := handle.GpmQueryDeviceSupport()
		return uint64(support.IsSupportedDevice), r
	})
	g.EventTypes = d.ask(symbolEventTypes, handle.GetSupportedEventTypes)
	g.Virtualization = d.ask(symbolVirtual, func() (uint64, nvml.Return) {
		mode, r := handle.GetVirtualizationMode()
		return uint64(mode), r
	})
}

func (d *Driver) probeMemory(handle nvml.Device, g *GPUReading) {
	g.Uncorrected = d.ask(symbolECC, func() (uint64, nvml.Return) {
		return handle.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	})
	g.RemappedRows = d.ask(symbolRemapped, func() (uint64, nvml.Return) {
		_, uncorrectable, pending, failed, r := handle.GetRemappedRows()
		g.RemapPending, g.RemapFailed = pending, failed
		return uint64(uncorrectable), r
	})
}

// ask calls a function that the library may lack.
func (d *Driver) ask(symbol string, call func() (uint64, nvml.Return)) Answer {
	if !d.has[symbol] {
		return Answer{Error: "the library lacks " + symbol}
	}
	n, r := call()
	if r != nvml.SUCCESS {
		return Answer{Error: r.Error()}
	}
	return Answer{Value: &n}
}

func (d *Driver) field(handle nvml.Device, id uint32) Answer {
	return d.ask(symbolFields, func() (uint64, nvml.Return) {
		values := []nvml.FieldValue{{FieldId: id}}
		if r := handle.GetFieldValues(values); r != nvml.SUCCESS {
			return 0, r
		}
		// The first byte tells yes from no in each of the types that a field can have.
		return uint64(values[0].Value[0]), nvml.Return(values[0].NvmlReturn)
	})
}

func probeProfile(handle nvml.Device, id int, info nvml.GpuInstanceProfileInfo, r nvml.Return, memoryBytes uint64) ProfileReading {
	p := ProfileReading{ID: mig.ProfileID(id)}
	if r != nvml.SUCCESS {
		p.Error = r.Error()
		return p
	}
	p.GIProfileID, p.Name, p.Slices, p.Instances = info.Id, profileName(id, info, memoryBytes), info.SliceCount, info.InstanceCount
	p.SMs, p.CopyEngines, p.Engines, p.MemoryMiB = info.MultiprocessorCount, info.CopyEngineCount, enginesOf(info), info.MemorySizeMB
	places, r := handle.GetGpuInstancePossiblePlacements(&info)
	if r != nvml.SUCCESS {
		p.PlacementsError = r.Error()
	}
	for _, place := range places {
		p.Placements = append(p.Placements, [2]uint32{place.Start, place.Size})
	}
	return p
}

func architecture(arch nvml.DeviceArchitecture) string {
	names := map[nvml.DeviceArchitecture]string{
		nvml.DEVICE_ARCH_VOLTA: "Volta", nvml.DEVICE_ARCH_TURING: "Turing", nvml.DEVICE_ARCH_AMPERE: "Ampere",
		nvml.DEVICE_ARCH_ADA: "Ada", nvml.DEVICE_ARCH_HOPPER: "Hopper", nvml.DEVICE_ARCH_BLACKWELL: "Blackwell",
	}
	if name, ok := names[arch]; ok {
		return name
	}
	return fmt.Sprintf("architecture %d", arch)
}
