//go:build linux && cgo

package nvml

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

func board(t *testing.T, name string) mig.Geometry {
	t.Helper()
	g, ok := mig.Board(name)
	if !ok {
		t.Fatalf("no board %s", name)
	}
	return g
}

func read(t *testing.T, d *Driver) device.GPU {
	t.Helper()
	gpus, err := d.Read(t.Context())
	if err != nil || len(gpus) != 1 {
		t.Fatalf("Read gave %v, %v", gpus, err)
	}
	return gpus[0]
}

// TestNoCallUnlessInit uses a library of which every function but Init panics.
func TestNoCallUnlessInit(t *testing.T) {
	for r, says := range map[nvml.Return]string{
		nvml.ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 was not found",
		nvml.ERROR_DRIVER_NOT_LOADED: "kernel module is not loaded",
		nvml.ERROR_UNKNOWN:           "error 999",
	} {
		lib := &mock.Interface{InitFunc: func() nvml.Return { return r }}
		d, err := New(lib)
		if d != nil || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("with Init giving %d: %v, %v", r, d, err)
		}
	}
}

func TestOldLibrary(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	s.LookupSymbolFunc = func(symbol string) error {
		if symbol == "nvmlDeviceCreateGpuInstanceWithPlacement" {
			return errors.New("undefined symbol")
		}
		return nil
	}
	_, err := New(s)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "lacks nvmlDeviceCreateGpuInstanceWithPlacement") {
		t.Errorf("New gave %v", err)
	}
	if !s.shut {
		t.Error("the library was not let go of")
	}
}

func TestRefusals(t *testing.T) {
	for r, want := range map[nvml.Return]error{
		nvml.ERROR_IN_USE: device.ErrInUse, nvml.ERROR_NOT_FOUND: device.ErrNotFound,
		nvml.ERROR_INVALID_ARGUMENT: device.ErrInvalid, nvml.ERROR_INSUFFICIENT_RESOURCES: device.ErrNoRoom,
		nvml.ERROR_NOT_SUPPORTED: device.ErrNotSupported, nvml.ERROR_NO_PERMISSION: device.ErrNoPermission,
		nvml.ERROR_GPU_IS_LOST: device.ErrLost, nvml.ERROR_RESET_REQUIRED: device.ErrLost,
	} {
		if err := refusal("do it", r); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "do it: ") {
			t.Errorf("%v gave %v, want %v", r, err, want)
		}
	}
	if err := refusal("do it", nvml.ERROR_UNKNOWN); err == nil || errors.Is(err, device.ErrInUse) {
		t.Errorf("an unknown error gave %v", err)
	}
	if err := refusal("do it", nvml.SUCCESS); err != nil {
		t.Errorf("success gave %v", err)
	}
}

func TestCreateCleansUp(t *testing.T) {
	at := mig.Placed{Profile: 0, Start: 2}
	tests := map[string]struct {
		fail map[string]nvml.Return
		want error
		left int
	}{
		"no compute instance":            {fail: map[string]nvml.Return{"createCI": nvml.ERROR_INSUFFICIENT_RESOURCES}, want: device.ErrNoRoom},
		"no compute instance, and stuck": {fail: map[string]nvml.Return{"createCI": nvml.ERROR_UNKNOWN, "destroyGI": nvml.ERROR_IN_USE}, want: device.ErrInUse, left: 1},
		"no GPU instance":                {fail: map[string]nvml.Return{"createGI": nvml.ERROR_NO_PERMISSION}, want: device.ErrNoPermission},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStrict(board(t, "H100-80GB"))
			d := openStrict(t, s)
			read(t, d)
			s.fail = tt.fail
			_, err := d.Create(t.Context(), strictUUID, at)
			if !errors.Is(err, tt.want) {
				t.Errorf("Create gave %v, want %v", err, tt.want)
			}
			s.fail = nil
			left := read(t, d).Instances
			if len(left) != tt.left || len(left) > 0 && (left[0].CI != -1 || left[0].Whole || left[0].Placed != at) {
				t.Errorf("left behind: %+v, want %d without compute instance", left, tt.left)
			}
		})
	}
}

// TestCreateLooks has the driver put an instance elsewhere.
func TestCreateLooks(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	s.elsewhere = 1
	d := openStrict(t, s)
	_, err := d.Create(t.Context(), strictUUID, mig.Placed{Profile: 0, Start: 2})
	if err == nil || !strings.Contains(err.Error(), "put it at 3") {
		t.Errorf("Create gave %v", err)
	}
	if left := read(t, d).Instances; len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestDestroyLooks(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	d := openStrict(t, s)
	at := mig.Placed{Profile: 1, Start: 2}
	if _, err := d.Create(t.Context(), strictUUID, at); err != nil {
		t.Fatal(err)
	}
	s.remain = true
	err := d.Destroy(t.Context(), strictUUID, at, -1)
	if !errors.Is(err, device.ErrInUse) || !strings.Contains(err.Error(), "still listed") {
		t.Errorf("Destroy gave %v for an instance that remains", err)
	}
	if left := read(t, d).Instances; len(left) != 1 || left[0].CI != -1 {
		t.Errorf("left: %+v", left)
	}
	s.remain = false
	if err := d.Destroy(t.Context(), strictUUID, at, -1); err != nil {
		t.Errorf("Destroy of the remnant: %v", err)
	}
}

func TestUnhealthy(t *testing.T) {
	tests := map[string]struct {
		fail map[string]nvml.Return
		xids []uint64
		want string
	}{
		"healthy":             {},
		"an application's":    {xids: []uint64{13, 43, 31}},
		"off the bus":         {xids: []uint64{13, 79}, want: "Xid 79"},
		"row waits":           {fail: map[string]nvml.Return{"pending": 0}},
		"row lost":            {fail: map[string]nvml.Return{"failed": 0}, want: "could not be remapped"},
		"lost":                {fail: map[string]nvml.Return{"mode": nvml.ERROR_GPU_IS_LOST}, want: "lost"},
		"no handle":           {fail: map[string]nvml.Return{"handle": nvml.ERROR_GPU_IS_LOST}, want: "lost"},
		"no UUID":             {fail: map[string]nvml.Return{"uuid": nvml.ERROR_UNKNOWN}, want: "UUID"},
		"instances unread":    {fail: map[string]nvml.Return{"instances": nvml.ERROR_UNKNOWN}, want: "list instances"},
		"rows not to be read": {fail: map[string]nvml.Return{"rows": nvml.ERROR_NOT_SUPPORTED}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStrict(board(t, "H100-80GB"))
			d := openStrict(t, s)
			if g := read(t, d); !g.Healthy {
				t.Fatalf("not healthy at first: %+v", g)
			}
			s.fail, s.xids = tt.fail, tt.xids
			g := read(t, d)
			if g.UUID != strictUUID || g.PCIDevice != "0x233010DE" || g.PCI != "00000000:01:00.0" || g.Healthy != (tt.want == "") || !strings.Contains(g.Problem, tt.want) {
				t.Errorf("GPU %+v, want problem %q", g, tt.want)
			}
			if again := read(t, d); again.Healthy != g.Healthy {
				t.Errorf("then: %+v", again)
			}
		})
	}
}

// TestNeverAnswered is a GPU of which not even the UUID is known.
// A call that did not go this time does not say that something is not there.
func TestPassingErrors(t *testing.T) {
	board, _ := mig.Board("A100-40GB")
	at := mig.Placed{Profile: 0, Start: 2}
	for _, call := range []string{"profile", "placements", "compute", "ciUUID"} {
		for _, r := range []nvml.Return{nvml.ERROR_UNKNOWN, nvml.ERROR_TIMEOUT, nvml.ERROR_NOT_FOUND} {
			if r == nvml.ERROR_NOT_FOUND && call != "ciUUID" {
				continue // the instance went between two calls
			}
			t.Run(call+" "+r.String(), func(t *testing.T) {
				s := newStrict(board)
				d := openStrict(t, s)
				read := func() device.GPU {
					t.Helper()
					gpus, err := d.Read(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return gpus[0]
				}
				first := call == "profile" || call == "placements"
				if first {
					s.fail[call] = r
					if g := read(); g.Healthy || g.Instances != nil || g.Geometry != nil {
						t.Errorf("without its profiles it is %+v", g)
					}
					delete(s.fail, call)
				}
				if _, err := d.Create(t.Context(), strictUUID, at); err != nil {
					t.Fatal(err)
				}
				if !first {
					s.fail[call] = r
					if g := read(); g.Healthy || g.Instances != nil {
						t.Errorf("with a call that failed it is %+v", g)
					}
					delete(s.fail, call)
				}
				if g := read(); !g.Healthy || len(g.Instances) != 1 || !g.Instances[0].Whole || len(g.Geometry.Profiles) != len(board.Profiles) {
					t.Errorf("after it, it is %+v", g)
				}
			})
		}
	}
}

func TestNeverAnswered(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	s.fail["handle"] = nvml.ERROR_GPU_IS_LOST
	d := openStrict(t, s)
	if g := read(t, d); g.UUID != "GPU-of-index-0" || g.Healthy || g.Problem == "" {
		t.Errorf("GPU %+v", g)
	}
}

func TestProcesses(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	d := openStrict(t, s)
	at := mig.Placed{Profile: 0, Start: 6}
	if _, err := d.Create(t.Context(), strictUUID, at); err != nil {
		t.Fatal(err)
	}
	gi := s.at(t, at)
	gi.processes = []nvml.ProcessInfo{{Pid: 5, UsedGpuMemory: 3 << 20}, {Pid: 6, UsedGpuMemory: 1<<64 - 1}, {Pid: 5}}
	want := []device.Process{{PID: 5, MemoryMiB: 3}, {PID: 6}}
	if diff := cmp.Diff(want, read(t, d).Instances[0].Processes); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	gi.processes = nil
	if p := read(t, d).Instances[0].Processes; p == nil || len(p) > 0 {
		t.Errorf("processes %#v, want none, and known to be none", p)
	}
	s.fail["processes"] = nvml.ERROR_UNKNOWN
	if p := read(t, d).Instances[0].Processes; p != nil {
		t.Errorf("processes that could not be read: %#v, want unknown", p)
	}
	delete(s.fail, "processes")
	d.sharesPIDs = false
	if p := read(t, d).Instances[0].Processes; p != nil {
		t.Errorf("processes in a PID namespace of its own: %#v, want unknown", p)
	}
	d.sharesPIDs, s.mode = true, nvml.DEVICE_MIG_DISABLE
	if diff := cmp.Diff([]device.Process{{PID: 9, MemoryMiB: 1}}, read(t, d).Processes); diff != "" {
		t.Errorf("processes of the whole GPU (-want +got):\n%s", diff)
	}
}

func TestNotCapable(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	s.fail["mode"] = nvml.ERROR_NOT_SUPPORTED
	d := openStrict(t, s)
	if g := read(t, d); !g.Healthy || g.Capable || g.MIG || g.Geometry != nil || len(g.Processes) != 1 {
		t.Errorf("GPU %+v", g)
	}
	_, err := d.Create(t.Context(), strictUUID, mig.Placed{})
	if !errors.Is(err, device.ErrNotSupported) {
		t.Errorf("Create gave %v", err)
	}
}

func TestActivityOfGPU(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	s.mode = nvml.DEVICE_MIG_DISABLE
	d := openStrict(t, s)
	read(t, d)
	first, err := d.Activity(t.Context(), strictUUID, nil)
	if err != nil || first.Graphics == nil || *first.Graphics != 0.4 || first.Source != "nvml" || first.SM != nil {
		t.Errorf("first: %+v, %v: what the driver counts by itself", first, err)
	}
	second, err := d.Activity(t.Context(), strictUUID, nil)
	if err != nil || second.Graphics == nil || *second.Graphics != 0.5 || second.Source != "gpm" || *second.MemoryUsedMiB != 512 {
		t.Errorf("second: %+v, %v", second, err)
	}
	if second.DRAM != nil {
		t.Errorf("DRAM %v, which the driver could not tell", *second.DRAM)
	}
	s.mode = nvml.DEVICE_MIG_ENABLE
	s.fail["gpm"] = nvml.ERROR_NOT_SUPPORTED
	read(t, d)
	// A count for the GPU says nothing about slices.
	if a, err := d.Activity(t.Context(), strictUUID, nil); err != nil || a.Graphics != nil {
		t.Errorf("in MIG mode without GPM: %+v, %v", a, err)
	}
}

// TestSamples has all samples freed that were taken, and none compared across a change
// of the layout.
func TestSamples(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	d := openStrict(t, s)
	at, other := mig.Placed{Profile: 0, Start: 0}, mig.Placed{Profile: 0, Start: 1}
	activity := func() device.Activity {
		t.Helper()
		a, err := d.Activity(t.Context(), strictUUID, &at)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if _, err := d.Create(t.Context(), strictUUID, at); err != nil {
		t.Fatal(err)
	}
	activity()
	if a := activity(); a.Graphics == nil {
		t.Errorf("activity %+v", a)
	}
	if _, err := d.Create(t.Context(), strictUUID, other); err != nil {
		t.Fatal(err)
	}
	if a := activity(); a.Graphics != nil {
		t.Errorf("activity after a change %+v", a)
	}
	// Calls that come too close to each other get what is known.
	activity()
	taken, now := s.taken, d.now()
	d.now = func() time.Time { return now }
	if a := activity(); a.Graphics != nil && s.taken != taken+1 {
		t.Errorf("activity %+v after %d samples, were %d", a, s.taken, taken)
	}
	taken = s.taken
	if activity(); s.taken != taken {
		t.Error("a sample was taken at once after another")
	}
	if err := d.Close(); err != nil || s.freed != s.taken {
		t.Errorf("%d samples of %d were freed, %v", s.freed, s.taken, err)
	}
}

func TestProfileNames(t *testing.T) {
	// The whole memory that drivers tell of these boards.
	for name, memoryMiB := range map[string]uint64{
		"A100-40GB": 40536, "A100-80GB": 81251, "H100-80GB": 81559, "H200-141GB": 143771, "A30-24GB": 24258,
		"H100-NVL-94GB": 95830, "RTX-PRO-6000-96GB": 97887,
	} {
		for _, p := range board(t, name).Profiles {
			info := nvml.GpuInstanceProfileInfo{SliceCount: uint32(p.Compute), MemorySizeMB: uint64(p.MemoryMiB)}
			if got := profileName(int(p.ID), info, memoryMiB<<20); got != p.Name {
				t.Errorf("%s: %s, want %s", name, got, p.Name)
			}
		}
	}
	info := nvml.GpuInstanceProfileInfo{SliceCount: 1, MemorySizeMB: 10000}
	if got := profileName(40, info, 80000<<20); got != "1g.10gb+profile40" {
		t.Errorf("a profile to come is named %s", got)
	}
}

func TestProbe(t *testing.T) {
	s := newStrict(board(t, "H100-80GB"))
	d := openStrict(t, s)
	d.pause = func(time.Duration) {}
	s.gpu.GetVbiosVersionFunc = func() (string, nvml.Return) { return "96.00", nvml.SUCCESS }
	s.gpu.GetArchitectureFunc = func() (nvml.DeviceArchitecture, nvml.Return) { return nvml.DEVICE_ARCH_HOPPER, nvml.SUCCESS }
	s.gpu.GetFieldValuesFunc = func(values []nvml.FieldValue) nvml.Return { values[0].Value[0] = 1; return nvml.SUCCESS }
	s.gpu.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) {
		return 0, nvml.ERROR_NOT_SUPPORTED
	}
	s.gpu.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) { return 31, nvml.SUCCESS }
	s.gpu.GetVirtualizationModeFunc = func() (nvml.GpuVirtualizationMode, nvml.Return) { return 0, nvml.SUCCESS }
	r, err := d.Probe(t.Context())
	if err != nil || len(r.GPUs) != 1 {
		t.Fatalf("Probe gave %+v, %v", r, err)
	}
	g := r.GPUs[0]
	if g.VBIOS != "96.00" || g.Architecture != "Hopper" || *g.ResetlessMIG.Value != 1 || *g.EventTypes.Value != 31 ||
		g.Uncorrected.Value != nil || g.Uncorrected.Error == "" || g.Board != "H100-80GB" || len(g.Differences) > 0 ||
		*g.GPM.Value != 1 || g.Activity == nil || g.Activity.Graphics == nil {
		t.Errorf("reading %+v", g)
	}
	// 18 numbers are known, and this driver says of two more that it does not have them.
	if len(g.Profiles) != 21 || g.Profiles[2].Placements == nil || g.Profiles[5].Error == "" {
		t.Errorf("%d profiles: %+v", len(g.Profiles), g.Profiles)
	}
	if n := len(s.gpu.CreateGpuInstanceWithPlacementCalls()) + len(s.gpu.CreateGpuInstanceCalls()) + len(s.gpu.SetMigModeCalls()); n > 0 {
		t.Errorf("the probe wrote %d times", n)
	}
}

// A driver that does not take on to tell of errors is asked again, until it does or says that
// it has none to tell.
func TestAsksForErrorsAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		set, register []nvml.Return // first answers; SUCCESS after that
		sets, asked   int
		told          bool
	}{
		"at once":           {sets: 1, asked: 1, told: true},
		"a GPU is busy":     {register: []nvml.Return{nvml.ERROR_UNKNOWN, nvml.ERROR_IN_USE}, sets: 1, asked: 3, told: true},
		"the driver is":     {set: []nvml.Return{nvml.ERROR_UNKNOWN}, sets: 2, asked: 1, told: true},
		"a GPU has none":    {register: []nvml.Return{nvml.ERROR_NOT_SUPPORTED}, sets: 1, asked: 1, told: true},
		"the driver cannot": {set: []nvml.Return{nvml.ERROR_NOT_SUPPORTED}, sets: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStrict(board(t, "H100-80GB"))
			sets, asked := 0, 0
			answer := func(n int, answers []nvml.Return) nvml.Return {
				if n <= len(answers) {
					return answers[n-1]
				}
				return nvml.SUCCESS
			}
			s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { sets++; return s.events(), answer(sets, tt.set) }
			s.gpu.RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { asked++; return answer(asked, tt.register) }
			d := openStrict(t, s)
			for range 5 {
				read(t, d)
			}
			if sets != tt.sets || asked != tt.asked {
				t.Errorf("%d sets were made and it was asked %d times, want %d and %d", sets, asked, tt.sets, tt.asked)
			}
			s.xids = []uint64{79}
			if g := read(t, d); g.Healthy == tt.told {
				t.Errorf("GPU %+v, want that of its error is known: %t", g, tt.told)
			}
		})
	}
}

// TestProbeDifferences has the mock's H100, whose placements are not those of the
// hardware.
func TestProbeDifferences(t *testing.T) {
	d, err := New(newMock(t, gpus.H100_SXM5_80GB))
	if err != nil {
		t.Fatal(err)
	}
	d.pause = func(time.Duration) {}
	r, err := d.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g := r.GPUs[0]; g.Board != "H100-80GB" || len(g.Differences) == 0 || len(r.Lacks) != len(mockMissing) {
		t.Errorf("board %s, differences %q, lacks %q", g.Board, g.Differences, r.Lacks)
	}
}
