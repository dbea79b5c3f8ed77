//go:build linux && cgo

package nvml

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/device/devicetest"
)

// strict is a library with one GPU that refuses what the hardware refuses, where
// go-nvml's mock allows it.
type strict struct {
	mock.Interface
	mock.ExtendedInterface
	gpu      mock.Device
	geometry mig.Geometry
	mode     int
	lost     bool
	gis      []*strictGI
	// fail has calls by that name answer otherwise.
	fail map[string]nvml.Return
	// remain has GPU instances stay although they were destroyed.
	remain bool
	// elsewhere has GPU instances be made at another place than was asked for.
	elsewhere int
	xids      []uint64
	freed     int
	taken     int
	shut      bool
}

// strictGI is a GPU instance with at most one compute instance.
type strictGI struct {
	mock.GpuInstance
	at        mig.Placed
	id        uint32
	ci        *mock.ComputeInstance
	leaked    bool
	busy      float64
	processes []nvml.ProcessInfo
}

const strictUUID = "GPU-12345678-0000-0000-0000-000000000000"

func newStrict(g mig.Geometry) *strict {
	s := &strict{geometry: g, mode: nvml.DEVICE_MIG_ENABLE, fail: map[string]nvml.Return{}}
	s.ExtensionsFunc = func() nvml.ExtendedInterface { return s }
	s.LookupSymbolFunc = func(string) error { return nil }
	s.InitFunc = func() nvml.Return { return nvml.SUCCESS }
	s.ShutdownFunc = func() nvml.Return { s.shut = true; return nvml.SUCCESS }
	s.SystemGetDriverVersionFunc = func() (string, nvml.Return) { return "570.1", nvml.SUCCESS }
	s.SystemGetNVMLVersionFunc = func() (string, nvml.Return) { return "12.570", nvml.SUCCESS }
	s.SystemGetCudaDriverVersionFunc = func() (int, nvml.Return) { return 12080, nvml.SUCCESS }
	s.DeviceGetCountFunc = func() (int, nvml.Return) { return 1, nvml.SUCCESS }
	s.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return &s.gpu, s.answer("handle") }
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return s.events(), nvml.SUCCESS }
	s.GpmSampleAllocFunc = func() (nvml.GpmSample, nvml.Return) { s.taken++; return s.sample(), nvml.SUCCESS }
	s.GpmMetricsGetFunc = metricsGet
	s.device()
	return s
}

// answer is what a call gets: what the test said, or that the GPU is lost.
func (s *strict) answer(call string) nvml.Return {
	if r, ok := s.fail[call]; ok {
		return r
	}
	if s.lost && call != "handle" && call != "uuid" {
		return nvml.ERROR_GPU_IS_LOST
	}
	return nvml.SUCCESS
}

func (s *strict) device() {
	d := &s.gpu
	d.GetUUIDFunc = func() (string, nvml.Return) { return strictUUID, s.answer("uuid") }
	d.GetNameFunc = func() (string, nvml.Return) { return "Strict " + s.geometry.Board, s.answer("name") }
	d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) {
		p := nvml.PciInfo{PciDeviceId: 0x233010DE}
		for n, c := range "00000000:01:00.0" {
			p.BusId[n] = int8(c)
		}
		return p, s.answer("pci")
	}
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
		return nvml.Memory{Total: 81559 << 20, Used: 512 << 20}, s.answer("memory")
	}
	d.GetMigModeFunc = func() (int, int, nvml.Return) { return s.mode, s.mode, s.answer("mode") }
	d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) {
		_, pending := s.fail["pending"]
		_, failed := s.fail["failed"]
		return 0, 1, pending, failed, s.answer("rows")
	}
	d.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 40}, s.answer("rates") }
	d.GpmQueryDeviceSupportFunc = func() (nvml.GpmSupport, nvml.Return) {
		return nvml.GpmSupport{IsSupportedDevice: 1}, s.answer("gpm")
	}
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 9, UsedGpuMemory: 1 << 20}}, s.answer("processes")
	}
	d.GetGraphicsRunningProcessesFunc = none
	d.GetMPSComputeRunningProcessesFunc = none
	d.GetGpuInstanceProfileInfoFunc = s.profileInfo
	d.GetGpuInstancePossiblePlacementsFunc = func(info *nvml.GpuInstanceProfileInfo) (all []nvml.GpuInstancePlacement, r nvml.Return) {
		p, _ := s.geometry.Profile(s.number(info.Id))
		for _, start := range slices.Backward(p.Starts) { // the driver promises no order
			all = append(all, nvml.GpuInstancePlacement{Start: uint32(start), Size: uint32(p.Memory)})
		}
		return all, s.answer("placements")
	}
	d.GetGpuInstancesFunc = func(info *nvml.GpuInstanceProfileInfo) (all []nvml.GpuInstance, r nvml.Return) {
		for _, gi := range s.gis {
			if gi.at.Profile == s.number(info.Id) {
				all = append(all, gi)
			}
		}
		return all, s.answer("instances")
	}
	d.CreateGpuInstanceWithPlacementFunc = s.create
}

func none() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NOT_SUPPORTED }

// number is NVML's number of a profile by that of nvidia-smi, which are not the same.
func (s *strict) number(giProfileID uint32) mig.ProfileID {
	for _, p := range s.geometry.Profiles {
		if p.GIProfileID == giProfileID {
			return p.ID
		}
	}
	return -1
}

func (s *strict) profileInfo(id int) (nvml.GpuInstanceProfileInfo, nvml.Return) {
	if id < 0 || id > 20 {
		return nvml.GpuInstanceProfileInfo{}, nvml.ERROR_INVALID_ARGUMENT
	}
	p, ok := s.geometry.Profile(mig.ProfileID(id))
	if !ok {
		return nvml.GpuInstanceProfileInfo{}, nvml.ERROR_NOT_SUPPORTED
	}
	return nvml.GpuInstanceProfileInfo{
		Id: p.GIProfileID, SliceCount: uint32(p.Compute), InstanceCount: uint32(p.Max), MultiprocessorCount: uint32(p.SMs),
		DecoderCount: uint32(p.Engines.Decoders), EncoderCount: uint32(p.Engines.Encoders), JpegCount: uint32(p.Engines.JPEG),
		OfaCount: uint32(p.Engines.OFA), MemorySizeMB: uint64(p.MemoryMiB),
	}, s.answer("profile")
}

func (s *strict) create(info *nvml.GpuInstanceProfileInfo, place *nvml.GpuInstancePlacement) (nvml.GpuInstance, nvml.Return) {
	if r := s.answer("createGI"); r != nvml.SUCCESS {
		return nil, r
	}
	if s.mode != nvml.DEVICE_MIG_ENABLE {
		return nil, nvml.ERROR_NOT_SUPPORTED
	}
	gi := &strictGI{at: mig.Placed{Profile: s.number(info.Id), Start: int(place.Start) + s.elsewhere}}
	set := []mig.Placed{gi.at}
	for _, other := range s.gis {
		set = append(set, other.at)
	}
	p, _ := s.geometry.Profile(gi.at.Profile)
	if !slices.Contains(p.Starts, gi.at.Start) || int(place.Size) != p.Memory {
		return nil, nvml.ERROR_INVALID_ARGUMENT
	}
	if s.geometry.Check(set) != nil {
		return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
	}
	parts := s.geometry.Slots / p.Memory
	gi.id = uint32(parts - 1 + gi.at.Start/p.Memory)
	s.instance(gi, p, info.Id)
	s.gis = append(s.gis, gi)
	return gi, nvml.SUCCESS
}

func (s *strict) instance(gi *strictGI, p mig.Profile, giProfileID uint32) {
	gi.GetInfoFunc = func() (nvml.GpuInstanceInfo, nvml.Return) {
		return nvml.GpuInstanceInfo{
			Device: &s.gpu, Id: gi.id, ProfileId: giProfileID,
			Placement: nvml.GpuInstancePlacement{Start: uint32(gi.at.Start), Size: uint32(p.Memory)},
		}, s.answer("info")
	}
	gi.GetComputeInstanceProfileInfoFunc = func(id, _ int) (nvml.ComputeInstanceProfileInfo, nvml.Return) {
		if r := s.answer("compute"); r != nvml.SUCCESS {
			return nvml.ComputeInstanceProfileInfo{}, r
		}
		// Narrower ones are there too, and 1_SLICE_REV1 is another number of 1_SLICE.
		for slices, number := range computeProfiles {
			if slices <= p.Compute && (number == id || slices == 1 && id == nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1) {
				return nvml.ComputeInstanceProfileInfo{Id: uint32(slices), SliceCount: uint32(slices)}, nvml.SUCCESS
			}
		}
		return nvml.ComputeInstanceProfileInfo{}, nvml.ERROR_NOT_SUPPORTED
	}
	gi.GetComputeInstancesFunc = func(info *nvml.ComputeInstanceProfileInfo) ([]nvml.ComputeInstance, nvml.Return) {
		if gi.ci == nil || int(info.SliceCount) != p.Compute {
			return nil, nvml.SUCCESS
		}
		return []nvml.ComputeInstance{gi.ci}, nvml.SUCCESS
	}
	gi.CreateComputeInstanceFunc = func(*nvml.ComputeInstanceProfileInfo) (nvml.ComputeInstance, nvml.Return) {
		if r := s.answer("createCI"); r != nvml.SUCCESS {
			return nil, r
		}
		if gi.ci != nil {
			return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
		}
		gi.ci = s.compute(gi)
		return gi.ci, nvml.SUCCESS
	}
	gi.DestroyFunc = func() nvml.Return {
		if gi.ci != nil || gi.leaked {
			return nvml.ERROR_IN_USE
		}
		if r := s.answer("destroyGI"); r != nvml.SUCCESS || s.remain {
			return r
		}
		s.gis = slices.DeleteFunc(s.gis, func(other *strictGI) bool { return other == gi })
		return nvml.SUCCESS
	}
}

func (s *strict) compute(gi *strictGI) *mock.ComputeInstance {
	d := &mock.Device{
		GetUUIDFunc:                       func() (string, nvml.Return) { return fmt.Sprintf("MIG-%d", gi.id), s.answer("ciUUID") },
		GetMemoryInfoFunc:                 func() (nvml.Memory, nvml.Return) { return nvml.Memory{Used: 256 << 20}, nvml.SUCCESS },
		GetComputeRunningProcessesFunc:    func() ([]nvml.ProcessInfo, nvml.Return) { return gi.processes, s.answer("processes") },
		GetGraphicsRunningProcessesFunc:   none,
		GetMPSComputeRunningProcessesFunc: none,
	}
	return &mock.ComputeInstance{
		GetInfoFunc: func() (nvml.ComputeInstanceInfo, nvml.Return) {
			return nvml.ComputeInstanceInfo{Device: d, GpuInstance: gi, Id: 0}, nvml.SUCCESS
		},
		DestroyFunc: func() nvml.Return {
			if len(gi.processes) > 0 {
				return nvml.ERROR_IN_USE
			}
			gi.ci = nil
			return s.answer("destroyCI")
		},
	}
}

func (s *strict) events() nvml.EventSet {
	return &mock.EventSet{
		FreeFunc: func() nvml.Return { return nvml.SUCCESS },
		WaitFunc: func(uint32) (nvml.EventData, nvml.Return) {
			if len(s.xids) == 0 {
				return nvml.EventData{}, nvml.ERROR_TIMEOUT
			}
			e := nvml.EventData{Device: &s.gpu, EventType: nvml.EventTypeXidCriticalError, EventData: s.xids[0]}
			s.xids = s.xids[1:]
			return e, nvml.SUCCESS
		},
	}
}

// strictSample remembers how busy what it sampled was.
type strictSample struct {
	mock.GpmSample
	busy float64
}

func (s *strict) sample() *strictSample {
	p := &strictSample{}
	p.FreeFunc = func() nvml.Return { s.freed++; return nvml.SUCCESS }
	p.GetFunc = func(nvml.Device) nvml.Return { p.busy = 0.5; return s.answer("sample") }
	p.MigGetFunc = func(_ nvml.Device, id int) nvml.Return {
		for _, gi := range s.gis {
			if gi.id == uint32(id) {
				p.busy = gi.busy
				return s.answer("sample")
			}
		}
		return nvml.ERROR_NOT_FOUND
	}
	return p
}

func metricsGet(get *nvml.GpmMetricsGetType) nvml.Return {
	for n := range get.Metrics[:get.NumMetrics] {
		m := &get.Metrics[n]
		m.Value = 100 * get.Sample2.(*strictSample).busy
		if m.MetricId == uint32(nvml.GPM_METRIC_DRAM_BW_UTIL) {
			m.NvmlReturn = uint32(nvml.ERROR_NOT_SUPPORTED)
		}
	}
	return nvml.SUCCESS
}

// at finds an instance by its place.
func (s *strict) at(t *testing.T, at mig.Placed) *strictGI {
	t.Helper()
	for _, gi := range s.gis {
		if gi.at == at {
			return gi
		}
	}
	t.Fatalf("nothing at %v", at)
	return nil
}

// TestContractStrict runs the whole suite: nothing is lacking here.
func TestContractStrict(t *testing.T) {
	for _, name := range []string{"A100-40GB", "H100-80GB", "A30-24GB", "RTX-PRO-6000-96GB"} {
		board, ok := mig.Board(name)
		if !ok {
			t.Fatalf("no board %s", name)
		}
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, devicetest.Subject{
				New:      func(t *testing.T) devicetest.Fixture { return strictFixture(t, newStrict(board)) },
				Geometry: board,
			})
		})
	}
}

// openStrict opens a driver for which samples are always far enough apart.
func openStrict(t *testing.T, s *strict) *Driver {
	t.Helper()
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.sharesPIDs = true
	now := d.now()
	d.now = func() time.Time { now = now.Add(leastInterval); return now }
	return d
}

func strictFixture(t *testing.T, s *strict) devicetest.Fixture {
	t.Helper()
	return devicetest.Fixture{
		Driver: openStrict(t, s), GPU: strictUUID,
		BreakCI: func(t *testing.T, at mig.Placed) { s.at(t, at).ci = nil },
		SetMIG: func(_ *testing.T, on bool) {
			s.mode = nvml.DEVICE_MIG_DISABLE
			if on {
				s.mode = nvml.DEVICE_MIG_ENABLE
			}
		},
		Attach: func(t *testing.T, at mig.Placed, p device.Process) {
			gi := s.at(t, at)
			gi.processes = append(gi.processes, nvml.ProcessInfo{Pid: uint32(p.PID), UsedGpuMemory: uint64(p.MemoryMiB) << 20})
		},
		Detach: func(_ *testing.T, pid int) {
			for _, gi := range s.gis {
				gi.processes = slices.DeleteFunc(gi.processes, func(p nvml.ProcessInfo) bool { return p.Pid == uint32(pid) })
			}
		},
		Leak: func(t *testing.T, at mig.Placed) { s.at(t, at).leaked = true },
		Release: func(*testing.T) {
			for _, gi := range s.gis {
				gi.leaked = false
			}
		},
		Busy: func(t *testing.T, at mig.Placed, share float64) { s.at(t, at).busy = share },
		Lose: func(*testing.T) { s.lost = true },
	}
}
