//go:build linux && cgo

package nvml

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// reloading is a driver of which calls after Shutdown fail the test, and a clock.
type reloading struct {
	*Driver
	strict *strict
	inits  int
	init   nvml.Return
	count  nvml.Return
	at     time.Time
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{strict: newStrict(board(t, "H100-80GB")), at: time.Unix(1000, 0)}
	r.strict.InitFunc = func() nvml.Return {
		r.inits++
		r.strict.shut = r.init != nvml.SUCCESS
		return r.init
	}
	live := func() {
		if r.strict.shut {
			t.Error("a call while the library is closed, which ends the process")
		}
	}
	r.strict.DeviceGetCountFunc = func() (int, nvml.Return) { live(); return 1, r.count }
	r.strict.SystemGetDriverVersionFunc = func() (string, nvml.Return) { live(); return "570.1", nvml.SUCCESS }
	r.strict.ShutdownFunc = func() nvml.Return { live(); r.strict.shut = true; return nvml.SUCCESS }
	handle := r.strict.DeviceGetHandleByIndexFunc
	r.strict.DeviceGetHandleByIndexFunc = func(index int) (nvml.Device, nvml.Return) { live(); return handle(index) }
	r.Driver = openStrict(t, r.strict)
	r.Driver.now = func() time.Time { return r.at }
	return r
}

// healthy reads the one GPU, which must be as healthy as that.
func (r *reloading) healthy(t *testing.T, want bool) {
	t.Helper()
	if g := read(t, r.Driver); g.UUID != strictUUID || g.Healthy != want {
		t.Errorf("GPU %+v, want healthy %v", g, want)
	}
}

// A driver that was unloaded is not asked for anything until it is there again, and is
// looked for ever more rarely; until then nothing is known.
func TestDriverIsReloaded(t *testing.T) {
	for _, says := range []nvml.Return{nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_LIB_RM_VERSION_MISMATCH} {
		r := newReloading(t)
		at := mig.Placed{Profile: 0, Start: 6}
		if _, err := r.Create(t.Context(), strictUUID, at); err != nil {
			t.Fatal(err)
		}
		r.healthy(t, true)
		r.strict.xids = []uint64{79}
		r.healthy(t, false)
		r.count, r.init = says, nvml.ERROR_DRIVER_NOT_LOADED
		if gpus, err := r.Read(t.Context()); !errors.Is(err, ErrUnavailable) || gpus != nil {
			t.Fatalf("read %v (%v) from a driver that says %v", gpus, err, says)
		}
		before := r.inits
		for range 300 { // five minutes
			r.at = r.at.Add(time.Second)
			if gpus, err := r.Read(t.Context()); !errors.Is(err, ErrUnavailable) || gpus != nil {
				t.Fatalf("read %v (%v) from a driver that is gone", gpus, err)
			}
		}
		for what, err := range map[string]error{
			"create": second(r.Create(t.Context(), strictUUID, at)), "repair": second(r.Repair(t.Context(), strictUUID, at)),
			"destroy": r.Destroy(t.Context(), strictUUID, at, -1), "activity": second(r.Activity(t.Context(), strictUUID, &at)),
			"describe": second(r.Describe(t.Context())),
		} {
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "kernel module is not loaded") {
				t.Errorf("%s: %v, want that the driver is not available", what, err)
			}
		}
		if tries := r.inits - before; tries < 10 || tries > 16 {
			t.Errorf("it was looked for %d times in five minutes, want about one in half a minute after the first", tries)
		}
		r.count, r.init = nvml.SUCCESS, nvml.SUCCESS
		r.at = r.at.Add(goneMostDelay)
		r.healthy(t, true)
		if err := r.Destroy(t.Context(), strictUUID, at, -1); err != nil {
			t.Errorf("destroy after it is there again: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("read after it was let go of: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What comes after Create in a driver that went between two readings is looked for anew.
func TestDriverIsReloadedBetweenReadings(t *testing.T) {
	r := newReloading(t)
	r.healthy(t, true)
	r.strict.fail["mode"] = nvml.ERROR_UNINITIALIZED
	if gpus, err := r.Read(t.Context()); !errors.Is(err, ErrUnavailable) || gpus != nil {
		t.Fatalf("read %v (%v)", gpus, err)
	}
	delete(r.strict.fail, "mode")
	r.at = r.at.Add(goneDelay)
	if _, err := r.Create(t.Context(), strictUUID, mig.Placed{Profile: 0, Start: 6}); err != nil {
		t.Error(err) // the first call opens it, and finds the GPU
	}
	r.healthy(t, true)
}

// A GPU that is lost answers by a new handle only, once it was reset. Until then the
// driver is opened anew now and then.
func TestLostGPUComesBack(t *testing.T) {
	r := newReloading(t)
	r.healthy(t, true)
	r.strict.xids = []uint64{79}
	r.healthy(t, false)
	r.strict.lost = true
	r.healthy(t, false)
	if r.inits != 1 {
		t.Errorf("opened %d times, as soon as a GPU was lost", r.inits)
	}
	for range 3600 { // an hour
		r.at = r.at.Add(time.Second)
		r.healthy(t, false)
	}
	if r.inits < 8 || r.inits > 14 {
		t.Errorf("opened %d times in an hour, want about every ten minutes after the first", r.inits)
	}
	// It is there again, for who asks anew.
	r.strict.InitFunc = func() nvml.Return {
		r.inits++
		r.strict.shut, r.strict.lost = false, false
		return nvml.SUCCESS
	}
	opened := r.inits
	r.at = r.at.Add(lostMostDelay)
	r.healthy(t, false) // and is read with the next reading
	r.healthy(t, true)
	r.at = r.at.Add(time.Hour)
	r.healthy(t, true)
	if r.inits != opened+1 {
		t.Errorf("opened %d times more, want once", r.inits-opened)
	}
}

// Opening the driver anew for one GPU forgets nothing that is against another, and finds
// that the driver has gone.
func TestOpeningAnewKeepsWhatIsKnown(t *testing.T) {
	r := newReloading(t)
	r.healthy(t, true)
	r.strict.xids = []uint64{48}
	r.healthy(t, false)
	other := &card{last: device.GPU{UUID: "GPU-other", Index: 1}, xid: 79, samples: map[int]*sample{}}
	r.cards["GPU-other"] = other
	for range 3 {
		r.at = r.at.Add(lostMostDelay)
		if _, err := r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.inits < 2 || r.cards[strictUUID].xid != 48 || other.xid != 0 {
		t.Errorf("opened %d times, Xids %d and %d, want that of the GPU that answers kept", r.inits, r.cards[strictUUID].xid, other.xid)
	}
	r.init = nvml.ERROR_LIBRARY_NOT_FOUND
	r.at = r.at.Add(lostMostDelay)
	if _, err := r.Read(t.Context()); err != nil {
		t.Fatal(err) // what was read before counts
	}
	if _, err := r.Read(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read with a library that is gone: %v", err)
	}
}
