package simgpu_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/device/devicetest"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// atOnce has calls take no time.
func atOnce(time.Duration) {}

func TestContract(t *testing.T) {
	tests := map[string]struct {
		card  simgpu.Card
		lacks map[devicetest.Ability]string
	}{
		"A100": {
			card:  simgpu.Card{Geometry: sevenSlices("A100-40GB")},
			lacks: map[devicetest.Ability]string{devicetest.Activity: "drivers of Ampere measure none"},
		},
		"H100":             {card: simgpu.Card{Geometry: sevenSlices("H100-80GB")}},
		"fresh UUIDs":      {card: simgpu.Card{Geometry: sevenSlices("H100-80GB"), FreshUUIDs: true}},
		"twelve slots":     {card: simgpu.Card{Geometry: twelveSlots()}},
		"twelve, Ampere's": {card: simgpu.Card{Geometry: twelveSlots(), Family: simgpu.Ampere}, lacks: map[devicetest.Ability]string{devicetest.Activity: "drivers of Ampere measure none"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, devicetest.Subject{
				New:      func(t *testing.T) devicetest.Fixture { return fixture(t, tt.card) },
				Geometry: tt.card.Geometry,
				Lacks:    tt.lacks,
			})
		})
	}
}

// fixture opens the GPU twice: what the driver under test does and what the world does
// come from different processes elsewhere.
func fixture(t *testing.T, card simgpu.Card) devicetest.Fixture {
	t.Helper()
	dir := t.TempDir()
	other := card
	other.UUID = "GPU-ffffffff-0000-0000-0000-000000000000"
	world, err := simgpu.Create(dir, []simgpu.Card{other, card}, simgpu.WithSleep(atOnce))
	if err != nil {
		t.Fatal(err)
	}
	driver, err := simgpu.Open(dir, simgpu.WithSleep(atOnce))
	if err != nil {
		t.Fatal(err)
	}
	gpus, err := driver.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gpu := gpus[0].UUID
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return devicetest.Fixture{
		Driver: driver, GPU: gpu,
		BreakCI: func(t *testing.T, at mig.Placed) { must(t, world.ForeignDestroyCI(gpu, at)) },
		SetMIG: func(t *testing.T, on bool) {
			must(t, world.SetMIG(gpu, on))
			if card.Family == simgpu.Ampere || card.Family == "" {
				must(t, world.Reboot())
			}
		},
		Attach:  func(t *testing.T, at mig.Placed, p device.Process) { must(t, world.Attach(gpu, &at, p)) },
		Detach:  func(t *testing.T, pid int) { must(t, world.Detach(gpu, pid)) },
		Leak:    func(t *testing.T, at mig.Placed) { must(t, world.Leak(gpu, at)) },
		Release: func(t *testing.T) { must(t, world.Release(gpu)) },
		Busy: func(t *testing.T, at mig.Placed, share float64) {
			must(t, world.SetActivity(gpu, &at, simgpu.Shares{Graphics: share, SM: share, Tensor: share, DRAM: share}))
		},
		Lose: func(t *testing.T) { must(t, world.Lose(gpu)) },
	}
}

func sevenSlices(board string) mig.Geometry {
	seven := []int{0, 1, 2, 3, 4, 5, 6}
	return mig.Geometry{
		Board: board, Slots: 8, Engines: mig.Engines{Decoders: 5, JPEG: 1, OFA: 1},
		Profiles: []mig.Profile{
			{ID: 0, GIProfileID: 19, Name: "1g.5gb", Compute: 1, Memory: 1, Max: 7, MemoryMiB: 4864, SMs: 14, Starts: seven},
			{ID: 1, GIProfileID: 14, Name: "2g.10gb", Compute: 2, Memory: 2, Max: 3, MemoryMiB: 9856, SMs: 28, Engines: mig.Engines{Decoders: 1}, Starts: []int{0, 2, 4}},
			{ID: 2, GIProfileID: 9, Name: "3g.20gb", Compute: 3, Memory: 4, Max: 2, MemoryMiB: 19968, SMs: 42, Engines: mig.Engines{Decoders: 2}, Starts: []int{0, 4}},
			{ID: 3, GIProfileID: 5, Name: "4g.20gb", Compute: 4, Memory: 4, Max: 1, MemoryMiB: 19968, SMs: 56, Engines: mig.Engines{Decoders: 2}, Starts: []int{0}},
			{ID: 4, GIProfileID: 0, Name: "7g.40gb", Compute: 7, Memory: 8, Max: 1, MemoryMiB: 40192, SMs: 98, Engines: mig.Engines{Decoders: 5, JPEG: 1, OFA: 1}, Starts: []int{0}},
			{ID: 7, GIProfileID: 20, Name: "1g.5gb+me", Compute: 1, Memory: 1, Max: 1, MemoryMiB: 4864, SMs: 14, Engines: mig.Engines{Decoders: 1, JPEG: 1, OFA: 1}, Starts: seven},
			{ID: 9, GIProfileID: 15, Name: "1g.10gb", Compute: 1, Memory: 2, Max: 4, MemoryMiB: 9856, SMs: 14, Engines: mig.Engines{Decoders: 1}, Starts: []int{0, 2, 4, 6}},
		},
	}
}

// twelveSlots is a board on which media engines bind: one of the small profile with all
// of them leaves none to others.
func twelveSlots() mig.Geometry {
	starts := []int{0, 3, 6, 9}
	all := mig.Engines{Decoders: 4, Encoders: 4, JPEG: 4, OFA: 1}
	one := mig.Engines{Decoders: 1, Encoders: 1, JPEG: 1}
	return mig.Geometry{
		Board: "RTX-PRO-6000", Slots: 12, Engines: all,
		Profiles: []mig.Profile{
			{ID: 0, GIProfileID: 14, Name: "1g.24gb", Compute: 1, Memory: 3, Max: 4, MemoryMiB: 24000, Engines: one, Starts: starts},
			{ID: 3, GIProfileID: 0, Name: "4g.96gb", Compute: 4, Memory: 12, Max: 1, MemoryMiB: 96000, Engines: all, Starts: []int{0}},
			{ID: 13, GIProfileID: 67, Name: "1g.24gb-me", Compute: 1, Memory: 3, Max: 4, MemoryMiB: 24000, Starts: starts},
			{ID: 15, GIProfileID: 65, Name: "1g.24gb+me.all", Compute: 1, Memory: 3, Max: 1, MemoryMiB: 24000, Engines: all, Starts: starts},
		},
	}
}
