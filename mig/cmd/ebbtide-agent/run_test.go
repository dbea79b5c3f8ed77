package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/dcgm"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// town is a cluster with one GPUNode, where nobody holds a slice and rival changes
// layouts.
type town struct {
	node  v1alpha1.GPUNode
	rival string
}

func (c *town) Get(context.Context) (*v1alpha1.GPUNode, error) { return c.node.DeepCopy(), nil }
func (c *town) Changed() <-chan struct{}                       { return nil }
func (c *town) Rival(context.Context) (string, error)          { return c.rival, nil }

func (c *town) Publish(_ context.Context, status v1alpha1.GPUNodeStatus) error {
	c.node.Status = *status.DeepCopy()
	return nil
}

func (c *town) Holders(context.Context) (map[string]v1alpha1.GPUHolder, error) {
	return map[string]v1alpha1.GPUHolder{}, nil
}

func a100(t *testing.T) mig.Geometry {
	t.Helper()
	g, ok := mig.Board("A100-40GB")
	if !ok {
		t.Fatal("there is no A100-40GB among the boards")
	}
	return g
}

// assembled is the agent as run makes it, with simulated GPUs in place of NVIDIA's driver.
func assembled(t *testing.T, c *town, log logr.Logger, card simgpu.Card) (*agent.Agent, *simgpu.Sim) {
	t.Helper()
	sim, err := simgpu.Create(filepath.Join(t.TempDir(), "gpus"), []simgpu.Card{card},
		simgpu.WithSleep(func(time.Duration) {}), simgpu.WithName("agent"))
	if err != nil {
		t.Fatal(err)
	}
	o := options{node: "gpu-0", stateDir: t.TempDir(), allocation: string(v1alpha1.AllocationDevicePlugin), interval: time.Second}
	parts, err := assemble(o, c, sim, log)
	if err != nil {
		t.Fatal(err)
	}
	parts.Holders, parts.Advertiser = c, kube.Silent{}
	a, err := agent.New(parts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a, sim
}

func round(t *testing.T, a *agent.Agent) {
	t.Helper()
	if _, err := a.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Where another program changes the layouts the agent refuses to, says who it is, and
// writes nothing; once that program is gone it does what it is asked to.
func TestAsksForRivals(t *testing.T) {
	c := &town{rival: "mig-manager (label nvidia.com/mig.config=all-1g.5gb)"}
	a, sim := assembled(t, c, logr.Discard(), simgpu.Card{Geometry: a100(t), Layout: []mig.Placed{{Profile: 0, Start: 0}}})
	ask := func(id string) v1alpha1.ReshapeStatus {
		t.Helper()
		g := c.node.Status.GPUs[0]
		c.node.Spec.Reshapes = []v1alpha1.Reshape{{
			ID: id, GPU: g.UUID, Base: g.Fingerprint, Destroy: []v1alpha1.MIGPlacement{g.Instances[0].MIGPlacement},
			Create: []v1alpha1.MIGPlacement{{Profile: 2, Name: "3g.20gb", Start: 4}},
		}}
		for range 3 {
			round(t, a)
		}
		if len(c.node.Status.Reshapes) != 1 || c.node.Status.Reshapes[0].ID != id {
			t.Fatalf("the changes are %+v", c.node.Status.Reshapes)
		}
		return c.node.Status.Reshapes[0]
	}
	written := func() int {
		t.Helper()
		writes, err := sim.Writes()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, w := range writes {
			if w.By == "agent" {
				n++
			}
		}
		return n
	}
	round(t, a)
	if r := ask("r1"); r.State != v1alpha1.ReshapeRefused || !strings.Contains(r.Message, "nvidia.com/mig.config") {
		t.Errorf("beside another program the change is %+v", r)
	}
	ready := meta.FindStatusCondition(c.node.Status.Conditions, v1alpha1.GPUNodeReady)
	if ready == nil || ready.Status != "False" || ready.Reason != agent.ReasonRival {
		t.Errorf("Ready is %+v", ready)
	}
	if n := written(); n != 0 {
		t.Errorf("the agent wrote %d times beside another program", n)
	}
	c.rival = ""
	if r := ask("r2"); r.State != v1alpha1.ReshapeMade || written() == 0 {
		t.Errorf("with the other program gone the change is %+v, after %d writes", r, written())
	}
}

// What the driver says of a board is published, however the list of boards has it; that
// they differ is logged, once for each GPU.
func TestDriverCountsAndDifferencesAreLogged(t *testing.T) {
	listed, other := a100(t), a100(t)
	other.Profiles[0].MemoryMiB += 64
	for name, c := range map[string]struct {
		card simgpu.Card
		want []string
	}{
		"as listed": {simgpu.Card{Geometry: listed, PCIDevice: "0x20B010DE"}, nil},
		"otherwise": {simgpu.Card{Geometry: other, PCIDevice: "0x20B010DE"},
			[]string{"says otherwise than the list of boards, and counts", `"board"="A100-40GB"`, "(1g.5gb): memoryMiB: "}},
		"not listed": {simgpu.Card{Geometry: other, PCIDevice: "0xFFFF10DE"},
			[]string{"not among the known ones: its driver's word counts", `"pciDevice"="0xFFFF10DE"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			log := funcr.New(func(_, line string) {
				if strings.Contains(line, "board") {
					lines = append(lines, line)
				}
			}, funcr.Options{})
			town := &town{}
			a, _ := assembled(t, town, log, c.card)
			round(t, a)
			round(t, a)
			if (len(lines) > 0) != (c.want != nil) || len(lines) > 1 {
				t.Errorf("logged %q", lines)
			}
			for _, want := range c.want {
				if !strings.Contains(strings.Join(lines, "\n"), want) {
					t.Errorf("logged %q, and not %s", lines, want)
				}
			}
			boards := town.node.Status.Boards
			if len(boards) != 1 || len(boards[0].Profiles) == 0 || boards[0].Profiles[0].MemoryMiB != c.card.Geometry.Profiles[0].MemoryMiB {
				t.Errorf("published %+v, and the driver says %+v", boards, c.card.Geometry)
			}
		})
	}
}

// Of all that is asked for on the command line, what is not tried above.
func TestAssembles(t *testing.T) {
	o := options{node: "gpu-0", stateDir: "/state", allocation: string(v1alpha1.AllocationDynamicResources), interval: 3 * time.Second}
	var driver device.Driver = &lazyDriver{}
	parts, err := assemble(o, &town{}, driver, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if parts.Node != o.node || parts.StateDir != o.stateDir || parts.Interval != o.interval ||
		parts.Allocation != v1alpha1.AllocationDynamicResources || parts.Driver != driver || parts.Activities != nil {
		t.Errorf("assembled %+v", parts)
	}
	o.prometheus = "http://127.0.0.1:9090"
	if parts, err = assemble(o, &town{}, driver, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	if _, ok := parts.Activities.(*dcgm.Source); !ok {
		t.Errorf("with a Prometheus activity is asked of %T", parts.Activities)
	}
	o.prometheus = "://"
	if _, err := assemble(o, &town{}, driver, logr.Discard()); err == nil {
		t.Error("a URL that is none is taken")
	}
}
