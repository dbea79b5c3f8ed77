package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// Profiles of an A100.
const (
	g1 mig.ProfileID = 0
	g3 mig.ProfileID = 2
	g4 mig.ProfileID = 3
)

// crash is what a failpoint panics with.
type crash struct{ step string }

// world is a node: GPUs, an API server, a kubelet, and the agent that is tested.
type world struct {
	t     testing.TB
	dir   string
	sim   *simgpu.Sim
	clock *testingclock.FakeClock
	agent *agent.Agent

	node     v1alpha1.GPUNode
	apiDown  error
	apiSlow  bool // what is written comes through after its writer has given up
	earlier  v1alpha1.GPUNodeStatus
	holders  map[string]v1alpha1.GPUHolder
	unknown  error
	rival    string
	options  func(*agent.Options)
	adverts  []agent.Change
	unseen   int // how often an advertisement is not seen yet
	failures func(step string)
}

func newWorld(t testing.TB, cards ...simgpu.Card) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "agent-test-") // in memory: the journal is synced at every step
	if err != nil {
		dir, err = os.MkdirTemp("", "agent-test-")
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: dir, clock: testingclock.NewFakeClock(time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)),
		holders: map[string]v1alpha1.GPUHolder{},
	}
	t.Cleanup(func() {
		if w.agent != nil {
			w.agent.Close()
		}
		os.RemoveAll(dir)
	})
	if len(cards) == 0 {
		cards = []simgpu.Card{sevenOnes()}
	}
	w.sim, err = simgpu.Create(filepath.Join(dir, "gpus"), cards, simgpu.WithSleep(func(time.Duration) {}), simgpu.WithName("agent"))
	if err != nil {
		t.Fatal(err)
	}
	w.node.Name = "gpu-0"
	return w
}

func a100() mig.Geometry {
	g, ok := mig.BoardFor("20B0")
	if !ok {
		panic("there is no A100 among the boards")
	}
	return g
}

// sevenOnes is the reference example: an A100 cut in seven.
func sevenOnes() simgpu.Card {
	card := simgpu.Card{Geometry: a100()}
	for start := range 7 {
		card.Layout = append(card.Layout, mig.Placed{Profile: g1, Start: start})
	}
	return card
}

// start starts an agent, as after a crash if there was one.
func (w *world) start() {
	w.t.Helper()
	if w.agent != nil {
		w.agent.Close()
	}
	o := agent.Options{
		Node: "gpu-0", StateDir: filepath.Join(w.dir, "state"), Driver: w.sim, Nodes: w, Holders: w, Advertiser: w, Rival: w,
		Clock: w.clock, Failpoint: func(step string) {
			if w.failures != nil {
				w.failures(step)
			}
		},
	}
	if w.options != nil {
		w.options(&o)
	}
	a, err := agent.New(o)
	if err != nil {
		w.t.Fatalf("start the agent: %v", err)
	}
	w.agent = a
}

// round runs one round and says whether the agent crashed in it.
func (w *world) round() (next time.Duration, crashed bool) {
	w.t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
			crashed = true
		}
	}()
	next, err := w.agent.Round(w.t.Context())
	if err != nil && w.apiDown == nil {
		w.t.Logf("round: %v", err)
	}
	return next, false
}

// settle runs rounds for a time, and starts the agent again when it crashes.
func (w *world) settle(long time.Duration) {
	w.t.Helper()
	end := w.clock.Now().Add(long)
	for !w.clock.Now().After(end) {
		next, crashed := w.round()
		if crashed {
			w.start()
			continue
		}
		w.clock.Step(next)
	}
}

// until settles until a change is in one of the states, and at most for a time.
func (w *world) until(id string, most time.Duration, states ...string) {
	w.t.Helper()
	end := w.clock.Now().Add(most)
	for w.clock.Now().Before(end) && !slices.Contains(states, w.state(id).State) {
		w.settle(0)
	}
}

// Get is the API server's.
func (w *world) Get(context.Context) (*v1alpha1.GPUNode, error) {
	if w.apiDown != nil {
		return nil, w.apiDown
	}
	return w.node.DeepCopy(), nil
}

// Publish is the API server's.
func (w *world) Publish(_ context.Context, status v1alpha1.GPUNodeStatus) error {
	if w.apiDown != nil {
		return w.apiDown
	}
	w.node.Status = *status.DeepCopy()
	if w.apiSlow {
		return context.DeadlineExceeded
	}
	return nil
}

// Changed is the API server's.
func (w *world) Changed() <-chan struct{} { return nil }

// Holders is the kubelet's.
func (w *world) Holders(context.Context) (map[string]v1alpha1.GPUHolder, error) {
	return w.holders, w.unknown
}

// Withdraw is the device plugin's.
func (w *world) Withdraw(context.Context, []string) error { return nil }

// Advertise is the device plugin's.
func (w *world) Advertise(_ context.Context, c agent.Change) (bool, error) {
	w.adverts = append(w.adverts, c)
	w.unseen--
	return w.unseen < 0, nil
}

// Rival is the cluster's.
func (w *world) Rival(context.Context) (string, error) { return w.rival, nil }

func (w *world) gpu(n int) device.GPU {
	w.t.Helper()
	gpus, err := w.sim.Read(w.t.Context())
	for range 10 { // a fault that was meant for the agent
		if err == nil {
			break
		}
		gpus, err = w.sim.Read(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return gpus[n]
}

// uuid of the first GPU.
func (w *world) uuid() string { return w.node.Status.GPUs[0].UUID }

// layout of a GPU, for people: profile@start, with what is not whole marked.
func (w *world) layout(n int) string {
	text := ""
	for _, i := range w.gpu(n).Instances {
		text += fmt.Sprintf("%d@%d", i.Profile, i.Start)
		if !i.Whole {
			text += "!"
		}
		text += " "
	}
	return text
}

// hold gives an instance to a pod and starts a process on it.
func (w *world) hold(pod string, at mig.Placed) {
	w.t.Helper()
	g := w.gpu(0)
	for _, i := range g.Instances {
		if i.Placed == at {
			w.holders[i.UUID] = v1alpha1.GPUHolder{Namespace: "train", Name: pod}
		}
	}
	if err := w.sim.Attach(g.UUID, &at, device.Process{PID: 4711}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) release(pod string) {
	for uuid, h := range w.holders {
		if h.Name == pod {
			delete(w.holders, uuid)
		}
	}
	if err := w.sim.Detach(w.uuid(), 4711); err != nil {
		w.t.Fatal(err)
	}
}

// ask puts the change of four small slices into a large one into the spec.
func (w *world) ask(id string) *v1alpha1.Reshape {
	g := w.node.Status.GPUs[0]
	r := v1alpha1.Reshape{
		ID: id, GPU: g.UUID, Lender: "serving/chat", From: "a100-1g.5gb", To: "a100-4g.20gb", Base: g.Fingerprint,
		Create: []v1alpha1.MIGPlacement{{Profile: int32(g4), Name: "4g.20gb", Start: 0}},
	}
	for _, i := range g.Instances {
		if i.Start < 4 {
			r.Destroy = append(r.Destroy, i.MIGPlacement)
		}
	}
	w.node.Spec.Reshapes = append(w.node.Spec.Reshapes, r)
	return &w.node.Spec.Reshapes[len(w.node.Spec.Reshapes)-1]
}

func (w *world) state(id string) v1alpha1.ReshapeStatus {
	for _, s := range w.node.Status.Reshapes {
		if s.ID == id {
			return s
		}
	}
	return v1alpha1.ReshapeStatus{}
}

func (w *world) wantState(id, state string) {
	w.t.Helper()
	if got := w.state(id); got.State != state {
		w.t.Fatalf("%s is %q (%s), want %s; the layout is %s", id, got.State, got.Message, state, w.layout(0))
	}
}

func (w *world) wantLayout(want string) {
	w.t.Helper()
	if got := w.layout(0); got != want {
		w.t.Fatalf("the layout is %q, want %q", got, want)
	}
}

func (w *world) condition(name string) metav1.Condition {
	for _, c := range w.node.Status.Conditions {
		if c.Type == name {
			return c
		}
	}
	return metav1.Condition{}
}

// pin has the places of the reference example pinned.
func (w *world) pin() {
	places := []v1alpha1.MIGPlacement{}
	for start := 4; start < 7; start++ {
		places = append(places, v1alpha1.MIGPlacement{Profile: int32(g1), Start: int32(start)})
	}
	w.node.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: w.uuid(), Places: places}}
}

// serials are the instances of the GPU themselves, whatever they are called.
func (w *world) touched(from int64, starts ...int) []simgpu.Write {
	w.t.Helper()
	writes, err := w.sim.Writes()
	if err != nil {
		w.t.Fatal(err)
	}
	var found []simgpu.Write
	for _, write := range writes {
		for _, start := range starts {
			if write.Seq > from && write.Start == start && write.By == "agent" {
				found = append(found, write)
			}
		}
	}
	return found
}

const (
	ones = "0@0 0@1 0@2 0@3 0@4 0@5 0@6 "
	four = "3@0 0@4 0@5 0@6 "
)

var errDown = errors.New("down")
