package dra

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/dra/pool"
)

// maker makes instances, and fails when it is told to.
type maker struct {
	there  map[string]int
	made   int
	refuse error
	// dies is after how many calls the process dies; 0 is never.
	dies int
}

type death struct{}

func key(gpu string, at mig.Placed) string { return fmt.Sprintf("%s/%d@%d", gpu, at.Profile, at.Start) }

func (m *maker) call() error {
	if m.dies > 0 {
		if m.dies--; m.dies == 0 {
			panic(death{})
		}
	}
	return m.refuse
}

func (m *maker) Make(_ context.Context, gpu string, at mig.Placed) (device.Instance, int64, error) {
	if err := m.call(); err != nil {
		return device.Instance{}, 0, err
	}
	if m.there[key(gpu, at)] == 0 {
		m.made++
		m.there[key(gpu, at)] = m.made
	}
	n := m.there[key(gpu, at)]
	err := error(nil)
	if m.dies == 1 { // after the effect
		m.dies = 0
		panic(death{})
	}
	return device.Instance{Placed: at, UUID: fmt.Sprintf("MIG-%d", n)}, int64(n), err
}

func (m *maker) Unmake(_ context.Context, gpu string, at mig.Placed) error {
	if err := m.call(); err != nil {
		return err
	}
	delete(m.there, key(gpu, at))
	return nil
}

type stage struct {
	*Node
	t     *testing.T
	o     Options
	maker *maker
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, o: Options{Node: "node", Dir: t.TempDir(), CDI: t.TempDir()}, maker: &maker{there: map[string]int{}}}
	s.restart()
	return s
}

// restart is a new process with what the old one left.
func (s *stage) restart() {
	s.t.Helper()
	n, err := New(s.o)
	if err != nil {
		s.t.Fatal(err)
	}
	n.maker = s.maker
	s.Node = n
	s.observe(status(true))
}

func (s *stage) observe(status *v1alpha1.GPUNodeStatus) {
	s.t.Helper()
	if err := s.Observe(status); err != nil {
		s.t.Fatal(err)
	}
}

// status is of an A100 of seven slices, and a GPU that is not in MIG mode.
func status(healthy bool) *v1alpha1.GPUNodeStatus {
	one := v1alpha1.MIGProfile{Profile: 0, GIProfileID: 19, Name: "1g.5gb", Compute: 1, Memory: 1, Max: 7, Starts: []int32{0, 1, 2, 3, 4, 5, 6}}
	two := v1alpha1.MIGProfile{Profile: 1, GIProfileID: 14, Name: "2g.10gb", Compute: 2, Memory: 2, Max: 3, Starts: []int32{0, 2, 4}}
	out := &v1alpha1.GPUNodeStatus{
		Boards: []v1alpha1.MIGBoard{{Name: "A100", Slots: 8, Profiles: []v1alpha1.MIGProfile{one, two}}},
		GPUs: []v1alpha1.GPUStatus{
			{UUID: "GPU-a", MIG: true, Board: "A100", Healthy: healthy, Problem: "fell off the bus"},
			{UUID: "GPU-b", Healthy: true},
		},
	}
	for start := range int32(7) {
		out.GPUs[0].Instances = append(out.GPUs[0].Instances, v1alpha1.MIGInstance{MIGPlacement: v1alpha1.MIGPlacement{Start: start}, State: v1alpha1.InstanceAbsent})
	}
	return out
}

func claim(name string, devices ...string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name)}}
	c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: name + "-pod", UID: types.UID(name + "-pod")}}
	c.Status.Allocation = &resourcev1.AllocationResult{}
	for _, d := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
			resourcev1.DeviceRequestAllocationResult{Request: "r", Driver: Driver, Pool: "node", Device: d})
	}
	return c
}

func (s *stage) prepare(c *resourcev1.ResourceClaim) *Claim {
	s.t.Helper()
	got, err := s.Prepare(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// Preparing twice gives the same, also by another process; letting go leaves nothing.
func TestPrepareIsIdempotent(t *testing.T) {
	s := newStage(t)
	c := claim("c", "gpu-0-mig-1g5gb-19-4", "gpu-0-mig-1g5gb-19-5", "gpu-1")
	first := s.prepare(c)
	var uuids []string
	for _, d := range first.Devices {
		uuids = append(uuids, d.UUID)
	}
	if want := []string{"MIG-1", "MIG-2", "GPU-b"}; !cmp.Equal(uuids, want) {
		t.Fatalf("devices %v, want %v", uuids, want)
	}
	spec, err := os.ReadFile(s.cdiFile("c"))
	if err != nil || !strings.Contains(string(spec), "/var/run/nvidia-container-devices/MIG-2") || !strings.Contains(string(spec), `"name": "c-gpu-0-mig-1g5gb-19-5"`) {
		t.Fatalf("CDI devices %s (%v)", spec, err)
	}
	if again := s.prepare(c); !cmp.Equal(first, again) {
		t.Errorf("prepared again: %s", cmp.Diff(first, again))
	}
	s.restart()
	if again := s.prepare(c); !cmp.Equal(first, again) {
		t.Errorf("prepared by another process: %s", cmp.Diff(first, again))
	}
	promised := func(gpu, profile string, start int) string { return fmt.Sprint(gpu, profile, start) }
	holder := v1alpha1.GPUHolder{Namespace: "team", Name: "c-pod", UID: "c-pod"}
	want := map[string]v1alpha1.GPUHolder{
		"MIG-1": holder, promised("GPU-a", "1g.5gb", 4): holder,
		"MIG-2": holder, promised("GPU-a", "1g.5gb", 5): holder, "GPU-b": holder,
	}
	if got := s.Holders(promised); !cmp.Equal(got, want) {
		t.Errorf("holders: %s", cmp.Diff(want, got))
	}
	for range 2 {
		if err := s.Unprepare(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(s.o.CDI + "/*")
	if len(s.maker.there) > 0 || len(s.Claims()) > 0 || len(files) > 0 || err != nil {
		t.Errorf("left: %v, claims %v, files %v (%v)", s.maker.there, s.Claims(), files, err)
	}
}

// The process may die in any call: what comes after it makes nothing twice and leaves
// nothing behind.
func TestDeathInAnyCall(t *testing.T) {
	dying := func(s *stage, calls int, do func()) (died bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(death); !ok {
					panic(r)
				}
				died = true
			}
		}()
		s.maker.dies = calls
		do()
		s.maker.dies = 0
		return false
	}
	for calls := 1; calls <= 4; calls++ {
		t.Run(fmt.Sprintf("prepare/%d", calls), func(t *testing.T) {
			s := newStage(t)
			c := claim("c", "gpu-0-mig-1g5gb-19-4", "gpu-0-mig-1g5gb-19-5")
			died := dying(s, calls, func() { s.prepare(c) })
			if died != (calls <= 3) {
				t.Fatalf("died: %v", died)
			}
			s.restart()
			if died && len(s.Claims()) != 1 {
				t.Fatalf("claims after a death: %v", s.Claims())
			}
			s.prepare(c)
			if s.maker.made != 2 || len(s.maker.there) != 2 {
				t.Errorf("made %d, there are %v", s.maker.made, s.maker.there)
			}
			if died := dying(s, calls, func() { _ = s.Unprepare(t.Context(), "c") }); died {
				s.restart()
			}
			if err := s.Unprepare(t.Context(), "c"); err != nil || len(s.maker.there) != 0 || len(s.Claims()) != 0 {
				t.Errorf("left %v, claims %v (%v)", s.maker.there, s.Claims(), err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("first", "gpu-0-mig-1g5gb-19-4"))
	elsewhere := claim("x", "gpu-0-mig-1g5gb-19-5")
	elsewhere.Status.Allocation.Devices.Results[0].Pool = "other"
	admin := claim("x", "gpu-0-mig-1g5gb-19-5")
	admin.Status.Allocation.Devices.Results[0].AdminAccess = ptr.To(true)
	unallocated := claim("x")
	unallocated.Status.Allocation = nil
	for name, test := range map[string]struct {
		claim *resourcev1.ResourceClaim
		want  string
	}{
		"the same device":     {claim("x", "gpu-0-mig-1g5gb-19-4"), "claim team/first has gpu-0-mig-1g5gb-19-4"},
		"one that overlaps":   {claim("x", "gpu-0-mig-2g10gb-14-4"), "claim team/first has gpu-0-mig-1g5gb-19-4"},
		"itself twice":        {claim("x", "gpu-0-mig-1g5gb-19-0", "gpu-0-mig-2g10gb-14-0"), "claim team/x has gpu-0-mig-1g5gb-19-0"},
		"not of the layout":   {claim("x", "gpu-0-mig-2g10gb-14-0"), "it is not of the card's layout"},
		"another node's":      {elsewhere, "is of pool other"},
		"admin access":        {admin, "admin access is not offered"},
		"not allocated":       {unallocated, "it is not allocated"},
		"no such card":        {claim("x", "gpu-7-mig-1g5gb-19-4"), "no such device"},
		"no such place":       {claim("x", "gpu-0-mig-1g5gb-19-7"), "no such device"},
		"a card whole":        {claim("x", "gpu-0"), "claim team/first has"},
		"a slice of no card":  {claim("x", "gpu-1-mig-1g5gb-19-0"), "no such device"},
		"not a device's name": {claim("x", "nic-0"), "not a name of this driver's devices"},
	} {
		if _, err := s.Prepare(t.Context(), test.claim); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if len(s.Claims()) != 1 || len(s.maker.there) != 1 {
		t.Errorf("claims %v, there are %v", s.Claims(), s.maker.there)
	}
	s.observe(status(false))
	if _, err := s.Prepare(t.Context(), claim("x", "gpu-0-mig-1g5gb-19-0")); !errors.Is(err, device.ErrLost) {
		t.Errorf("of a card that is lost: %v", err)
	}
}

// What cannot be destroyed is still the claim's, and nobody else gets it.
func TestInUseStaysHeld(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("c", "gpu-0-mig-1g5gb-19-4"))
	s.maker.refuse = device.ErrInUse
	if err := s.Unprepare(t.Context(), "c"); !errors.Is(err, device.ErrInUse) {
		t.Fatalf("let go: %v", err)
	}
	s.maker.refuse = nil
	if _, err := s.Prepare(t.Context(), claim("d", "gpu-0-mig-1g5gb-19-4")); err == nil {
		t.Error("another claim got what could not be destroyed")
	}
	if err := s.Unprepare(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	s.prepare(claim("d", "gpu-0-mig-1g5gb-19-4"))
}

// A card keeps its number when another is lost, and one that is lost stays published, as
// one that is not to be used.
func TestNumbersLast(t *testing.T) {
	s := newStage(t)
	lost := status(true)
	lost.GPUs = lost.GPUs[1:]
	s.observe(lost)
	s.restart()
	s.observe(lost)
	got := map[string]string{}
	for _, p := range s.Published() {
		got[pool.Whole(p.Number)] = fmt.Sprint(p.UUID, " ", p.Healthy)
	}
	if want := map[string]string{"gpu-0": "GPU-a false", "gpu-1": "GPU-b true"}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestDamagedCheckpoint(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("c", "gpu-1"))
	path := filepath.Join(s.o.Dir, checkpointFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"cut short": string(raw[:len(raw)/2]), "changed": strings.Replace(string(raw), "GPU-b", "GPU-c", 1), "empty": "",
	} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(s.o); err == nil {
			t.Errorf("a checkpoint that is %s was read", name)
		}
	}
}
