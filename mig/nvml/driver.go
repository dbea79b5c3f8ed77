//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// required are the functions without which there is nothing to do. Drivers from R470 on
// have them.
var required = []string{
	"nvmlErrorString",
	"nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion",
	"nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName",
	"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetMemoryInfo",
	"nvmlDeviceGetMigMode", "nvmlDeviceGetGpuInstanceProfileInfo", "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
	"nvmlDeviceGetGpuInstances", "nvmlDeviceCreateGpuInstanceWithPlacement", "nvmlGpuInstanceGetInfo", "nvmlGpuInstanceDestroy",
	"nvmlGpuInstanceGetComputeInstanceProfileInfo", "nvmlGpuInstanceGetComputeInstances",
	"nvmlGpuInstanceCreateComputeInstance", "nvmlComputeInstanceGetInfo_v2", "nvmlComputeInstanceDestroy",
}

// Functions that are called where the library has them.
const (
	symbolCUDA        = "nvmlSystemGetCudaDriverVersion"
	symbolCompute     = "nvmlDeviceGetComputeRunningProcesses_v3"
	symbolGraphics    = "nvmlDeviceGetGraphicsRunningProcesses_v3"
	symbolMPS         = "nvmlDeviceGetMPSComputeRunningProcesses_v3"
	symbolRemapped    = "nvmlDeviceGetRemappedRows"
	symbolUtilization = "nvmlDeviceGetUtilizationRates"
	symbolGPM         = "nvmlGpmMigSampleGet"
	symbolEvents      = "nvmlEventSetWait_v2"
	symbolVBIOS       = "nvmlDeviceGetVbiosVersion"
	symbolArch        = "nvmlDeviceGetArchitecture"
	symbolFields      = "nvmlDeviceGetFieldValues"
	symbolECC         = "nvmlDeviceGetTotalEccErrors"
	symbolEventTypes  = "nvmlDeviceGetSupportedEventTypes"
	symbolVirtual     = "nvmlDeviceGetVirtualizationMode"
)

var optional = []string{
	symbolCUDA, symbolCompute, symbolGraphics, symbolMPS, symbolRemapped, symbolUtilization, symbolGPM, symbolEvents,
	symbolVBIOS, symbolArch, symbolFields, symbolECC, symbolEventTypes, symbolVirtual,
}

// Driver is NVIDIA's driver. Its calls wait for each other.
type Driver struct {
	lib nvml.Interface
	// has are the optional functions that the library has.
	has map[string]bool
	// sharesPIDs: this process sees those of the whole node.
	sharesPIDs bool
	now        func() time.Time
	pause      func(time.Duration)

	mu sync.Mutex
	session
	cards  map[string]*card // by UUID
	events nvml.EventSet    // nil without
}

// card is a GPU that was seen.
type card struct {
	handle nvml.Device // nil after the driver was opened anew, until it is found again
	// last is how it was described when it answered last.
	last     device.GPU
	geometry *mig.Geometry
	samples  map[int]*sample // by GPU instance, -1 is the whole GPU
	watched  bool
	xid      uint64 // the first error that is not an application's; 0 is none
	lost     bool   // it was when it was read last
}

var _ GPUs = (*Driver)(nil)

// Open loads the library and asks the driver in. The error is ErrUnavailable where
// there is none or one that is too old, with the reason.
func Open() (GPUs, error) {
	d, err := New(nvml.New())
	if err != nil {
		return nil, err
	}
	return d, nil
}

// New opens a driver by a library that has not been used yet, such as a mock of one.
func New(lib nvml.Interface) (*Driver, error) {
	d := &Driver{
		lib: lib, has: map[string]bool{}, sharesPIDs: sharesPIDs(), now: time.Now, pause: time.Sleep,
		cards: map[string]*card{},
	}
	if err := d.start(); err != nil {
		return nil, err
	}
	return d, nil
}

// initProblem names why the library could not be used, without asking the library.
func initProblem(r nvml.Return) string {
	switch r {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "libnvidia-ml.so.1 was not found"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the kernel module is not loaded"
	case nvml.ERROR_NO_PERMISSION:
		return "no permission to talk to the kernel module"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "the library and the kernel module have different versions"
	}
	return fmt.Sprintf("the library cannot start (error %d)", int(r))
}

// sharesPIDs reports whether this process is in the node's first PID namespace, which
// has a fixed number.
func sharesPIDs() bool {
	link, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && link == "pid:[4026531836]"
}

// Close lets go of the driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed != nil {
		return nil
	}
	err := d.stop()
	d.session = session{closed: fmt.Errorf("%w: it was let go of", ErrUnavailable), again: d.now().Add(1 << 62)}
	return err
}

// Describe tells the versions.
func (d *Driver) Describe(ctx context.Context) (device.Facts, error) {
	if err := ctx.Err(); err != nil {
		return device.Facts{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return device.Facts{}, err
	}
	var f device.Facts
	var r nvml.Return
	if f.Driver, r = d.lib.SystemGetDriverVersion(); r != nvml.SUCCESS {
		return f, refusal("read the driver's version", r)
	}
	if f.NVML, r = d.lib.SystemGetNVMLVersion(); r != nvml.SUCCESS {
		return f, refusal("read the library's version", r)
	}
	if d.has[symbolCUDA] {
		if version, r := d.lib.SystemGetCudaDriverVersion(); r == nvml.SUCCESS {
			f.CUDA = fmt.Sprintf("%d.%d", version/1000, version%1000/10)
		}
	}
	return f, nil
}

// refusals are the driver's answers that have names.
var refusals = map[nvml.Return]error{
	nvml.ERROR_IN_USE:                    device.ErrInUse,
	nvml.ERROR_NOT_FOUND:                 device.ErrNotFound,
	nvml.ERROR_INVALID_ARGUMENT:          device.ErrInvalid,
	nvml.ERROR_INSUFFICIENT_RESOURCES:    device.ErrNoRoom,
	nvml.ERROR_NOT_SUPPORTED:             device.ErrNotSupported,
	nvml.ERROR_FUNCTION_NOT_FOUND:        device.ErrNotSupported,
	nvml.ERROR_ARGUMENT_VERSION_MISMATCH: device.ErrNotSupported,
	nvml.ERROR_NO_PERMISSION:             device.ErrNoPermission,
	nvml.ERROR_GPU_IS_LOST:               device.ErrLost,
	nvml.ERROR_RESET_REQUIRED:            device.ErrLost,
	nvml.ERROR_GPU_NOT_FOUND:             device.ErrLost,
	nvml.ERROR_UNINITIALIZED:             ErrUnavailable,
	nvml.ERROR_DRIVER_NOT_LOADED:         ErrUnavailable,
	nvml.ERROR_LIB_RM_VERSION_MISMATCH:   ErrUnavailable,
}

// refusal is the error for an answer of the driver, nil if it is none.
func refusal(what string, r nvml.Return) error {
	if r == nvml.SUCCESS {
		return nil
	}
	if named, ok := refusals[r]; ok {
		return fmt.Errorf("%s: %w (%s)", what, named, r.String())
	}
	return fmt.Errorf("%s: %s", what, r.String())
}

// card finds a GPU that was listed before, or asks for it.
func (d *Driver) card(uuid string) (*card, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	if c, ok := d.cards[uuid]; ok && c.handle != nil {
		return c, nil
	}
	if err := d.list(); err != nil {
		return nil, err
	}
	switch c, ok := d.cards[uuid]; {
	case ok && c.handle != nil:
		return c, nil
	case ok:
		return nil, fmt.Errorf("GPU %s: the driver does not list it any more: %w", uuid, device.ErrLost)
	}
	return nil, fmt.Errorf("GPU %s: %w", uuid, device.ErrNotFound)
}

// list looks which GPUs there are, without reading them.
func (d *Driver) list() error {
	count, r := d.lib.DeviceGetCount()
	if r != nvml.SUCCESS {
		return refusal("count the GPUs", r)
	}
	for index := range count {
		if _, err := d.find(index); err != nil && !errors.Is(err, device.ErrLost) {
			return err
		}
	}
	return nil
}

// find returns the GPU that has the driver's number.
func (d *Driver) find(index int) (*card, error) {
	handle, r := d.lib.DeviceGetHandleByIndex(index)
	if r != nvml.SUCCESS {
		return nil, refusal(fmt.Sprintf("find GPU %d", index), r)
	}
	uuid, r := handle.GetUUID()
	if r != nvml.SUCCESS {
		return nil, refusal(fmt.Sprintf("read the UUID of GPU %d", index), r)
	}
	c, ok := d.cards[uuid]
	if !ok {
		c = &card{samples: map[int]*sample{}}
		d.cards[uuid] = c
	}
	c.handle, c.last.UUID, c.last.Index = handle, uuid, index
	return c, nil
}

// text is a C string.
func text(raw []int8) string {
	var b strings.Builder
	for _, c := range raw {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}
