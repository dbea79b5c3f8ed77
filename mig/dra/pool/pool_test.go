package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
)

func board(t testing.TB, name string) *mig.Geometry {
	t.Helper()
	g, ok := mig.Board(name)
	if !ok {
		t.Fatalf("there is no board %s", name)
	}
	return &g
}

// everywhere are all places of a board, as if each were of its layout.
func everywhere(g *mig.Geometry) []mig.Placed {
	var out []mig.Placed
	for _, p := range g.Profiles {
		for _, start := range p.Starts {
			out = append(out, mig.Placed{Profile: p.ID, Start: start})
		}
	}
	return out
}

// published are the ResourceSlices that the API server would have.
func published(gpus ...GPU) []*resourcev1.ResourceSlice {
	pool := Resources("node", gpus).Pools["node"]
	var out []*resourcev1.ResourceSlice
	for i, s := range pool.Slices {
		out = append(out, &resourcev1.ResourceSlice{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%04x", i)},
			Spec: resourcev1.ResourceSliceSpec{
				Driver: Driver, Pool: resourcev1.ResourcePool{Name: "node", Generation: 1, ResourceSliceCount: int64(len(pool.Slices))},
				NodeName: ptr.To("node"), Devices: s.Devices, SharedCounters: s.SharedCounters,
			},
		})
	}
	return out
}

type classes struct{}

func (classes) Get(name string) (*resourcev1.DeviceClass, error) {
	expression := fmt.Sprintf(`device.driver == "gpu.ebbtide.dev" && device.attributes["gpu.ebbtide.dev"].type == "mig" && device.attributes["gpu.ebbtide.dev"].profile == %q`, name)
	if name == TypeGPU {
		expression = `device.driver == "gpu.ebbtide.dev" && device.attributes["gpu.ebbtide.dev"].type == "gpu"`
	}
	return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: expression}}},
	}}, nil
}

func (classes) List() ([]*resourcev1.DeviceClass, error) { return nil, nil }

// allocate asks Kubernetes' own allocator for one device of a class; empty if there is
// none.
func allocate(t require, all []*resourcev1.ResourceSlice, taken []string, class string) string {
	devices := sets.New[structured.DeviceID]()
	for _, name := range taken {
		devices.Insert(structured.MakeDeviceID(Driver, "node", name))
	}
	allocator, err := structured.NewAllocator(context.Background(), structured.Features{PartitionableDevices: true, DeviceTaints: true},
		structured.AllocatedState{AllocatedDevices: devices}, classes{}, all, cel.NewCache(10, cel.Features{}))
	if err != nil {
		t.Fatalf("make an allocator: %v", err)
	}
	claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}},
	}}}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	results, err := allocator.Allocate(context.Background(), node, []*resourcev1.ResourceClaim{claim})
	if err != nil {
		t.Fatalf("allocate %s: %v", class, err)
	}
	if len(results) == 0 {
		return ""
	}
	return results[0].Devices.Results[0].Device
}

type require interface {
	Fatalf(format string, args ...any)
}

// Kubernetes' allocator takes of an A100 what leaves the most, and first what pins have.
func TestFirstMatchLeavesMost(t *testing.T) {
	g := board(t, "A100-40GB")
	all := published(GPU{UUID: "GPU-a", Number: 0, Board: g, Layout: everywhere(g), Healthy: true})
	var taken []string
	for _, want := range []struct{ class, device string }{
		{"1g.5gb", "gpu-0-mig-1g5gb-19-6"}, {"1g.5gb", "gpu-0-mig-1g5gb-19-4"}, {"1g.5gb", "gpu-0-mig-1g5gb-19-5"},
		{"4g.20gb", "gpu-0-mig-4g20gb-5-0"}, {"1g.5gb", ""}, {"2g.10gb", ""},
	} {
		got := allocate(t, all, taken, want.class)
		if got != want.device {
			t.Fatalf("with %v taken, %s is at %q, want %q", taken, want.class, got, want.device)
		}
		if got != "" {
			taken = append(taken, got)
		}
	}
}

// What is not of the layout is not allocated, nor what is beside a foreign instance or on
// a card that has failed.
func TestTaintedDevices(t *testing.T) {
	g := board(t, "A100-40GB")
	at := func(name string, start int) mig.Placed {
		for _, p := range g.Profiles {
			if p.Name == name {
				return mig.Placed{Profile: p.ID, Start: start}
			}
		}
		t.Fatalf("no profile %s", name)
		return mig.Placed{}
	}
	layout := []mig.Placed{at("4g.20gb", 0), at("1g.5gb", 4), at("1g.5gb", 5), at("1g.5gb", 6)}
	card := GPU{UUID: "GPU-a", Board: g, Layout: layout, Healthy: true}
	foreign, ill := card, card
	foreign.Foreign, ill.Healthy = []mig.Placed{at("2g.10gb", 4)}, false
	for _, test := range []struct {
		name, class, want string
		gpu               GPU
	}{
		{"of the layout", "4g.20gb", "gpu-0-mig-4g20gb-5-0", card},
		{"not of the layout", "3g.20gb", "", card},
		{"beside a foreign instance", "1g.5gb", "gpu-0-mig-1g5gb-19-6", foreign},
		{"of a failed card", "4g.20gb", "", ill},
	} {
		if got := allocate(t, published(test.gpu), nil, test.class); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// The allocator never allocates what a board does not allow, and always finds a place
// where there is one.
func TestAllocatorKnowsTheBoards(t *testing.T) {
	for _, g := range mig.Boards() {
		t.Run(g.Board, func(t *testing.T) {
			all := published(GPU{UUID: "GPU-a", Board: &g, Layout: everywhere(&g), Healthy: true})
			rapid.Check(t, func(t *rapid.T) {
				held := map[string]mig.Placed{}
				for range rapid.IntRange(1, 12).Draw(t, "steps") {
					names := slices.Sorted(maps.Keys(held))
					if len(names) > 0 && rapid.IntRange(0, 3).Draw(t, "go") == 0 {
						delete(held, rapid.SampledFrom(names).Draw(t, "gone"))
						continue
					}
					p := rapid.SampledFrom(g.Profiles).Draw(t, "profile")
					device := allocate(t, all, names, p.Name)
					var set []mig.Placed
					for _, at := range held {
						set = append(set, at)
					}
					possible := slices.ContainsFunc(p.Starts, func(start int) bool {
						return g.Check(append(slices.Clone(set), mig.Placed{Profile: p.ID, Start: start})) == nil
					})
					if possible != (device != "") {
						t.Fatalf("%s beside %v: allocated %q, possible %v", p.Name, held, device, possible)
					}
					if device == "" {
						continue
					}
					parsed, err := Parse(device)
					if err != nil {
						t.Fatal(err)
					}
					at := mig.Placed{Profile: p.ID, Start: parsed.Start}
					if err := g.Check(append(set, at)); err != nil || parsed.GIProfileID != p.GIProfileID {
						t.Fatalf("%s beside %v: allocated %s: %v", p.Name, held, device, err)
					}
					held[device] = at
				}
			})
		})
	}
}

// What is published is within the bounds of the API.
func TestPublishedWithinBounds(t *testing.T) {
	var gpus []GPU
	for i, g := range mig.Boards() {
		gpus = append(gpus, GPU{UUID: fmt.Sprint("GPU-", i), Product: strings.Repeat("x", 70), MemoryMiB: 40960, Number: 2 * i, Board: &g, Layout: everywhere(&g), Healthy: true},
			GPU{UUID: fmt.Sprint("GPU-whole-", i), Number: 2*i + 1, Healthy: i%2 == 0})
	}
	names := map[string]bool{}
	for _, s := range published(gpus...) {
		if len(s.Spec.SharedCounters) > 0 && len(s.Spec.Devices) > 0 {
			t.Errorf("slice %s has counters and devices", s.Name)
		}
		if len(s.Spec.SharedCounters) > resourcev1.ResourceSliceMaxCounterSets || len(s.Spec.Devices) > resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures {
			t.Errorf("slice %s: %d counter sets, %d devices", s.Name, len(s.Spec.SharedCounters), len(s.Spec.Devices))
		}
		for _, set := range s.Spec.SharedCounters {
			if len(set.Counters) > resourcev1.ResourceSliceMaxCountersPerCounterSet {
				t.Errorf("%d counters of %s", len(set.Counters), set.Name)
			}
		}
		for _, d := range s.Spec.Devices {
			if names[d.Name] {
				t.Errorf("two devices %s", d.Name)
			}
			names[d.Name] = true
			if problems := validation.IsDNS1123Label(d.Name); len(problems) > 0 {
				t.Errorf("device %s: %v", d.Name, problems)
			}
			if _, err := Parse(d.Name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDeviceNames(t *testing.T) {
	p := mig.Profile{Name: "1g.5gb+me", GIProfileID: 20}
	if got, want := Slice(3, p, 6), "gpu-3-mig-1g5gbme-20-6"; got != want {
		t.Errorf("device %s, want %s", got, want)
	}
	for _, wrong := range []string{"", "gpu", "gpu-", "gpu-x", "gpu-0-mig", "nic-0", "gpu-0-vgp-a-1-1", "gpu-0-mig-a-b-1", "gpu-0-mig-a-1-b", "gpu-0-mig-a-1--1", "gpu--1"} {
		if got, err := Parse(wrong); err == nil {
			t.Errorf("%q is read as %+v", wrong, got)
		}
	}
}
