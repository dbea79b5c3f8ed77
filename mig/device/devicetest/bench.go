package devicetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// bench is a fixture with what the checks do to it.
type bench struct {
	Fixture
	geometry mig.Geometry
	lacks    map[Ability]string
}

func newBench(t *testing.T, s Subject) *bench {
	t.Helper()
	return &bench{Fixture: s.New(t), geometry: s.Geometry, lacks: s.Lacks}
}

// gpu reads the fixture's GPU.
func (b *bench) gpu(t *testing.T) device.GPU {
	t.Helper()
	gpus, err := b.Driver.Read(t.Context())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	for _, g := range gpus {
		if g.UUID == b.GPU {
			return g
		}
	}
	t.Fatalf("Read does not list %s", b.GPU)
	return device.GPU{}
}

func (b *bench) create(t *testing.T, at mig.Placed) device.Instance {
	t.Helper()
	i, err := b.Driver.Create(t.Context(), b.GPU, at)
	if err != nil {
		t.Fatalf("Create(%v): %v", at, err)
	}
	return i
}

func (b *bench) destroy(t *testing.T, at mig.Placed, gi int) {
	t.Helper()
	if err := b.Driver.Destroy(t.Context(), b.GPU, at, gi); err != nil {
		t.Fatalf("Destroy(%v, %d): %v", at, gi, err)
	}
}

// refused fails the test if err is not that refusal.
func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s gave %v, want %v", what, err, want)
	}
}

// layout fails the test if anything else than these instances is there.
func (b *bench) layout(t *testing.T, want ...device.Instance) {
	t.Helper()
	ignore := cmpopts.IgnoreFields(device.Instance{}, "Processes")
	if diff := cmp.Diff(want, b.gpu(t).Instances, ignore, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("instances (-want +got):\n%s", diff)
	}
}

// smallest is a profile of which several instances fit: the first place of each.
func (b *bench) smallest(t *testing.T) (places []mig.Placed) {
	t.Helper()
	for _, p := range b.geometry.Profiles {
		if p.Max >= 4 && p.Memory*p.Max <= b.geometry.Slots {
			for _, start := range p.Starts {
				places = append(places, mig.Placed{Profile: p.ID, Start: start})
			}
			return places
		}
	}
	t.Fatalf("geometry %s has no profile of which four fit", b.geometry.Board)
	return nil
}

// whole is the profile that takes all slots.
func (b *bench) whole(t *testing.T) mig.Placed {
	t.Helper()
	for _, p := range b.geometry.Profiles {
		if p.Memory == b.geometry.Slots {
			return mig.Placed{Profile: p.ID}
		}
	}
	t.Fatalf("geometry %s has no profile of all slots", b.geometry.Board)
	return mig.Placed{}
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
