//go:build linux && cgo

package nvml

import (
	"fmt"
	"math"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig/device"
)

// processes lists what runs on a GPU or on the device of an instance; nil is not known.
func (d *Driver) processes(handle nvml.Device) []device.Process {
	if !d.sharesPIDs || !d.has[symbolCompute] {
		return nil
	}
	infos, r := handle.GetComputeRunningProcesses()
	if r != nvml.SUCCESS {
		return nil
	}
	// Not every device can have the other kinds.
	if d.has[symbolGraphics] {
		more, r := handle.GetGraphicsRunningProcesses()
		if r != nvml.SUCCESS && r != nvml.ERROR_NOT_SUPPORTED {
			return nil
		}
		infos = append(infos, more...)
	}
	if d.has[symbolMPS] {
		more, r := handle.GetMPSComputeRunningProcesses()
		if r != nvml.SUCCESS && r != nvml.ERROR_NOT_SUPPORTED {
			return nil
		}
		infos = append(infos, more...)
	}
	all := []device.Process{}
	for _, info := range infos {
		p := device.Process{PID: int(info.Pid)}
		if info.UsedGpuMemory != math.MaxUint64 { // not available
			p.MemoryMiB = int64(info.UsedGpuMemory >> 20)
		}
		if !slices.ContainsFunc(all, func(other device.Process) bool { return other.PID == p.PID }) {
			all = append(all, p)
		}
	}
	return all
}

// applicationXids are the errors that are an application's fault, or its end. All others
// may be the GPU's.
var applicationXids = []uint64{13, 31, 43, 45, 68, 109}

// problem says why a GPU that answers should not be used; empty if nothing is known
// against it. An error that the driver reported counts for as long as the driver is open.
func (d *Driver) problem(c *card) string {
	if c.xid != 0 {
		return fmt.Sprintf("the driver reported Xid %d", c.xid)
	}
	// Rows that wait for a reset to be remapped are not used meanwhile. With instances on
	// it a GPU does not tell, and a failure shows as an error of its own.
	if d.has[symbolRemapped] {
		if _, _, _, failed, r := c.handle.GetRemappedRows(); r == nvml.SUCCESS && failed {
			return "a faulty row of memory could not be remapped"
		}
	}
	d.watch(c)
	return ""
}

// watch has the driver tell of errors on the GPU from now on. Without events, what
// happens to the GPU is seen when it does not answer; a driver that only does not go along
// this time is asked again with the next reading.
func (d *Driver) watch(c *card) {
	if c.watched || !d.has[symbolEvents] {
		return
	}
	if d.events == nil {
		set, r := d.lib.EventSetCreate()
		if r != nvml.SUCCESS {
			d.has[symbolEvents] = !unsupported(r)
			return
		}
		d.events = set
	}
	r := c.handle.RegisterEvents(nvml.EventTypeXidCriticalError, d.events)
	c.watched = r == nvml.SUCCESS || unsupported(r) // a GPU without such events has none to tell
}

// drainEvents takes what the driver has to tell, without waiting for more.
func (d *Driver) drainEvents() {
	for d.events != nil {
		e, r := d.events.Wait(0)
		if r != nvml.SUCCESS {
			return
		}
		if e.EventType != nvml.EventTypeXidCriticalError || slices.Contains(applicationXids, e.EventData) {
			continue
		}
		uuid, r := e.Device.GetUUID()
		if c, ok := d.cards[uuid]; ok && r == nvml.SUCCESS && c.xid == 0 {
			c.xid = e.EventData
		}
	}
}
