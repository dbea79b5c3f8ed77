package simgpu_test

import (
	"strings"
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
	for _, name := range []string{"A100-40GB", "H100-80GB", "A30-24GB", "RTX-PRO-6000-96GB"} {
		card := simgpu.Card{Geometry: board(t, name)}
		t.Run(name, func(t *testing.T) { contract(t, card) })
	}
	h100 := board(t, "H100-80GB")
	t.Run("fresh UUIDs", func(t *testing.T) { contract(t, simgpu.Card{Geometry: h100, FreshUUIDs: true}) })
	h100.Engines = mig.Engines{} // they are not known of every board
	t.Run("unknown engines", func(t *testing.T) { contract(t, simgpu.Card{Geometry: h100}) })
	t.Run("before R510", func(t *testing.T) { contract(t, simgpu.Card{Geometry: board(t, "A100-40GB").BeforeR510()}) })
}

func contract(t *testing.T, card simgpu.Card) {
	t.Helper()
	lacks := map[devicetest.Ability]string{}
	if ampere(card) {
		lacks[devicetest.Activity] = "drivers of Ampere measure none"
	}
	devicetest.Run(t, devicetest.Subject{
		New:      func(t *testing.T) devicetest.Fixture { return fixture(t, card) },
		Geometry: card.Geometry, Lacks: lacks,
	})
}

func ampere(card simgpu.Card) bool { return strings.HasPrefix(card.Geometry.Board, "A") }

func board(t *testing.T, name string) mig.Geometry {
	t.Helper()
	g, ok := mig.Board(name)
	if !ok {
		t.Fatalf("no board %s", name)
	}
	return g
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
			if ampere(card) {
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
