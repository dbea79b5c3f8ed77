package devicetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

var checks = []check{
	{"describes the GPU", nil, describes},
	{"tells the geometry", nil, tellsGeometry},
	{"tells the numbers of profiles", []Ability{Numbers}, tellsNumbers},
	{"creates and destroys", nil, createsAndDestroys},
	{"numbers instances by their part of the GPU", []Ability{Numbers}, numbersInstances},
	{"gives UUIDs", []Ability{UUIDs}, givesUUIDs},
	{"destroys only the instance that was meant", nil, destroysWhatWasMeant},
	{"lists what has no compute instance, and repairs it", nil, repairs},
	{"refuses what the board does not have", nil, refusesUnknown},
	{"refuses what there is no room for", []Ability{Refuses}, refusesNoRoom},
	{"refuses with MIG mode off", []Ability{ModeOff}, refusesModeOff},
	{"tells MIG mode", nil, tellsMode},
	{"lists processes and refuses below them", []Ability{Processes}, listsProcesses},
	{"says that processes are not known where they are not", nil, processesOrUnknown},
	{"leaves a remnant where a handle is leaked", []Ability{Leaks}, leavesRemnant},
	{"measures activity", []Ability{Activity}, measuresActivity},
	{"says that activity is not available where it is not", nil, activityOrNothing},
	{"lists a lost GPU as not healthy", []Ability{Loss}, listsLost},
	{"begins nothing when the context has ended", nil, endsBefore},
	{"knows no GPU that is not there", nil, unknownGPU},
	{"keeps to legal layouts and leaves neighbours alone", nil, randomly},
}

func describes(t *testing.T, b *bench) {
	g := b.gpu(t)
	if g.PCIDevice == "" || g.Product == "" || g.MemoryMiB <= 0 || !g.Capable || !g.MIG || !g.Pending || !g.Healthy || g.Problem != "" {
		t.Errorf("GPU %+v", g)
	}
	if g.Instances == nil || len(g.Instances) > 0 {
		t.Errorf("instances %v, want none, and known to be none", g.Instances)
	}
	gpus, err := b.Driver.Read(t.Context())
	if err != nil || !slices.IsSortedFunc(gpus, func(x, y device.GPU) int { return strings.Compare(x.UUID, y.UUID) }) {
		t.Errorf("Read gave %v GPUs in no order, %v", len(gpus), err)
	}
}

func tellsGeometry(t *testing.T, b *bench) {
	g := b.gpu(t).Geometry
	if g == nil {
		t.Fatal("no geometry")
	}
	// Sizes of memory and numbers of engines differ between drivers of the same board, and
	// so do names.
	ignore := cmpopts.IgnoreFields(mig.Profile{}, "Name", "GIProfileID", "MemoryMiB", "Engines")
	if diff := cmp.Diff(b.geometry.Profiles, g.Profiles, ignore); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	if g.Slots != b.geometry.Slots || g.Board == "" {
		t.Errorf("board %q of %d slots, want some with %d", g.Board, g.Slots, b.geometry.Slots)
	}
	for _, p := range g.Profiles {
		if p.Name == "" {
			t.Errorf("profile %d has no name", p.ID)
		}
	}
}

func tellsNumbers(t *testing.T, b *bench) {
	for _, p := range b.gpu(t).Geometry.Profiles {
		if want, _ := b.geometry.Profile(p.ID); p.GIProfileID != want.GIProfileID {
			t.Errorf("%s has number %d, want %d", p.Name, p.GIProfileID, want.GIProfileID)
		}
	}
}

func createsAndDestroys(t *testing.T, b *bench) {
	places := b.smallest(t)
	var made []device.Instance
	for _, at := range places[:3] {
		i := b.create(t, at)
		if i.Placed != at || i.CI < 0 || !i.Whole {
			t.Fatalf("Create(%v) gave %+v", at, i)
		}
		made = append(made, i)
	}
	b.layout(t, made...)
	b.destroy(t, places[1], made[1].GI)
	b.layout(t, made[0], made[2])
	again := b.create(t, places[1])
	b.layout(t, made[0], again, made[2])
	for _, at := range places[:3] {
		b.destroy(t, at, -1)
	}
	b.layout(t)
}

func numbersInstances(t *testing.T, b *bench) {
	whole := b.create(t, b.whole(t))
	if whole.GI != 0 {
		t.Errorf("the whole GPU has number %d, want 0", whole.GI)
	}
	b.destroy(t, whole.Placed, whole.GI)
	seen := map[int]bool{0: true}
	first := -1
	for n, at := range b.smallest(t) {
		i := b.create(t, at)
		if seen[i.GI] {
			t.Errorf("number %d twice", i.GI)
		}
		seen[i.GI] = true
		if n == 0 {
			first = i.GI
		}
	}
	at := b.smallest(t)[0]
	b.destroy(t, at, first)
	if again := b.create(t, at); again.GI != first {
		t.Errorf("number %d at first, and %d made again: it follows from the place", first, again.GI)
	}
}

func givesUUIDs(t *testing.T, b *bench) {
	seen := map[string]bool{}
	for _, at := range b.smallest(t) {
		i := b.create(t, at)
		if !strings.HasPrefix(i.UUID, "MIG-") || seen[i.UUID] {
			t.Errorf("UUID %q", i.UUID)
		}
		seen[i.UUID] = true
	}
}

func destroysWhatWasMeant(t *testing.T, b *bench) {
	places := b.smallest(t)
	i := b.create(t, places[0])
	refused(t, "Destroy with another number", b.Driver.Destroy(t.Context(), b.GPU, places[0], i.GI+1), device.ErrNotFound)
	refused(t, "Destroy where nothing is", b.Driver.Destroy(t.Context(), b.GPU, places[1], -1), device.ErrNotFound)
	b.layout(t, i)
	b.destroy(t, places[0], i.GI)
	refused(t, "Destroy a second time", b.Driver.Destroy(t.Context(), b.GPU, places[0], i.GI), device.ErrNotFound)
	_, err := b.Driver.Repair(t.Context(), b.GPU, places[0])
	refused(t, "Repair where nothing is", err, device.ErrNotFound)
	b.layout(t)
}

func repairs(t *testing.T, b *bench) {
	places := b.smallest(t)
	i, neighbour := b.create(t, places[0]), b.create(t, places[1])
	b.BreakCI(t, places[0])
	remnant := i
	remnant.CI, remnant.UUID, remnant.Whole = -1, "", false
	b.layout(t, remnant, neighbour)
	whole, err := b.Driver.Repair(t.Context(), b.GPU, places[0])
	if err != nil || !whole.Whole || whole.CI < 0 || whole.GI != i.GI {
		t.Fatalf("Repair gave %+v, %v", whole, err)
	}
	b.layout(t, whole, neighbour)
	_, err = b.Driver.Repair(t.Context(), b.GPU, places[0])
	refused(t, "Repair of what is whole", err, device.ErrNoRoom)
	// What has no compute instance can go as it is.
	b.BreakCI(t, places[0])
	b.destroy(t, places[0], i.GI)
	b.layout(t, neighbour)
}

func refusesUnknown(t *testing.T, b *bench) {
	for _, at := range []mig.Placed{{Profile: 99}, {Profile: -1}, {Profile: b.smallest(t)[0].Profile, Start: 42}} {
		_, err := b.Driver.Create(t.Context(), b.GPU, at)
		refused(t, "Create", err, device.ErrInvalid)
	}
	b.layout(t)
}

func refusesNoRoom(t *testing.T, b *bench) {
	places := b.smallest(t)
	i := b.create(t, places[0])
	for _, at := range []mig.Placed{places[0], b.whole(t)} {
		_, err := b.Driver.Create(t.Context(), b.GPU, at)
		refused(t, "Create where something is", err, device.ErrNoRoom)
	}
	b.layout(t, i)
	b.destroy(t, places[0], i.GI)
	for _, pair := range b.geometry.Apart {
		one, _ := b.geometry.Profile(pair[0])
		two, _ := b.geometry.Profile(pair[1])
		first := b.create(t, mig.Placed{Profile: one.ID, Start: one.Starts[len(one.Starts)-1]})
		_, err := b.Driver.Create(t.Context(), b.GPU, mig.Placed{Profile: two.ID, Start: two.Starts[0]})
		refused(t, "Create of "+two.Name+" beside "+one.Name, err, device.ErrNoRoom)
		b.destroy(t, first.Placed, first.GI)
	}
	for _, p := range b.geometry.Profiles {
		if p.Max != 1 || len(p.Starts) < 2 {
			continue
		}
		one := b.create(t, mig.Placed{Profile: p.ID, Start: p.Starts[0]})
		_, err := b.Driver.Create(t.Context(), b.GPU, mig.Placed{Profile: p.ID, Start: p.Starts[1]})
		refused(t, "Create of a second "+p.Name, err, device.ErrNoRoom)
		b.destroy(t, one.Placed, one.GI)
	}
}

func refusesModeOff(t *testing.T, b *bench) {
	b.SetMIG(t, false)
	_, err := b.Driver.Create(t.Context(), b.GPU, b.smallest(t)[0])
	refused(t, "Create", err, device.ErrNotSupported)
}

func tellsMode(t *testing.T, b *bench) {
	b.SetMIG(t, false)
	g := b.gpu(t)
	if g.MIG || g.Pending || !g.Capable || g.Instances != nil {
		t.Errorf("with MIG mode off: %+v", g)
	}
	// What it could be cut into is known all the same.
	if g.Geometry == nil || len(g.Geometry.Profiles) != len(b.geometry.Profiles) {
		t.Errorf("with MIG mode off, geometry %+v", g.Geometry)
	}
}

func listsProcesses(t *testing.T, b *bench) {
	places := b.smallest(t)
	one, two := b.create(t, places[0]), b.create(t, places[1])
	b.Attach(t, places[0], device.Process{PID: 71, MemoryMiB: 512})
	g := b.gpu(t)
	if diff := cmp.Diff([]device.Process{{PID: 71, MemoryMiB: 512}}, g.Instances[0].Processes); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	if p := g.Instances[1].Processes; p == nil || len(p) > 0 {
		t.Errorf("processes of the neighbour %v, want none, and known to be none", p)
	}
	refused(t, "Destroy with a process", b.Driver.Destroy(t.Context(), b.GPU, places[0], one.GI), device.ErrInUse)
	b.layout(t, one, two)
	b.Detach(t, 71)
	b.destroy(t, places[0], one.GI)
	b.layout(t, two)
}

func processesOrUnknown(t *testing.T, b *bench) {
	b.create(t, b.smallest(t)[0])
	processes := b.gpu(t).Instances[0].Processes
	if _, lacks := b.lacks[Processes]; lacks != (processes == nil) {
		t.Errorf("processes %#v: none is not the same as not known", processes)
	}
}

func leavesRemnant(t *testing.T, b *bench) {
	at := b.smallest(t)[0]
	i := b.create(t, at)
	b.Leak(t, at)
	refused(t, "Destroy with a leaked handle", b.Driver.Destroy(t.Context(), b.GPU, at, i.GI), device.ErrInUse)
	remnant := i
	remnant.CI, remnant.UUID, remnant.Whole = -1, "", false
	b.layout(t, remnant)
	whole, err := b.Driver.Repair(t.Context(), b.GPU, at)
	if err != nil {
		t.Fatalf("Repair: %v", err)
	}
	b.layout(t, whole)
	b.Release(t)
	b.destroy(t, at, i.GI)
	b.layout(t)
}

func measuresActivity(t *testing.T, b *bench) {
	at := b.smallest(t)[0]
	b.create(t, at)
	b.Busy(t, at, 0.25)
	a, err := b.Driver.Activity(t.Context(), b.GPU, &at)
	if err != nil || a.Graphics != nil || a.SM != nil || a.Tensor != nil || a.DRAM != nil {
		t.Errorf("the first call gave %+v, %v: there is nothing to compare with", a, err)
	}
	a, err = b.Driver.Activity(t.Context(), b.GPU, &at)
	if err != nil || a.Graphics == nil || math.Abs(*a.Graphics-0.25) > 1e-6 || a.SM == nil || a.Source != "gpm" {
		t.Errorf("the second call gave %+v, %v", a, err)
	}
	other := b.smallest(t)[1]
	_, err = b.Driver.Activity(t.Context(), b.GPU, &other)
	refused(t, "Activity where nothing is", err, device.ErrNotFound)
}

func activityOrNothing(t *testing.T, b *bench) {
	if _, lacks := b.lacks[Activity]; !lacks {
		t.Skip("it is")
	}
	at := b.smallest(t)[0]
	b.create(t, at)
	for range 2 {
		a, err := b.Driver.Activity(t.Context(), b.GPU, &at)
		if err != nil || a.Graphics != nil || a.SM != nil || a.Tensor != nil || a.DRAM != nil {
			t.Errorf("activity %+v, %v, want nothing: not available is not 0", a, err)
		}
	}
}

func listsLost(t *testing.T, b *bench) {
	at := b.smallest(t)[0]
	b.create(t, at)
	b.Lose(t)
	if g := b.gpu(t); g.Healthy || g.Problem == "" || g.Instances != nil || g.Processes != nil {
		t.Errorf("a lost GPU is %+v", g)
	}
	_, err := b.Driver.Create(t.Context(), b.GPU, b.smallest(t)[1])
	refused(t, "Create", err, device.ErrLost)
	refused(t, "Destroy", b.Driver.Destroy(t.Context(), b.GPU, at, -1), device.ErrLost)
}

func endsBefore(t *testing.T, b *bench) {
	places := b.smallest(t)
	i := b.create(t, places[0])
	ctx := ended(t)
	_, err := b.Driver.Create(ctx, b.GPU, places[1])
	refused(t, "Create", err, context.Canceled)
	refused(t, "Destroy", b.Driver.Destroy(ctx, b.GPU, places[0], -1), context.Canceled)
	_, err = b.Driver.Repair(ctx, b.GPU, places[0])
	refused(t, "Repair", err, context.Canceled)
	_, err = b.Driver.Read(ctx)
	refused(t, "Read", err, context.Canceled)
	_, err = b.Driver.Activity(ctx, b.GPU, &places[0])
	refused(t, "Activity", err, context.Canceled)
	b.layout(t, i)
}

func unknownGPU(t *testing.T, b *bench) {
	const gpu = "GPU-00000000-0000-0000-0000-000000000000"
	at := b.smallest(t)[0]
	_, err := b.Driver.Create(t.Context(), gpu, at)
	_, repair := b.Driver.Repair(t.Context(), gpu, at)
	_, activity := b.Driver.Activity(t.Context(), gpu, nil)
	for what, err := range map[string]error{
		"Create": err, "Destroy": b.Driver.Destroy(t.Context(), gpu, at, -1), "Repair": repair, "Activity": activity,
	} {
		refused(t, what, err, device.ErrNotFound)
	}
	if errors.Is(err, device.ErrLost) {
		t.Error("what is not there is not lost")
	}
}
