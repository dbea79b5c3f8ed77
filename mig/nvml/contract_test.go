//go:build linux && cgo

package nvml

import (
	"errors"
	"slices"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device/devicetest"
)

// mockLacks is what go-nvml's own mock does not do.
var mockLacks = map[devicetest.Ability]string{
	devicetest.Refuses:   "the mock records what it is told, and allows everything",
	devicetest.ModeOff:   "the mock creates instances with MIG mode off",
	devicetest.UUIDs:     "the mock's compute instances have their GPU as device",
	devicetest.Numbers:   "the mock counts instances, and has the profile's number of NVML for that of nvidia-smi",
	devicetest.Processes: "the mock has no list of processes",
	devicetest.Leaks:     "the mock never refuses to destroy",
	devicetest.Activity:  "the mock has no GPM",
	devicetest.Loss:      "the mock's GPUs always answer",
}

// mockMissing are the functions that the mock panics on.
var mockMissing = []string{
	symbolCompute, symbolGraphics, symbolMPS, symbolRemapped, symbolUtilization, symbolGPM, symbolEvents, symbolVBIOS,
	symbolFields, symbolECC, symbolEventTypes, symbolVirtual,
}

// newMock is a node of go-nvml's mock with all GPUs in MIG mode.
func newMock(t *testing.T, configs ...gpus.Config) *server.Server {
	t.Helper()
	srv, err := server.New(server.WithGPUs(configs...), server.WithDriverVersion("550.54.15"), server.WithNVMLVersion("12.550.54.15"), server.WithCUDADriverVersion(12040))
	if err != nil {
		t.Fatal(err)
	}
	srv.LookupSymbolFunc = func(symbol string) error {
		if slices.Contains(mockMissing, symbol) {
			return errors.New("undefined symbol")
		}
		return nil
	}
	for _, d := range srv.Devices {
		d.SetMigMode(nvml.DEVICE_MIG_ENABLE)
	}
	return srv
}

// TestContractMock runs the suite on the mock of boards whose tables it has right.
func TestContractMock(t *testing.T) {
	for name, config := range map[string]gpus.Config{
		"A100-40": gpus.A100_SXM4_40GB, "A100-80": gpus.A100_SXM4_80GB, "A30": gpus.A30_PCIE_24GB,
	} {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, devicetest.Subject{
				New:      func(t *testing.T) devicetest.Fixture { return mockFixture(t, config) },
				Geometry: boardOf(t, config), Lacks: mockLacks,
			})
		})
	}
}

func boardOf(t *testing.T, config gpus.Config) mig.Geometry {
	t.Helper()
	pci := nvml.PciInfo{PciDeviceId: config.PciDeviceId}
	board, ok := mig.BoardFor(pciDevice(pci))
	if !ok {
		t.Fatalf("no board for %s", pciDevice(pci))
	}
	// What the mock leaves out of the board is not there to be created.
	board.Profiles = slices.DeleteFunc(board.Profiles, func(p mig.Profile) bool {
		_, has := config.MIGProfiles.GpuInstanceProfiles[int(p.ID)]
		return !has || len(config.MIGProfiles.GpuInstancePlacements[int(p.ID)]) == 0
	})
	return board
}

func mockFixture(t *testing.T, config gpus.Config) devicetest.Fixture {
	t.Helper()
	srv := newMock(t, config, config)
	d, err := New(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	gpu := srv.Devices[0].(*server.Device)
	return devicetest.Fixture{
		Driver: d, GPU: gpu.UUID,
		SetMIG: func(_ *testing.T, on bool) {
			mode := nvml.DEVICE_MIG_DISABLE
			if on {
				mode = nvml.DEVICE_MIG_ENABLE
			}
			gpu.SetMigMode(mode)
		},
		BreakCI: func(t *testing.T, at mig.Placed) {
			for gi := range gpu.GpuInstances {
				if gi.Info.ProfileId == uint32(at.Profile) && gi.Info.Placement.Start == uint32(at.Start) {
					clear(gi.ComputeInstances)
					return
				}
			}
			t.Fatalf("nothing at %v", at)
		},
	}
}
