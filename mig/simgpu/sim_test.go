package simgpu_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// Profiles of boards with seven slices.
const (
	one    = mig.ProfileID(0)
	two    = mig.ProfileID(1)
	three  = mig.ProfileID(2)
	four   = mig.ProfileID(3)
	seven  = mig.ProfileID(4)
	oneTwo = mig.ProfileID(9) // one slice with two slots
)

func at(p mig.ProfileID, start int) mig.Placed { return mig.Placed{Profile: p, Start: start} }

// sevenOnes is a card cut in seven.
func sevenOnes() (layout []mig.Placed) {
	for start := range 7 {
		layout = append(layout, at(one, start))
	}
	return layout
}

func create(t *testing.T, cards ...simgpu.Card) (s *simgpu.Sim, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := simgpu.Create(dir, cards, simgpu.WithSleep(atOnce))
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func read(t *testing.T, s *simgpu.Sim) []device.GPU {
	t.Helper()
	gpus, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return gpus
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s gave %v, want %v", what, err, want)
	}
}

func TestCreateRefuses(t *testing.T) {
	a100 := board(t, "A100-40GB")
	tests := map[string]struct {
		card simgpu.Card
		want string
	}{
		"no profiles": {card: simgpu.Card{Geometry: mig.Geometry{Board: "x", Slots: 8}}, want: "profiles"},
		"overlap":     {card: simgpu.Card{Geometry: a100, Layout: []mig.Placed{at(one, 0), at(four, 0)}}, want: "insufficient resources"},
		"no place":    {card: simgpu.Card{Geometry: a100, Layout: []mig.Placed{at(four, 4)}}, want: "invalid"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := simgpu.Create(t.TempDir(), []simgpu.Card{tt.card})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Create gave %v, want %q", err, tt.want)
			}
		})
	}
	_, dir := create(t, simgpu.Card{Geometry: a100})
	if _, err := simgpu.Create(dir, nil); err == nil {
		t.Error("Create over what is there succeeded")
	}
	if _, err := simgpu.Open(t.TempDir()); err == nil {
		t.Error("Open of an empty folder succeeded")
	}
}

// TestBoards cuts every board that there is, as it can be cut.
func TestBoards(t *testing.T) {
	for _, g := range mig.Boards() {
		whole := g.Profiles[slices.IndexFunc(g.Profiles, func(p mig.Profile) bool { return p.Memory == g.Slots })]
		s, _ := create(t, simgpu.Card{Geometry: g, Layout: []mig.Placed{at(whole.ID, 0)}})
		if gpu := read(t, s)[0]; len(gpu.Instances) != 1 || !gpu.Instances[0].Whole || gpu.MemoryMiB <= 0 {
			t.Errorf("%s: %+v", g.Board, gpu)
		}
	}
}

// TestNumbers compares with those of the MIG user guide's example of seven 1g.5gb, and
// shows that numbers and UUIDs come back for another profile.
func TestNumbers(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Layout: sevenOnes()})
	gpu := read(t, s)[0]
	var numbers []int
	for _, i := range gpu.Instances {
		numbers = append(numbers, i.GI)
	}
	if diff := cmp.Diff([]int{11, 12, 13, 14, 7, 8, 9}, numbers); diff != "" {
		t.Errorf("numbers by start (-want +got):\n%s", diff)
	}
	must(t, s.LoseInstances(gpu.UUID))
	first, err := s.Create(t.Context(), gpu.UUID, at(two, 4))
	must(t, err)
	must(t, s.Destroy(t.Context(), gpu.UUID, at(two, 4), first.GI))
	second, err := s.Create(t.Context(), gpu.UUID, at(oneTwo, 4))
	must(t, err)
	if first.GI != 3 || second.GI != first.GI || second.UUID != first.UUID {
		t.Errorf("numbers %d and %d, UUIDs %s and %s: another profile has the same", first.GI, second.GI, first.UUID, second.UUID)
	}
}

func TestFreshUUIDs(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), FreshUUIDs: true})
	gpu := read(t, s)[0].UUID
	first, err := s.Create(t.Context(), gpu, at(one, 0))
	must(t, err)
	must(t, s.Destroy(t.Context(), gpu, at(one, 0), -1))
	second, err := s.Create(t.Context(), gpu, at(one, 0))
	must(t, err)
	if first.UUID == second.UUID || first.GI != second.GI {
		t.Errorf("UUIDs %s and %s, numbers %d and %d", first.UUID, second.UUID, first.GI, second.GI)
	}
}

func TestFaults(t *testing.T) {
	place, next := at(one, 0), at(one, 1)
	tests := map[string]struct {
		fault simgpu.Fault
		call  func(*testing.T, *simgpu.Sim, string) error
		want  error
		any   bool // an error without name
		left  int  // instances there after the call, of one before
		whole bool
	}{
		"destroy refused": {fault: simgpu.Fault{Op: simgpu.OpDestroyCI, Code: simgpu.CodeInUse}, call: destroy, want: device.ErrInUse, left: 1, whole: true},
		"leaked handle":   {fault: simgpu.Fault{Op: simgpu.OpDestroyGI, Code: simgpu.CodeInUse}, call: destroy, want: device.ErrInUse, left: 1},
		"remnant remains": {fault: simgpu.Fault{Op: simgpu.OpDestroyGI, Remains: true}, call: destroy, left: 1},
		"stale handle":    {fault: simgpu.Fault{Op: simgpu.OpDestroyCI, Code: simgpu.CodeNotFound}, call: destroy, want: device.ErrNotFound, left: 1, whole: true},
		"all remains": {fault: simgpu.Fault{Op: simgpu.OpDestroyCI, Remains: true}, call: destroy,
			want: device.ErrInUse, left: 1, whole: true},
		"elsewhere":         {fault: simgpu.Fault{Op: simgpu.OpDestroyGI, At: &next, Code: simgpu.CodeInUse}, call: destroy},
		"later":             {fault: simgpu.Fault{Op: simgpu.OpDestroyGI, After: 1, Code: simgpu.CodeInUse}, call: destroy},
		"no GPU instance":   {fault: simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeOther}, call: createNext, left: 1, whole: true, any: true},
		"no compute":        {fault: simgpu.Fault{Op: simgpu.OpCreateCI, Code: simgpu.CodeNoRoom}, call: createNext, left: 1, whole: true, want: device.ErrNoRoom},
		"unreadable":        {fault: simgpu.Fault{Op: simgpu.OpRead, Code: simgpu.CodeOther}, call: readAll, left: 1, whole: true, any: true},
		"no activity":       {fault: simgpu.Fault{Op: simgpu.OpActivity, Code: simgpu.CodeNotSupported}, call: activity, left: 1, whole: true, want: device.ErrNotSupported},
		"not permitted yet": {fault: simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeNoPermission}, call: createNext, left: 1, whole: true, want: device.ErrNoPermission},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, dir := create(t, simgpu.Card{Geometry: board(t, "H100-80GB"), Layout: []mig.Placed{place}})
			gpu := read(t, s)[0].UUID
			world, err := simgpu.Open(dir)
			must(t, err)
			must(t, world.FailNext(tt.fault))
			err = tt.call(t, s, gpu)
			if tt.any != (err != nil && tt.want == nil) || !tt.any && !errors.Is(err, tt.want) {
				t.Errorf("gave %v, want %v", err, tt.want)
			}
			left := read(t, s)[0].Instances
			if len(left) != tt.left || len(left) == 1 && (left[0].Whole != tt.whole || left[0].Placed != place) {
				t.Errorf("left %+v, want %d, whole %v", left, tt.left, tt.whole)
			}
			// A fault strikes once, and what was left can go.
			if err := s.Destroy(t.Context(), gpu, place, -1); tt.left == 1 && err != nil {
				t.Errorf("Destroy after the fault: %v", err)
			}
		})
	}
}

func destroy(t *testing.T, s *simgpu.Sim, gpu string) error {
	return s.Destroy(t.Context(), gpu, at(one, 0), -1)
}

func createNext(t *testing.T, s *simgpu.Sim, gpu string) error {
	_, err := s.Create(t.Context(), gpu, at(one, 1))
	return err
}

func readAll(t *testing.T, s *simgpu.Sim, _ string) error { _, err := s.Read(t.Context()); return err }

func activity(t *testing.T, s *simgpu.Sim, gpu string) error {
	_, err := s.Activity(t.Context(), gpu, nil)
	return err
}

// TestRemnantAfterCreate has both the compute instance fail and the GPU instance stay.
func TestRemnantAfterCreate(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "H100-80GB")})
	gpu := read(t, s)[0].UUID
	must(t, s.FailNext(simgpu.Fault{Op: simgpu.OpCreateCI, Code: simgpu.CodeOther}))
	must(t, s.FailNext(simgpu.Fault{Op: simgpu.OpDestroyGI, Code: simgpu.CodeInUse}))
	_, err := s.Create(t.Context(), gpu, at(four, 0))
	wantErr(t, "Create", err, device.ErrInUse)
	if left := read(t, s)[0].Instances; len(left) != 1 || left[0].Whole || left[0].CI != -1 {
		t.Errorf("left %+v", left)
	}
	_, err = s.Repair(t.Context(), gpu, at(four, 0))
	must(t, err)
}

func TestFaultsAreChecked(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "H100-80GB")})
	for want, f := range map[string]simgpu.Fault{
		"exactly one":    {Op: simgpu.OpRead},
		`code "x"`:       {Op: simgpu.OpRead, Code: "x"},
		"remains is for": {Op: simgpu.OpCreateGI, Remains: true},
		`op "x"`:         {Op: "x", Hang: true},
		"after":          {Op: simgpu.OpRead, Hang: true, After: 1},
	} {
		if err := s.FailNext(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gave %v, want %q", f, err, want)
		}
	}
}

func TestTimes(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "H100-80GB")})
	gpu := read(t, s)[0].UUID
	must(t, s.FailNext(simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeOther, Times: 2}))
	for n, want := range []bool{false, false, true} {
		if _, err := s.Create(t.Context(), gpu, at(one, 0)); (err == nil) != want {
			t.Errorf("call %d gave %v", n, err)
		}
	}
	must(t, s.FailNext(simgpu.Fault{Op: simgpu.OpRead, GPU: gpu, Code: simgpu.CodeLost, Times: -1}))
	for range 3 {
		if g := read(t, s)[0]; g.Healthy || g.Problem == "" || g.Instances != nil {
			t.Errorf("GPU %+v", g)
		}
	}
	must(t, s.ClearFaults())
	if g := read(t, s)[0]; !g.Healthy || len(g.Instances) != 1 {
		t.Errorf("GPU %+v", g)
	}
}

// TestHang has a call hang until somebody else lets go of it.
func TestHang(t *testing.T) {
	s, dir := create(t, simgpu.Card{Geometry: board(t, "H100-80GB"), Layout: []mig.Placed{at(one, 0)}})
	gpu := read(t, s)[0].UUID
	must(t, s.FailNext(simgpu.Fault{Op: simgpu.OpDestroyGI, Hang: true}))
	done := make(chan error)
	go func() { done <- s.Destroy(t.Context(), gpu, at(one, 0), -1) }()
	world, err := simgpu.Open(dir)
	must(t, err)
	for hangs := false; !hangs; {
		writes, err := world.Writes()
		must(t, err)
		hangs = writes[len(writes)-1].Error == "hangs"
		select {
		case err := <-done:
			t.Fatalf("Destroy returned %v", err)
		default:
		}
	}
	// Others get answers meanwhile: the compute instance is gone.
	if i := read(t, world)[0].Instances; len(i) != 1 || i[0].CI != -1 {
		t.Errorf("instances %+v", i)
	}
	must(t, world.ClearFaults())
	must(t, <-done)
	if i := read(t, world)[0].Instances; len(i) > 0 {
		t.Errorf("instances %+v", i)
	}
}

func TestReboot(t *testing.T) {
	for name, outlasts := range map[string]bool{"A100-40GB": true, "H100-80GB": false} {
		t.Run(name, func(t *testing.T) {
			s, _ := create(t, simgpu.Card{Geometry: board(t, name), Layout: sevenOnes()})
			gpu := read(t, s)[0].UUID
			place := at(one, 3)
			must(t, s.Attach(gpu, &place, device.Process{PID: 7}))
			must(t, s.Leak(gpu, at(one, 4)))
			must(t, s.Reboot())
			g := read(t, s)[0]
			if g.MIG != outlasts || g.Pending != outlasts || len(g.Instances) > 0 || len(g.Processes) > 0 || !g.Healthy {
				t.Errorf("after a reboot %+v", g)
			}
			_, err := s.Create(t.Context(), gpu, at(one, 4))
			if outlasts {
				must(t, err)
				must(t, s.Destroy(t.Context(), gpu, at(one, 4), -1))
				return
			}
			wantErr(t, "Create", err, device.ErrNotSupported)
			must(t, s.SetMIG(gpu, true))
			_, err = s.Create(t.Context(), gpu, at(one, 4))
			must(t, err)
		})
	}
}

func TestSetMIG(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Whole: true})
	gpu := read(t, s)[0].UUID
	must(t, s.Attach(gpu, nil, device.Process{PID: 3, MemoryMiB: 5}))
	wantErr(t, "SetMIG with a process", s.SetMIG(gpu, true), device.ErrInUse)
	must(t, s.Detach(gpu, 3))
	must(t, s.SetMIG(gpu, true))
	if g := read(t, s)[0]; g.MIG || !g.Pending {
		t.Errorf("before the reset %+v", g)
	}
	must(t, s.Reboot())
	if g := read(t, s)[0]; !g.MIG {
		t.Errorf("after the reset %+v", g)
	}
	_, err := s.Create(t.Context(), gpu, at(seven, 0))
	must(t, err)
	wantErr(t, "SetMIG with an instance", s.SetMIG(gpu, false), device.ErrInUse)
}

func TestLostAndRemoved(t *testing.T) {
	a100 := board(t, "A100-40GB")
	s, _ := create(t, simgpu.Card{Geometry: a100, UUID: "GPU-a"}, simgpu.Card{Geometry: a100, UUID: "GPU-b"})
	must(t, s.SetProblem("GPU-b", "Xid 95"))
	must(t, s.Lose("GPU-a"))
	gpus := read(t, s)
	if gpus[0].Healthy || gpus[1].Healthy || gpus[1].Problem != "Xid 95" || gpus[1].Index != 1 {
		t.Errorf("GPUs %+v", gpus)
	}
	must(t, s.Reboot())
	must(t, s.Remove("GPU-a"))
	if gpus := read(t, s); len(gpus) != 1 || gpus[0].Index != 0 || gpus[0].UUID != "GPU-b" {
		t.Errorf("GPUs %+v: numbers change when one is gone", gpus)
	}
	_, err := s.Create(t.Context(), "GPU-a", at(one, 0))
	wantErr(t, "Create", err, device.ErrNotFound)
}

func TestForeignEdits(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Layout: []mig.Placed{at(one, 0)}})
	gpu := read(t, s)[0].UUID
	must(t, s.ForeignCreate(gpu, at(three, 4)))
	wantErr(t, "ForeignCreate", s.ForeignCreate(gpu, at(seven, 0)), device.ErrNoRoom)
	_, err := s.Create(t.Context(), gpu, at(two, 4))
	wantErr(t, "Create where somebody was", err, device.ErrNoRoom)
	place := at(one, 0)
	must(t, s.Attach(gpu, &place, device.Process{PID: 1}))
	wantErr(t, "ForeignDestroy", s.ForeignDestroy(gpu, place), device.ErrInUse)
	must(t, s.Detach(gpu, 1))
	must(t, s.ForeignDestroy(gpu, place))
	wantErr(t, "Destroy", s.Destroy(t.Context(), gpu, place, -1), device.ErrNotFound)
	writes, err := s.Writes()
	must(t, err)
	var by []string
	for _, w := range writes {
		by = append(by, w.By)
	}
	want := []string{"install", "foreign", "driver", "foreign", "driver"}
	if got := slices.Compact(by); !slices.Equal(got, want) {
		t.Errorf("written by %q, want %q", got, want)
	}
}

func TestUnprivileged(t *testing.T) {
	s, _ := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Layout: []mig.Placed{at(one, 0)}})
	gpu := read(t, s)[0].UUID
	must(t, s.SetUnprivileged(true))
	_, err := s.Create(t.Context(), gpu, at(one, 1))
	wantErr(t, "Create", err, device.ErrNoPermission)
	wantErr(t, "Destroy", s.Destroy(t.Context(), gpu, at(one, 0), -1), device.ErrNoPermission)
	if g := read(t, s)[0]; len(g.Instances) != 1 || !g.Instances[0].Whole {
		t.Errorf("GPU %+v", g)
	}
}

// TestWrites shows that the log tells instances apart that nothing else does.
func TestWrites(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var slept []time.Duration
	s, err := simgpu.Create(t.TempDir(), []simgpu.Card{{Geometry: board(t, "A100-40GB"), Layout: []mig.Placed{at(one, 0)}}},
		simgpu.WithName("agent"), simgpu.WithClock(func() time.Time { return now }),
		simgpu.WithSleep(func(d time.Duration) { slept = append(slept, d) }))
	must(t, err)
	must(t, s.SetLatency(simgpu.Latency{CreateGI: 1, CreateCI: 2, DestroyCI: 3, DestroyGI: 4, Read: 5}))
	gpu := read(t, s)[0].UUID
	must(t, s.Destroy(t.Context(), gpu, at(one, 0), -1))
	_, err = s.Create(t.Context(), gpu, at(one, 0))
	must(t, err)
	_, err = s.Create(t.Context(), gpu, at(four, 0))
	wantErr(t, "Create", err, device.ErrNoRoom)
	if diff := cmp.Diff([]time.Duration{5, 3, 4, 1, 2, 1}, slept); diff != "" {
		t.Errorf("slept (-want +got):\n%s", diff)
	}
	writes, err := s.Writes()
	must(t, err)
	w := func(seq int64, by string, op simgpu.Op, serial int64) simgpu.Write {
		return simgpu.Write{Seq: seq, Time: now, By: by, GPU: gpu, Op: op, Placed: at(one, 0), GI: 11, Serial: serial}
	}
	refused := w(7, "agent", simgpu.OpCreateGI, 0)
	refused.Placed, refused.GI, refused.Error = at(four, 0), -1, "4g.20gb at 0: insufficient resources"
	want := []simgpu.Write{
		w(1, "install", simgpu.OpCreateGI, 1), w(2, "install", simgpu.OpCreateCI, 1),
		w(3, "agent", simgpu.OpDestroyCI, 1), w(4, "agent", simgpu.OpDestroyGI, 1),
		w(5, "agent", simgpu.OpCreateGI, 2), w(6, "agent", simgpu.OpCreateCI, 2), refused,
	}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// TestMany has several users of a folder at once.
func TestMany(t *testing.T) {
	s, dir := create(t, simgpu.Card{Geometry: board(t, "A100-40GB")})
	gpu := read(t, s)[0].UUID
	var group sync.WaitGroup
	for start := range 7 {
		group.Go(func() {
			own, err := simgpu.Open(dir, simgpu.WithSleep(atOnce))
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if _, err := own.Create(t.Context(), gpu, at(one, start)); err != nil {
					t.Errorf("Create at %d: %v", start, err)
				}
				if _, err := own.Read(t.Context()); err != nil {
					t.Error(err)
				}
				if err := own.Destroy(t.Context(), gpu, at(one, start), -1); err != nil {
					t.Errorf("Destroy at %d: %v", start, err)
				}
			}
		})
	}
	group.Wait()
	writes, err := s.Writes()
	must(t, err)
	for n, w := range writes {
		if w.Seq != int64(n+1) || w.Error != "" {
			t.Fatalf("entry %d is %+v", n, w)
		}
	}
	if len(writes) != 7*10*4 || len(read(t, s)[0].Instances) > 0 {
		t.Errorf("%d writes", len(writes))
	}
}

// TestKilled kills a process that writes all the time, and has what is there afterwards
// be a state that the GPU could be in.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SIMGPU_TEST_DIR"); dir != "" {
		writeForever(t, dir)
		return
	}
	s, dir := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Layout: []mig.Placed{at(three, 4)}})
	for range 5 {
		before, err := s.Writes()
		must(t, err)
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "SIMGPU_TEST_DIR="+dir)
		must(t, child.Start())
		for {
			writes, err := s.Writes()
			must(t, err)
			if len(writes) > len(before)+40 {
				break
			}
		}
		must(t, child.Process.Kill())
		_ = child.Wait() // it was killed
		g := read(t, s)[0]
		if n := len(g.Instances); n < 1 || n > 2 || !g.Instances[n-1].Whole || g.Instances[n-1].Placed != at(three, 4) {
			t.Fatalf("after the kill: %+v", g.Instances)
		}
		if len(g.Instances) == 2 {
			must(t, s.Destroy(t.Context(), g.UUID, g.Instances[0].Placed, g.Instances[0].GI))
		}
	}
}

// TestLogAfterDeath has a log with what somebody noted who died before it was done.
func TestLogAfterDeath(t *testing.T) {
	s, dir := create(t, simgpu.Card{Geometry: board(t, "A100-40GB"), Layout: []mig.Placed{at(one, 0)}})
	gpu := read(t, s)[0].UUID
	log, err := os.OpenFile(dir+"/writes.jsonl", os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = log.WriteString("\n" + `{"seq":3,"op":"DestroyCI","gpu":"x"}` + "\n" + `{"seq":4,"op":"Destr`)
	must(t, err)
	must(t, log.Close())
	serials := func() (all []int64) {
		writes, err := s.Writes()
		must(t, err)
		for _, w := range writes {
			all = append(all, w.Serial)
		}
		return all
	}
	if got := serials(); !slices.Equal(got, []int64{1, 1}) {
		t.Errorf("writes of instances %v", got)
	}
	_, err = s.Create(t.Context(), gpu, at(one, 1))
	must(t, err)
	if got := serials(); !slices.Equal(got, []int64{1, 1, 2, 2}) {
		t.Errorf("writes of instances %v", got)
	}
}

func writeForever(t *testing.T, dir string) {
	s, err := simgpu.Open(dir, simgpu.WithSleep(atOnce))
	must(t, err)
	gpu := read(t, s)[0].UUID
	for {
		_, err := s.Create(t.Context(), gpu, at(four, 0))
		must(t, err)
		must(t, s.Destroy(t.Context(), gpu, at(four, 0), -1))
	}
}
