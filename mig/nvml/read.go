//go:build linux && cgo

package nvml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Read lists the GPUs. One that does not answer is described as it was when it did, and
// has a UUID made of its number if it never did.
func (d *Driver) Read(ctx context.Context) ([]device.GPU, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return nil, err
	}
	count, r := d.lib.DeviceGetCount()
	if r != nvml.SUCCESS {
		return nil, d.failed(refusal("count the GPUs", r))
	}
	d.drainEvents()
	seen := map[string]bool{}
	lost := false
	var gpus []device.GPU
	for index := range count {
		g, err := d.look(index)
		if errors.Is(err, ErrUnavailable) {
			return nil, d.failed(err)
		}
		lost = lost || errors.Is(err, device.ErrLost)
		gpus = append(gpus, g)
		seen[g.UUID] = true
	}
	for uuid, c := range d.cards {
		if !seen[uuid] {
			c.lost, lost = true, true
			gpus = append(gpus, unhealthy(c.last, errors.New("the driver does not list it any more")))
		}
	}
	slices.SortFunc(gpus, func(a, b device.GPU) int { return cmp.Compare(a.UUID, b.UUID) })
	d.reopen(lost)
	return gpus, nil
}

// look describes a GPU. The error is why it does not answer.
func (d *Driver) look(index int) (device.GPU, error) {
	c, err := d.find(index)
	if err != nil {
		return d.silent(index, err), err
	}
	return d.read(c)
}

// read describes a GPU that is there.
func (d *Driver) read(c *card) (device.GPU, error) {
	g, err := d.describe(c)
	if c.lost = errors.Is(err, device.ErrLost); err != nil {
		return unhealthy(g, err), err
	}
	g.Healthy = true
	if problem := d.problem(c); problem != "" {
		g.Healthy, g.Problem = false, problem
	}
	c.last = g
	return g, nil
}

// silent describes a GPU that does not tell its UUID: by its number it may be known.
func (d *Driver) silent(index int, problem error) device.GPU {
	for _, c := range d.cards {
		if c.last.Index == index {
			c.lost = c.lost || errors.Is(problem, device.ErrLost)
			return unhealthy(c.last, problem)
		}
	}
	return device.GPU{UUID: fmt.Sprintf("GPU-of-index-%d", index), Index: index, Problem: problem.Error()}
}

// unhealthy is what is left of a description when the GPU does not answer: what it is,
// and nothing of what it may have on it.
func unhealthy(g device.GPU, problem error) device.GPU {
	return device.GPU{
		UUID: g.UUID, PCI: g.PCI, PCIDevice: g.PCIDevice, Product: g.Product, Index: g.Index, MemoryMiB: g.MemoryMiB,
		MIG: g.MIG, Pending: g.Pending, Capable: g.Capable, Problem: problem.Error(),
	}
}

func (d *Driver) describe(c *card) (device.GPU, error) {
	g := c.last
	g.Instances, g.Processes, g.Geometry, g.Healthy, g.Problem = nil, nil, nil, false, ""
	var r nvml.Return
	if g.Product, r = c.handle.GetName(); r != nvml.SUCCESS {
		return g, refusal("read the name", r)
	}
	pci, r := c.handle.GetPciInfo()
	if r != nvml.SUCCESS {
		return g, refusal("read the bus address", r)
	}
	g.PCI, g.PCIDevice = text(pci.BusId[:]), pciDevice(pci)
	memory, r := c.handle.GetMemoryInfo()
	if r != nvml.SUCCESS {
		return g, refusal("read the memory", r)
	}
	g.MemoryMiB = int64(memory.Total >> 20)
	current, pending, r := c.handle.GetMigMode()
	if r == nvml.ERROR_NOT_SUPPORTED {
		g.Processes = d.processes(c.handle)
		return g, nil
	}
	if r != nvml.SUCCESS {
		return g, refusal("read MIG mode", r)
	}
	g.Capable, g.MIG, g.Pending = true, current == nvml.DEVICE_MIG_ENABLE, pending == nvml.DEVICE_MIG_ENABLE
	if c.geometry == nil {
		found, err := geometryOf(c.handle, boardName(g), memory.Total)
		// A GPU that is not cut may keep its profiles to itself.
		if err != nil && g.MIG {
			return g, err
		}
		if err == nil {
			c.geometry = found
		}
	}
	g.Geometry = c.geometry
	if !g.MIG {
		g.Processes = d.processes(c.handle)
		return g, nil
	}
	var err error
	g.Instances, err = d.instances(c)
	return g, err
}

func boardName(g device.GPU) string {
	if board, ok := mig.BoardFor(g.PCIDevice); ok {
		return board.Board
	}
	return g.Product
}

// held is a GPU instance and its handles.
type held struct {
	gi   nvml.GpuInstance
	cis  []nvml.ComputeInstance
	seen device.Instance
}

// instances describes what is on a GPU.
func (d *Driver) instances(c *card) ([]device.Instance, error) {
	all := []device.Instance{}
	if c.geometry == nil {
		return all, nil
	}
	for _, p := range c.geometry.Profiles {
		of, err := d.instancesOf(c, p)
		if err != nil {
			return nil, err
		}
		for _, h := range of {
			all = append(all, h.seen)
		}
	}
	slices.SortFunc(all, func(a, b device.Instance) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Profile, b.Profile))
	})
	return all, nil
}

// instancesOf finds the GPU instances of a profile.
func (d *Driver) instancesOf(c *card, p mig.Profile) ([]held, error) {
	info, r := c.handle.GetGpuInstanceProfileInfo(int(p.ID))
	if r != nvml.SUCCESS {
		return nil, refusal("read profile "+p.Name, r)
	}
	gis, r := c.handle.GetGpuInstances(&info)
	if r != nvml.SUCCESS {
		return nil, refusal("list instances of "+p.Name, r)
	}
	var all []held
	for _, gi := range gis {
		h, err := d.describeGI(gi, p)
		// One that was destroyed by somebody between the two calls is not there.
		if errors.Is(err, device.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func (d *Driver) describeGI(gi nvml.GpuInstance, p mig.Profile) (held, error) {
	info, r := gi.GetInfo()
	if r != nvml.SUCCESS {
		return held{}, refusal("read an instance of "+p.Name, r)
	}
	h := held{gi: gi, seen: device.Instance{
		Placed: mig.Placed{Profile: p.ID, Start: int(info.Placement.Start)}, GI: int(info.Id), CI: -1,
		// Without compute instance there is nothing that a process could run on.
		Processes: []device.Process{},
	}}
	ids := map[uint32]bool{}
	for profile := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
		ciInfo, r := gi.GetComputeInstanceProfileInfo(profile, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		if unsupported(r) {
			continue
		}
		if r != nvml.SUCCESS {
			return held{}, refusal(fmt.Sprintf("read compute profile %d of GPU instance %d", profile, info.Id), r)
		}
		cis, r := gi.GetComputeInstances(&ciInfo)
		if r != nvml.SUCCESS {
			return held{}, refusal(fmt.Sprintf("list compute instances of GPU instance %d", info.Id), r)
		}
		for _, ci := range cis {
			if err := d.describeCI(&h, ci, ids, int(ciInfo.SliceCount) == p.Compute); err != nil {
				return held{}, err
			}
		}
	}
	return h, nil
}

// describeCI adds a compute instance to what is known of its GPU instance.
func (d *Driver) describeCI(h *held, ci nvml.ComputeInstance, ids map[uint32]bool, spans bool) error {
	info, r := ci.GetInfo()
	if r == nvml.ERROR_NOT_FOUND {
		return nil
	}
	if r != nvml.SUCCESS {
		return refusal(fmt.Sprintf("read a compute instance of GPU instance %d", h.seen.GI), r)
	}
	// Two numbers of a profile may stand for the same one on this board.
	if ids[info.Id] {
		return nil
	}
	ids[info.Id] = true
	h.cis = append(h.cis, ci)
	processes := d.processes(info.Device)
	if len(h.cis) > 1 {
		h.seen.Whole = false
		h.seen.Processes = joined(h.seen.Processes, processes)
		return nil
	}
	h.seen.CI, h.seen.Whole, h.seen.Processes = int(info.Id), spans, processes
	// Without its UUID nobody would be seen to hold it. That it is not found is no proof
	// that the GPU instance is gone.
	if h.seen.UUID, r = info.Device.GetUUID(); r != nvml.SUCCESS {
		return fmt.Errorf("read the UUID of a compute instance of GPU instance %d: %s", h.seen.GI, r.String())
	}
	return nil
}

// joined is all processes, or unknown if one of the two is.
func joined(a, b []device.Process) []device.Process {
	if a == nil || b == nil {
		return nil
	}
	return append(a, b...)
}

// pciDevice is the device and vendor ID as people write it.
func pciDevice(pci nvml.PciInfo) string { return fmt.Sprintf("0x%08X", pci.PciDeviceId) }
