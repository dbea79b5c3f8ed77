package simgpu_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// TestRandomWorld has drivers, strangers, processes and bad luck at one GPU at random.
// Whatever happens, the layout is one that the board allows, what nobody meant stays as
// it was, nothing goes below a process but by the loss of all, and the log alone tells
// what is there.
func TestRandomWorld(t *testing.T) {
	boards := []mig.Geometry{board(t, "A100-40GB"), board(t, "H100-80GB"), board(t, "A30-24GB"), board(t, "RTX-PRO-6000-96GB")}
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom(boards).Draw(t, "board")
		dir, err := os.MkdirTemp("", "simgpu")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s, err := simgpu.Create(dir, []simgpu.Card{{Geometry: g}}, simgpu.WithSleep(atOnce))
		if err != nil {
			t.Fatal(err)
		}
		w := &randomWorld{s: s, geometry: g}
		w.gpu = w.read(t).UUID
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.step(t)
		}
		w.checkLog(t, w.read(t))
	})
}

type randomWorld struct {
	s        *simgpu.Sim
	geometry mig.Geometry
	gpu      string
	pid      int
}

func (w *randomWorld) read(t *rapid.T) device.GPU {
	gpus, err := w.s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return gpus[0]
}

func (w *randomWorld) step(t *rapid.T) {
	p := rapid.SampledFrom(w.geometry.Profiles).Draw(t, "profile")
	place := at(p.ID, rapid.SampledFrom(p.Starts).Draw(t, "start"))
	before := w.read(t)
	what := rapid.SampledFrom([]string{
		"create", "create", "create", "destroy", "destroy", "repair", "foreign create", "foreign destroy", "break",
		"attach", "detach", "leak", "release", "fault", "lose instances", "reboot",
	}).Draw(t, "what")
	err := w.do(t, what, place)
	after := w.read(t)
	all := what == "lose instances" || what == "reboot"
	if err := w.geometry.Check(placesOf(after.Instances)); err != nil {
		t.Fatalf("%s at %v left %v: %v", what, place, placesOf(after.Instances), err)
	}
	if all && len(after.Instances) > 0 {
		t.Fatalf("%s left %v", what, after.Instances)
	}
	if diff := cmp.Diff(others(before.Instances, place), others(after.Instances, place)); diff != "" && !all && what != "detach" {
		t.Fatalf("%s at %v changed what is beside it (-before +after):\n%s", what, place, diff)
	}
	w.checkDestroyed(t, what, place, before, after, err)
}

// do is one thing that happens. What is refused is refused.
func (w *randomWorld) do(t *rapid.T, what string, place mig.Placed) error {
	s, ctx := w.s, t.Context()
	switch what {
	case "create":
		_, err := s.Create(ctx, w.gpu, place)
		return err
	case "destroy":
		return s.Destroy(ctx, w.gpu, place, -1)
	case "repair":
		_, err := s.Repair(ctx, w.gpu, place)
		return err
	case "foreign create":
		return s.ForeignCreate(w.gpu, place)
	case "foreign destroy":
		return s.ForeignDestroy(w.gpu, place)
	case "break":
		return s.ForeignDestroyCI(w.gpu, place)
	case "attach":
		w.pid++
		return s.Attach(w.gpu, &place, device.Process{PID: w.pid})
	case "detach":
		return s.Detach(w.gpu, rapid.IntRange(0, w.pid).Draw(t, "pid"))
	case "leak":
		return s.Leak(w.gpu, place)
	case "release":
		return s.Release(w.gpu)
	case "fault":
		op := rapid.SampledFrom([]simgpu.Op{simgpu.OpCreateGI, simgpu.OpCreateCI, simgpu.OpDestroyCI, simgpu.OpDestroyGI}).Draw(t, "op")
		return s.FailNext(simgpu.Fault{Op: op, Code: simgpu.CodeInUse, After: rapid.IntRange(0, 2).Draw(t, "after")})
	case "lose instances":
		return s.LoseInstances(w.gpu)
	}
	err := s.Reboot()
	if w.read(t).MIG {
		return err
	}
	return errors.Join(err, s.SetMIG(w.gpu, true))
}

// checkDestroyed looks that what was told to be destroyed is gone, and what had a
// process is not.
func (w *randomWorld) checkDestroyed(t *rapid.T, what string, place mig.Placed, before, after device.GPU, err error) {
	if what != "destroy" && what != "foreign destroy" && what != "break" {
		return
	}
	is := func(i device.Instance) bool { return i.Placed == place }
	n := slices.IndexFunc(before.Instances, is)
	left := slices.ContainsFunc(after.Instances, is)
	if n < 0 {
		if err == nil {
			t.Fatalf("%s succeeded where nothing was", what)
		}
		return
	}
	if len(before.Instances[n].Processes) > 0 && (!errors.Is(err, device.ErrInUse) || !left) {
		t.Fatalf("%s of an instance with processes gave %v", what, err)
	}
	if what != "break" && (err == nil) == left {
		t.Fatalf("%s gave %v; still there: %v", what, err, left)
	}
}

// checkLog has the log told again, and compares.
func (w *randomWorld) checkLog(t *rapid.T, g device.GPU) {
	writes, err := w.s.Writes()
	if err != nil {
		t.Fatal(err)
	}
	type told struct {
		Serial int64
		Whole  bool
	}
	there := map[mig.Placed]told{}
	for _, write := range writes {
		switch {
		case write.Error != "":
		case write.Op == simgpu.OpCreateGI:
			there[write.Placed] = told{Serial: write.Serial}
		case write.Op == simgpu.OpCreateCI:
			there[write.Placed] = told{Serial: write.Serial, Whole: true}
		case write.Op == simgpu.OpDestroyCI:
			there[write.Placed] = told{Serial: write.Serial}
		case write.Op == simgpu.OpDestroyGI:
			if there[write.Placed].Serial != write.Serial {
				t.Fatalf("%+v destroys another than %+v", write, there[write.Placed])
			}
			delete(there, write.Placed)
		}
	}
	want := map[string]bool{}
	for place, i := range there {
		want[fmt.Sprint(place)] = i.Whole
	}
	got := map[string]bool{}
	for _, i := range g.Instances {
		got[fmt.Sprint(i.Placed)] = i.Whole
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the log tells another layout (-log +read):\n%s", diff)
	}
}

func placesOf(all []device.Instance) (places []mig.Placed) {
	for _, i := range all {
		places = append(places, i.Placed)
	}
	return places
}

func others(all []device.Instance, place mig.Placed) []device.Instance {
	return slices.DeleteFunc(slices.Clone(all), func(i device.Instance) bool { return i.Placed == place })
}
