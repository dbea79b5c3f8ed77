package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/dra/pool"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// api is an API server with one GPUNode.
type api struct{ node v1alpha1.GPUNode }

func (a *api) Get(context.Context) (*v1alpha1.GPUNode, error) { return a.node.DeepCopy(), nil }
func (a *api) Changed() <-chan struct{}                       { return nil }
func (a *api) Publish(_ context.Context, status v1alpha1.GPUNodeStatus) error {
	a.node.Status = status
	return nil
}

// machine is a node with an A100 cut in seven, and its agent.
type machine struct {
	*Node
	t     *testing.T
	sim   *simgpu.Sim
	agent *agent.Agent
	api   *api
	gpu   string
	one   mig.Profile
	four  mig.Profile
	// cluster has the pods and claims, and may not answer.
	cluster *fakeCluster
	// step is called at each of the agent's failpoints.
	step func(string)
}

func board(t *testing.T, name string) *mig.Geometry {
	t.Helper()
	g, ok := mig.Board(name)
	if !ok {
		t.Fatalf("there is no board %s", name)
	}
	return &g
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	g := board(t, "A100-40GB")
	m := &machine{t: t, api: &api{}, cluster: &fakeCluster{}}
	var layout []mig.Placed
	for _, p := range g.Profiles {
		switch p.Name {
		case "1g.5gb":
			m.one = p
		case "4g.20gb":
			m.four = p
		}
	}
	for _, start := range m.one.Starts {
		layout = append(layout, mig.Placed{Profile: m.one.ID, Start: start})
	}
	var err error
	m.sim, err = simgpu.Create(t.TempDir(), []simgpu.Card{{Geometry: *g, Layout: layout}}, simgpu.WithSleep(func(time.Duration) {}))
	if err != nil {
		t.Fatal(err)
	}
	if m.Node, err = New(Options{Node: "node", Dir: t.TempDir(), CDI: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	m.agent, err = agent.New(agent.Options{
		Node: "node", StateDir: t.TempDir(), Driver: m.sim, Nodes: m.Observed(m.api), Holders: Holders{m.Node, m.cluster},
		Advertiser: kube.Silent{}, Allocation: v1alpha1.AllocationDynamicResources, Log: testr.New(t),
		Failpoint: func(step string) {
			if m.step != nil {
				m.step(step)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.agent.Close() })
	m.maker = m.agent
	m.round()
	m.gpu = m.api.node.Status.GPUs[0].UUID
	return m
}

func (m *machine) round() {
	m.t.Helper()
	if _, err := m.agent.Round(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// layout is what the agent publishes: places, each with its state's first letter and its
// holder.
func (m *machine) layout() string {
	m.t.Helper()
	m.round()
	var words []string
	for _, i := range m.api.node.Status.GPUs[0].Instances {
		word := fmt.Sprintf("%s@%d:%s", strings.SplitN(i.Name, ".", 2)[0], i.Start, i.State[:1])
		if i.Holder != nil {
			word += ":" + i.Holder.Name
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (m *machine) want(layout string) {
	m.t.Helper()
	if got := m.layout(); got != layout {
		m.t.Fatalf("layout %s, want %s", got, layout)
	}
}

func (m *machine) prepare(name, dev string) {
	m.t.Helper()
	if _, err := m.Prepare(m.t.Context(), claim(name, dev)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) unprepare(name string) {
	m.t.Helper()
	if err := m.Unprepare(m.t.Context(), claim(name).UID); err != nil {
		m.t.Fatal(err)
	}
}

// offered are the devices that may be allocated.
func (m *machine) offered() string {
	var out []string
	for _, s := range pool.Resources("node", m.Published()).Pools["node"].Slices {
		for _, d := range s.Devices {
			if len(d.Taints) == 0 {
				out = append(out, strings.TrimPrefix(d.Name, "gpu-0-mig-"))
			}
		}
	}
	return strings.Join(out, " ")
}

// offeredOf are the slices that may be allocated on a stage, sorted.
func offeredOf(n *Node) string {
	out := strings.Fields((&machine{Node: n}).offered())
	out = slices.DeleteFunc(out, func(name string) bool { return name == "gpu-1" })
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Instances come and go with claims, and the layout stays; a reshape changes the layout,
// and what claims may have with it.
func TestLayoutOfAnAgent(t *testing.T) {
	m := newMachine(t)
	m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R 1g@4:R 1g@5:R 1g@6:R")
	if got, want := m.offered(), "1g5gb-19-6 1g5gb-19-4 1g5gb-19-5 1g5gb-19-0 1g5gb-19-1 1g5gb-19-2 1g5gb-19-3"; got != want {
		t.Errorf("offered %s, want %s", got, want)
	}
	m.prepare("a", "gpu-0-mig-1g5gb-19-6")
	m.prepare("b", "gpu-0-mig-1g5gb-19-3")
	m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R:b-pod 1g@4:R 1g@5:R 1g@6:R:a-pod")
	m.unprepare("b")
	m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:A 1g@4:R 1g@5:R 1g@6:R:a-pod")

	m.ask()
	m.await(v1alpha1.ReshapeMade)
	m.want("4g@0:R 1g@4:R 1g@5:R 1g@6:R:a-pod")
	if got, want := m.offered(), "1g5gb-19-6 1g5gb-19-4 1g5gb-19-5 4g20gb-5-0"; got != want {
		t.Errorf("offered %s, want %s", got, want)
	}
	m.prepare("job", "gpu-0-mig-4g20gb-5-0")
	m.want("4g@0:R:job-pod 1g@4:R 1g@5:R 1g@6:R:a-pod")
	m.unprepare("job")
	m.want("4g@0:A 1g@4:R 1g@5:R 1g@6:R:a-pod")
	m.prepare("job2", "gpu-0-mig-4g20gb-5-0")

	m.api.node.Spec.Reshapes[0].Undo = true
	m.await(v1alpha1.ReshapeUndoing)
	m.want("4g@0:R:job2-pod 1g@4:R 1g@5:R 1g@6:R:a-pod")
	m.unprepare("job2")
	m.await(v1alpha1.ReshapeUndone)
	m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R 1g@4:R 1g@5:R 1g@6:R:a-pod")
	m.prepare("c", "gpu-0-mig-1g5gb-19-2")
	m.unprepare("c")
	m.want("1g@0:R 1g@1:R 1g@2:A 1g@3:R 1g@4:R 1g@5:R 1g@6:R:a-pod")
}

// ask asks for the first four slices to be made into one of four.
func (m *machine) ask() {
	reshape := v1alpha1.Reshape{ID: "r", GPU: m.gpu, Lender: "serving/chat", From: "1g", To: "4g", Base: m.api.node.Status.GPUs[0].Fingerprint}
	for start := range int32(4) {
		reshape.Destroy = append(reshape.Destroy, v1alpha1.MIGPlacement{Profile: int32(m.one.ID), Start: start})
	}
	reshape.Create = []v1alpha1.MIGPlacement{{Profile: int32(m.four.ID)}}
	m.api.node.Spec.Reshapes = []v1alpha1.Reshape{reshape}
}

func (m *machine) await(state string) {
	m.t.Helper()
	var last v1alpha1.ReshapeStatus
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		m.round()
		if s := m.api.node.Status.Reshapes; len(s) == 1 {
			if last = s[0]; last.State == state {
				return
			}
		}
	}
	m.t.Fatalf("the reshape is %+v, want %s", last, state)
}

// A process that outlives its pod keeps the instance from being destroyed; the claim is
// let go when it has ended.
func TestProcessOutlivesItsPod(t *testing.T) {
	m := newMachine(t)
	m.prepare("a", "gpu-0-mig-1g5gb-19-6")
	at := mig.Placed{Profile: m.one.ID, Start: 6}
	if err := m.sim.Attach(m.gpu, &at, device.Process{PID: 7}); err != nil {
		t.Fatal(err)
	}
	if err := m.Unprepare(t.Context(), "a"); err == nil {
		t.Fatal("let go with a process on the instance")
	}
	m.round()
	last := m.api.node.Status.GPUs[0].Instances[6]
	if last.Holder != nil || !cmp.Equal(last.Processes, ptr.To[int32](1)) {
		t.Errorf("instance %+v, want one with a process and without a holder", last)
	}
	if err := m.sim.Detach(m.gpu, 7); err != nil {
		t.Fatal(err)
	}
	m.unprepare("a")
	m.want("1g@0:R 1g@1:R 1g@2:R 1g@3:R 1g@4:R 1g@5:R 1g@6:A")
}

// A reboot takes the instance of a claim away, and the claim stays: its place is held
// until it is prepared again, and no reshape takes it.
func TestRebootKeepsThePlacesOfClaims(t *testing.T) {
	m := newMachine(t)
	m.prepare("a", "gpu-0-mig-1g5gb-19-0")
	if err := m.sim.Reboot(); err != nil {
		t.Fatal(err)
	}
	if err := m.sim.SetMIG(m.gpu, true); err != nil {
		t.Fatal(err)
	}
	m.want("1g@0:A:a-pod 1g@1:A 1g@2:A 1g@3:A 1g@4:A 1g@5:A 1g@6:A")
	m.ask()
	m.await(v1alpha1.ReshapeRefused)
	m.prepare("a", "gpu-0-mig-1g5gb-19-0")
	m.want("1g@0:R:a-pod 1g@1:A 1g@2:A 1g@3:A 1g@4:A 1g@5:A 1g@6:A")
}

// Who makes instances for claims leaves alone what a change has made, also while nobody
// has it, and what is pinned.
func TestMakeLeavesAlone(t *testing.T) {
	m := newMachine(t)
	m.ask()
	m.await(v1alpha1.ReshapeMade)
	one := func(start int) mig.Placed { return mig.Placed{Profile: m.one.ID, Start: start} }
	if _, _, err := m.agent.Make(t.Context(), m.gpu, one(0)); err == nil || !strings.Contains(err.Error(), "until r is undone") {
		t.Errorf("over what was made: %v", err)
	}
	m.prepare("job", "gpu-0-mig-4g20gb-5-0")
	m.unprepare("job")
	if _, _, err := m.agent.Make(t.Context(), m.gpu, one(0)); err == nil || !strings.Contains(err.Error(), "until r is undone") {
		t.Errorf("in the place of what was made: %v", err)
	}
	m.want("4g@0:A 1g@4:R 1g@5:R 1g@6:R")
	m.api.node.Spec.Pinned = []v1alpha1.PinnedSlices{{GPU: m.gpu, Places: []v1alpha1.MIGPlacement{{Profile: int32(m.one.ID), Start: 4}}}}
	m.round()
	var three mig.Profile
	for _, p := range board(t, "A100-40GB").Profiles {
		if p.Name == "3g.20gb" {
			three = p
		}
	}
	if _, _, err := m.agent.Make(t.Context(), m.gpu, mig.Placed{Profile: three.ID, Start: 4}); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("over what is pinned: %v", err)
	}
	m.want("4g@0:A 1g@4:R 1g@5:R 1g@6:R")
}

// A claim is let go whatever has become of its instance.
func TestLetGoOfWhatIsGone(t *testing.T) {
	for name, happens := range map[string]func(m *machine, at mig.Placed) error{
		"another made it anew": func(m *machine, at mig.Placed) error {
			err := m.sim.ForeignDestroy(m.gpu, at)
			m.round()
			return errors.Join(err, m.sim.ForeignCreate(m.gpu, at))
		},
		"MIG mode is off": func(m *machine, _ mig.Placed) error {
			return errors.Join(m.sim.Reboot(), m.sim.SetMIG(m.gpu, false), m.sim.Reboot())
		},
		"the GPU is gone": func(m *machine, _ mig.Placed) error { return m.sim.Remove(m.gpu) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.prepare("a", "gpu-0-mig-1g5gb-19-0")
			if err := happens(m, mig.Placed{Profile: m.one.ID}); err != nil {
				t.Fatal(err)
			}
			m.unprepare("a")
			if left := m.Claims(); len(left) > 0 {
				t.Errorf("left %v", left)
			}
			m.round()
			if strings.Contains(m.offered(), "1g5gb-19-0") {
				t.Errorf("offered %s, and another or nobody has the first", m.offered())
			}
		})
	}
}
