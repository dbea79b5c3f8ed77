package agent_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
)

// A GPU that had an error is not lent from, and still answers: its owner gets back what
// was lent.
func TestUndoesOnASickGPU(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	r := w.ask("r1")
	w.until("r1", time.Minute, v1alpha1.ReshapeMade)
	w.must(w.sim.SetProblem(w.uuid(), "the driver reported Xid 63"))
	r.Undo = true
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
	if g := w.node.Status.GPUs[0]; g.Healthy || g.Fingerprint != "" {
		t.Errorf("a GPU with an error may be changed for a loan: %+v", g)
	}
}

// An error while a change is made turns it back.
func TestErrorWhileMaking(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.unseen = 1000
	w.ask("r1")
	w.settle(2 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMaking)
	w.must(w.sim.SetProblem(w.uuid(), "the driver reported Xid 63"))
	w.unseen = 0
	w.settle(30 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeRefused)
	w.wantLayout(ones)
}

// A claim on a sick GPU can be let go, and none is made there.
func TestUnmakesOnASickGPU(t *testing.T) {
	w := newWorld(t)
	w.options = func(o *agent.Options) { o.Allocation = v1alpha1.AllocationDynamicResources }
	w.start()
	w.settle(0)
	at := mig.Placed{Profile: g1, Start: 0}
	w.must(w.sim.SetProblem(w.uuid(), "the driver reported Xid 94"))
	w.must(w.agent.Unmake(t.Context(), w.uuid(), at))
	w.wantLayout("0@1 0@2 0@3 0@4 0@5 0@6 ")
	if _, _, err := w.agent.Make(t.Context(), w.uuid(), at); !errors.Is(err, device.ErrLost) {
		t.Errorf("made on a GPU with an error: %v", err)
	}
}

// A GPU with an error keeps no change of another waiting: whether its slices are offered
// is not known.
func TestASickNeighbour(t *testing.T) {
	w := newWorld(t, sevenOnes(), sevenOnes())
	w.start()
	w.settle(0)
	w.ask("r1")
	w.must(w.sim.SetProblem(w.node.Status.GPUs[1].UUID, "the driver reported Xid 63"))
	w.until("r1", time.Minute, v1alpha1.ReshapeMade)
	w.wantState("r1", v1alpha1.ReshapeMade)
	want := agent.Change{
		ID:        w.adverts[0].ID,
		Resources: map[string]int64{"nvidia.com/mig-1g.5gb": 3, "nvidia.com/mig-4g.20gb": 1},
		Doubtful:  map[string]int64{"nvidia.com/mig-1g.5gb": 7, "nvidia.com/mig-4g.20gb": 0},
	}
	if diff := cmp.Diff(want, w.adverts[0]); diff != "" {
		t.Errorf("advertised (-want +got):\n%s", diff)
	}
}

// What the kubelet never comes to count as it should is done all the same, and says so.
func TestNeverSeen(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	r := w.ask("r1")
	w.unseen = 1 << 20
	w.settle(time.Minute)
	w.wantState("r1", v1alpha1.ReshapeMaking)
	w.settle(2 * time.Minute)
	w.wantState("r1", v1alpha1.ReshapeMade)
	if m := w.state("r1").Message; !strings.Contains(m, "not seen by the kubelet") {
		t.Errorf("the message is %q", m)
	}
	r.Undo = true
	w.settle(3 * time.Minute)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
}

// The same for a layout that was lost.
func TestRestoredAndNeverSeen(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.unseen = 1 << 20
	w.must(w.sim.LoseInstances(w.uuid()))
	w.settle(3 * time.Minute)
	w.wantLayout(ones)
	w.unseen = 0
	w.ask("r1")
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
}
