package agent_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

func TestPublishesWhatIsThere(t *testing.T) {
	w := newWorld(t, sevenOnes(), simgpu.Card{Geometry: a100(), Whole: true})
	w.start()
	w.hold0("serve", 1)
	w.settle(0)
	s := w.node.Status
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", c)
	}
	if c := w.condition(v1alpha1.GPUNodeLendable); c.Status != metav1.ConditionUnknown {
		t.Errorf("Lendable without anybody who examines it is %+v", c)
	}
	if len(s.GPUs) != 2 || len(s.Boards) != 1 || s.Boards[0].Slots != 8 {
		t.Fatalf("GPUs %d, boards %+v", len(s.GPUs), s.Boards)
	}
	cut, whole := s.GPUs[0], s.GPUs[1]
	if !cut.MIG {
		cut, whole = whole, cut
	}
	if len(cut.Instances) != 7 || cut.Fingerprint != "0@0#1,0@1#1,0@2#1,0@3#1,0@4#1,0@5#1,0@6#1" {
		t.Errorf("%d instances, fingerprint %s", len(cut.Instances), cut.Fingerprint)
	}
	held := cut.Instances[1]
	if held.Holder == nil || held.Holder.Name != "serve" || held.Processes == nil || *held.Processes != 1 || held.Resource != "nvidia.com/mig-1g.5gb" {
		t.Errorf("the held instance is %+v", held)
	}
	if held.Activity != nil && held.Activity.Graphics != nil {
		t.Errorf("an A100's driver measures no activity of slices; published is %+v", held.Activity)
	}
	if whole.MIG || whole.Processes == nil || *whole.Processes != 0 {
		t.Errorf("the GPU that is not cut is %+v", whole)
	}
}

// hold0 is hold before anything was published.
func (w *world) hold0(pod string, start int) {
	w.t.Helper()
	for n := range 2 {
		if g := w.gpu(n); g.MIG {
			w.holders[g.Instances[start].UUID] = v1alpha1.GPUHolder{Namespace: "train", Name: pod}
			if err := w.sim.Attach(g.UUID, &g.Instances[start].Placed, device.Process{PID: 1}); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
}

// The status is written when it says something new, and now and then.
func TestPublishesOnlyWhatIsNew(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	first := w.node.Status.Heartbeat
	w.settle(20 * time.Second)
	if got := w.node.Status.Heartbeat; got != first {
		t.Errorf("published again after %s although nothing changed", got.Sub(first.Time))
	}
	w.settle(20 * time.Second)
	if got := w.node.Status.Heartbeat; got == first {
		t.Error("no heartbeat in 40 s")
	}
}

// Of a write that failed nobody knows whether it was carried out: what is so again is
// written again.
func TestPublishesAnewWhatMayNotStand(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.unknown, w.apiSlow = errDown, true
	w.settle(0)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Reason != agent.ReasonHolders {
		t.Fatalf("Ready is %+v", c)
	}
	w.unknown, w.apiSlow = nil, false
	w.settle(0)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionTrue {
		t.Errorf("it is known who holds the slices, and Ready is %+v", c)
	}
	if i := w.node.Status.GPUs[0].Instances[0]; i.Processes == nil {
		t.Error("it is known that nobody is on the slices, and the GPUNode does not say so")
	}
}

// A GPUNode that was made anew, or that somebody else has written, says at once what is so.
func TestPublishesAnewWhatDoesNotStand(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"made anew":              func(w *world) { w.node.UID, w.node.Status = "another", v1alpha1.GPUNodeStatus{} },
		"written by another":     func(w *world) { w.node.Status = *w.earlier.DeepCopy() },
		"taken away and not new": func(w *world) { w.node.Status = v1alpha1.GPUNodeStatus{} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.unknown = errDown
			w.start()
			w.settle(0)
			w.earlier = w.node.Status
			w.unknown = nil
			w.settle(4 * time.Second)
			spoil(w)
			w.settle(2 * time.Second)
			if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionTrue {
				t.Errorf("Ready is %+v", c)
			}
			first := w.node.Status.Heartbeat
			w.settle(20 * time.Second)
			if got := w.node.Status.Heartbeat; got != first {
				t.Errorf("published again after %s although nothing changed", got.Sub(first.Time))
			}
		})
	}
}

// That a change ended some time ago is told by the heartbeat, and so it does not wait.
func TestPublishesThatAnEndIsOver(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.until("r1", 10*time.Second, v1alpha1.ReshapeMade)
	w.settle(v1alpha1.JustSettled + 2*time.Second)
	first := w.node.Status.Heartbeat
	if since := first.Sub(w.state("r1").Since.Time); since < v1alpha1.JustSettled || w.node.Settling() {
		t.Errorf("its last word is of %s after the end", since)
	}
	w.settle(10 * time.Second)
	if got := w.node.Status.Heartbeat; got != first {
		t.Errorf("published again after %s although nothing changed", got.Sub(first.Time))
	}
}

// The reference example: four slices become one, and four again; pinned ones are as if
// nothing had been.
func TestReshapesAndUndoes(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.pin()
	writes, _ := w.sim.Writes()
	before := writes[len(writes)-1].Seq
	w.ask("r1")
	w.settle(2 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
	w.wantLayout(four)
	if made := w.state("r1").MakeMilliseconds; made < 1 {
		t.Errorf("it took %d ms", made)
	}
	if n := len(w.adverts); n != 1 || w.adverts[0].Resources["nvidia.com/mig-4g.20gb"] != 1 || w.adverts[0].Resources["nvidia.com/mig-1g.5gb"] != 3 {
		t.Errorf("advertised %+v", w.adverts)
	}
	w.hold("job", mig.Placed{Profile: g4, Start: 0})
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(time.Minute)
	w.wantState("r1", v1alpha1.ReshapeUndoing)
	w.wantLayout(four)
	if m := w.state("r1").Message; !strings.Contains(m, "train/job") {
		t.Errorf("the message says %q and not who is waited for", m)
	}
	w.release("job")
	w.settle(5 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
	if got := w.node.Status.GPUs[0].Fingerprint; got != "0@0#2,0@1#2,0@2#2,0@3#2,0@4#1,0@5#1,0@6#1" {
		t.Errorf("fingerprint %s", got)
	}
	if took := w.state("r1").UndoMilliseconds; took > 5000 {
		t.Errorf("undoing took %d ms, with the time that the pod took to go", took)
	}
	if touched := w.touched(before, 4, 5, 6); len(touched) > 0 {
		t.Errorf("pinned slices were touched: %+v", touched)
	}
	w.node.Spec.Reshapes = nil
	w.settle(2 * time.Second)
	if len(w.node.Status.Reshapes) > 0 {
		t.Errorf("it is still there: %+v", w.node.Status.Reshapes)
	}
}

func TestWaitsUntilTheKubeletKnows(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.unseen = 3
	w.settle(0)
	w.wantState("r1", v1alpha1.ReshapeMaking)
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
	for _, c := range w.adverts {
		if c.ID != w.adverts[0].ID {
			t.Errorf("one change was advertised as several: %+v", w.adverts)
		}
	}
}

func TestRefuses(t *testing.T) {
	first := mig.Placed{Profile: g1, Start: 0}
	for name, c := range map[string]struct {
		spoil func(w *world, r *v1alpha1.Reshape)
		why   string
	}{
		"another layout":      {func(_ *world, r *v1alpha1.Reshape) { r.Base = "0@0#9" }, "the layout is another"},
		"another generation":  {func(_ *world, r *v1alpha1.Reshape) { r.Destroy[0].Generation = 9 }, "generation 1"},
		"no such GPU":         {func(_ *world, r *v1alpha1.Reshape) { r.GPU = "GPU-none" }, "no GPU GPU-none"},
		"no such instance":    {func(_ *world, r *v1alpha1.Reshape) { r.Destroy[0].Profile = 2 }, "there is no 3g.20gb at slot 0"},
		"pinned":              {func(w *world, r *v1alpha1.Reshape) { w.pin(); w.node.Spec.Pinned[0].Places[0].Start = 2 }, "1g.5gb at slot 2 is pinned"},
		"held":                {func(w *world, _ *v1alpha1.Reshape) { w.hold("chat", first) }, "pod train/chat holds 1g.5gb at slot 0"},
		"illegal":             {func(_ *world, r *v1alpha1.Reshape) { r.Create[0].Start = 1 }, "the board does not allow it"},
		"too large":           {func(_ *world, r *v1alpha1.Reshape) { r.Create[0].Profile = 4 }, "overlaps"},
		"the same again":      {func(_ *world, r *v1alpha1.Reshape) { r.Create[0] = r.Destroy[0] }, "destroyed and created"},
		"another manager":     {func(w *world, _ *v1alpha1.Reshape) { w.rival = "mig-manager" }, "mig-manager changes the layouts"},
		"foreign":             {func(w *world, r *v1alpha1.Reshape) { w.replace(first); r.Base = "" }, "the layout is another"},
		"a process":           {func(w *world, _ *v1alpha1.Reshape) { w.attach(first) }, "process 7 is on 1g.5gb at slot 0"},
		"promised to a pod":   {func(w *world, _ *v1alpha1.Reshape) { w.promise("chat", 3) }, "pod train/chat holds 1g.5gb at slot 3"},
		"not healthy":         {func(w *world, r *v1alpha1.Reshape) { w.must(w.sim.SetProblem(r.GPU, "ECC")) }, "not healthy: ECC"},
		"one on the GPU now":  {func(w *world, r *v1alpha1.Reshape) { w.another(r) }, "r0 is in force"},
		"undone before begun": {func(_ *world, r *v1alpha1.Reshape) { r.Undo = true }, "before it was begun"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.settle(0)
			c.spoil(w, w.ask("r1"))
			before := w.layout(0)
			w.settle(2 * time.Second)
			want := v1alpha1.ReshapeRefused
			if name == "undone before begun" {
				want = v1alpha1.ReshapeUndone
			}
			w.wantState("r1", want)
			if got := w.state("r1").Message; !strings.Contains(got, c.why) {
				t.Errorf("the message is %q, want it to say %q", got, c.why)
			}
			if name != "one on the GPU now" {
				w.wantLayout(before)
			}
		})
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// replace has somebody else destroy an instance and make it again.
func (w *world) replace(at mig.Placed) {
	w.t.Helper()
	w.must(w.sim.ForeignDestroy(w.uuid(), at))
	w.must(w.sim.ForeignCreate(w.uuid(), at))
}

func (w *world) attach(at mig.Placed) {
	w.t.Helper()
	w.must(w.sim.Attach(w.uuid(), &at, device.Process{PID: 7}))
}

func (w *world) promise(pod string, start int) {
	w.holders[agent.Promised(w.uuid(), "1g.5gb", start)] = v1alpha1.GPUHolder{Namespace: "train", Name: pod}
}

// another puts a change before r that is of the same GPU.
func (w *world) another(r *v1alpha1.Reshape) {
	other := *r.DeepCopy()
	other.ID = "r0"
	w.node.Spec.Reshapes = []v1alpha1.Reshape{other, *r}
}

// What is not known is in use.
func TestUnknownIsNotFree(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.unknown = errDown
	w.settle(10 * time.Second)
	w.wantLayout(ones)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionFalse || c.Reason != agent.ReasonHolders {
		t.Errorf("Ready is %+v", c)
	}
	for _, i := range w.node.Status.GPUs[0].Instances {
		if i.Processes != nil {
			t.Fatalf("who holds it is not known, and it looks idle: %+v", i)
		}
	}
	w.unknown = nil
	w.settle(2 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
}

// A handle that somebody leaked keeps an instance from being destroyed. All is as it was
// in the end, and the instance is left alone for a while.
func TestInUseAlthoughNobodyHoldsIt(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.must(w.sim.Leak(w.uuid(), mig.Placed{Profile: g1, Start: 2}))
	w.ask("r1")
	w.settle(20 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMaking)
	w.settle(20 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeRefused)
	w.wantLayout(ones)
	if m := w.state("r1").Message; !strings.Contains(m, "DCGM") {
		t.Errorf("the message is %q", m)
	}
	w.must(w.sim.Release(w.uuid()))
	w.ask("r2")
	w.settle(time.Second)
	w.wantState("r2", v1alpha1.ReshapeRefused)
	w.settle(10 * time.Minute)
	w.ask("r3")
	w.settle(2 * time.Second)
	w.wantState("r3", v1alpha1.ReshapeMade)
}

// A slice that was made and cannot be destroyed is stuck until it can.
func TestStuck(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.must(w.sim.Leak(w.uuid(), mig.Placed{Profile: g4, Start: 0}))
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(time.Minute)
	w.wantState("r1", v1alpha1.ReshapeStuck)
	if s := w.node.Status.GPUs[0].Instances[0]; s.State != v1alpha1.InstanceStuck {
		t.Errorf("the instance is %+v", s)
	}
	w.must(w.sim.Release(w.uuid()))
	w.settle(time.Minute)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
	if took := w.state("r1").UndoMilliseconds; took != 0 {
		t.Errorf("undoing took %d ms, of which it was stuck most of the time", took)
	}
}

// The driver says that an instance is gone, and still lists it.
func TestSuccessWithRemnant(t *testing.T) {
	for _, op := range []simgpu.Op{simgpu.OpDestroyGI, simgpu.OpDestroyCI} {
		t.Run(string(op), func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.settle(0)
			w.must(w.sim.FailNext(simgpu.Fault{Op: op, Remains: true, Times: 2}))
			w.ask("r1")
			w.settle(5 * time.Second)
			w.wantState("r1", v1alpha1.ReshapeMade)
			w.wantLayout(four)
		})
	}
}

func TestCreateFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault simgpu.Fault
		want  string
	}{
		"once, for a reason without name": {simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeOther}, v1alpha1.ReshapeMade},
		"no compute instance":             {simgpu.Fault{Op: simgpu.OpCreateCI, Code: simgpu.CodeOther}, v1alpha1.ReshapeMade},
		"it is never to be":               {simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeInvalid, At: &mig.Placed{Profile: g4, Start: 0}, Times: -1}, v1alpha1.ReshapeRefused},
		"it does not go for long":         {simgpu.Fault{Op: simgpu.OpCreateGI, Code: simgpu.CodeOther, At: &mig.Placed{Profile: g4, Start: 0}, Times: -1}, v1alpha1.ReshapeRefused},
		"never a compute instance":        {simgpu.Fault{Op: simgpu.OpCreateCI, Code: simgpu.CodeNoRoom, At: &mig.Placed{Profile: g4, Start: 0}, Times: -1}, v1alpha1.ReshapeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.settle(0)
			w.must(w.sim.FailNext(c.fault))
			w.ask("r1")
			w.settle(time.Minute)
			w.wantState("r1", c.want)
			if c.want == v1alpha1.ReshapeRefused {
				w.wantLayout(ones)
			} else {
				w.wantLayout(four)
			}
		})
	}
}

// The broker and the API server may be gone: what was asked for goes on.
func TestGoesOnWithoutTheAPI(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.hold("job", mig.Placed{Profile: g4, Start: 0})
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(2 * time.Second)
	w.apiDown = errDown
	w.start()
	w.settle(4 * time.Second)
	w.release("job")
	w.settle(4 * time.Second)
	w.wantLayout(ones)
}

// What is no longer asked for is undone.
func TestEntryTakenAway(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.node.Spec.Reshapes = nil
	w.settle(4 * time.Second)
	w.wantLayout(ones)
	if len(w.node.Status.Reshapes) > 0 {
		t.Errorf("%+v", w.node.Status.Reshapes)
	}
}

// What the agent did not make it does not know, and leaves alone.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.node.Spec.Reshapes[0].Undo = true
	w.must(w.sim.ForeignDestroy(w.uuid(), mig.Placed{Profile: g4, Start: 0}))
	w.must(w.sim.ForeignCreate(w.uuid(), mig.Placed{Profile: g3, Start: 0}))
	w.settle(2 * time.Minute)
	w.wantState("r1", v1alpha1.ReshapeStuck)
	w.wantLayout("2@0 0@4 0@5 0@6 ")
	if s := w.node.Status.GPUs[0].Instances[0]; s.State != v1alpha1.InstanceForeign {
		t.Errorf("the foreign instance is %+v", s)
	}
	w.must(w.sim.ForeignDestroy(w.uuid(), mig.Placed{Profile: g3, Start: 0}))
	w.settle(time.Minute)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
}

// A node that was started again, on which another program has made the old layout: all
// is as it was, and there is nothing to do.
func TestUndoneByAnother(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.until("r1", time.Minute, v1alpha1.ReshapeMade)
	w.must(w.sim.LoseInstances(w.uuid()))
	for start := range 7 {
		w.must(w.sim.ForeignCreate(w.uuid(), mig.Placed{Profile: g1, Start: start}))
	}
	w.settle(10 * time.Second)
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
	if i := w.node.Status.GPUs[0].Instances[0]; i.State != v1alpha1.InstanceForeign {
		t.Errorf("what another made is %+v", i)
	}
}

// A pod holds its slice also when somebody else has destroyed what is in it.
func TestHeldWithoutItsComputeInstance(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	g, at := w.gpu(0), mig.Placed{Profile: g1, Start: 0}
	w.holders[g.Instances[0].UUID] = v1alpha1.GPUHolder{Namespace: "serving", Name: "chat"}
	w.must(w.sim.ForeignDestroyCI(g.UUID, at))
	w.settle(4 * time.Second)
	if i := w.node.Status.GPUs[0].Instances[0]; i.State != v1alpha1.InstanceRemnant || i.Holder == nil || i.Holder.Name != "chat" {
		t.Errorf("the instance is %+v", i)
	}
	w.ask("r1")
	w.settle(4 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeRefused)
	if m := w.state("r1").Message; !strings.Contains(m, "pod serving/chat holds 1g.5gb at slot 0") {
		t.Errorf("the message is %q", m)
	}
}

// Slices that are pinned after a change was accepted stay.
func TestPinnedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.failures = func(step string) {
		if step == agent.FailDestroyWritten && len(w.node.Spec.Pinned) == 0 {
			w.pin()
			w.node.Spec.Pinned[0].Places[0].Start = 3
		}
	}
	w.ask("r1")
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeRefused)
	w.wantLayout(ones)
	if m := w.state("r1").Message; !strings.Contains(m, "1g.5gb at slot 3 is pinned") {
		t.Errorf("the message is %q", m)
	}
	if fingerprint := w.node.Status.GPUs[0].Fingerprint; !strings.Contains(fingerprint, "0@3#1") {
		t.Errorf("the pinned slice was destroyed: %s", fingerprint)
	}
}

// An administrator who has cut a GPU by hand can have the agent take that for its own.
func TestAdopt(t *testing.T) {
	w := newWorld(t, simgpu.Card{Geometry: a100(), FreshUUIDs: true})
	w.start()
	w.settle(0)
	for start := range 7 {
		w.must(w.sim.ForeignCreate(w.uuid(), mig.Placed{Profile: g1, Start: start}))
	}
	w.settle(2 * time.Second)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeRefused)
	if m := w.state("r1").Message; !strings.Contains(m, "not ours") {
		t.Errorf("the message is %q", m)
	}
	w.must(journal.AskToAdopt(w.dir + "/state"))
	w.settle(2 * time.Second)
	w.ask("r2")
	w.settle(2 * time.Second)
	w.wantState("r2", v1alpha1.ReshapeMade)
}

// A journal on a disk that is full: nothing is done, and that is said.
func TestUnwritableJournal(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	obstacle := w.dir + "/state/journal.new"
	w.must(os.Mkdir(obstacle, 0o700))
	w.ask("r1")
	w.settle(10 * time.Second)
	w.wantLayout(ones)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionFalse || c.Reason != agent.ReasonJournalWrite {
		t.Errorf("Ready is %+v", c)
	}
	w.must(os.Remove(obstacle))
	w.settle(4 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
}

// What is to be tried again and cannot be meanwhile makes no rounds beyond those that there
// are anyway: each asks the driver, the kubelet and the cluster.
func TestWaitsBetweenRounds(t *testing.T) {
	for name, hold := range map[string]func(w *world){
		"a journal that cannot be written": func(w *world) {
			w.must(os.Mkdir(w.dir+"/state/journal.new", 0o700))
			other, at := w.node.Status.GPUs[1].UUID, mig.Placed{Profile: g1, Start: 6}
			w.must(w.sim.ForeignDestroy(other, at)) // there is something to be written down
			w.must(w.sim.ForeignCreate(other, at))
		},
		"a GPU that does not answer": func(w *world) { w.must(w.sim.Lose(w.uuid())) },
	} {
		t.Run(name, func(t *testing.T) {
			card := sevenOnes()
			card.FreshUUIDs = true
			w := newWorld(t, card, card)
			w.start()
			w.settle(0)
			w.unseen = 1 << 20
			w.must(w.sim.LoseInstances(w.uuid()))
			w.settle(4 * time.Second)
			hold(w)
			w.settle(4 * time.Second)
			for range 5 {
				if next, _ := w.round(); next < 2*time.Second {
					t.Fatalf("the next round is after %s", next)
				}
				w.clock.Step(2 * time.Second)
			}
		})
	}
}

func TestDriverUnavailable(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	before := w.node.Status
	w.must(w.sim.FailNext(simgpu.Fault{Op: simgpu.OpRead, Code: simgpu.CodeOther, Times: -1}))
	w.settle(time.Minute)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionFalse || c.Reason != agent.ReasonDriver {
		t.Errorf("Ready is %+v", c)
	}
	if s := w.node.Status; s.Heartbeat != before.Heartbeat || len(s.GPUs) != 1 {
		t.Errorf("what was read before looks fresh, or is gone: %+v", s)
	}
	w.must(w.sim.ClearFaults())
	w.settle(2 * time.Second)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", c)
	}
}

// With dynamic allocation a claim gets a place, and what is idle there goes; what it let
// go stays of the layout, absent.
func TestMakesForClaims(t *testing.T) {
	w := newWorld(t)
	w.options = func(o *agent.Options) { o.Allocation = v1alpha1.AllocationDynamicResources }
	w.start()
	w.settle(0)
	large, small := mig.Placed{Profile: g4, Start: 0}, mig.Placed{Profile: g1, Start: 5}
	made, generation, err := w.agent.Make(t.Context(), w.uuid(), large)
	if err != nil || !made.Whole || generation != 1 {
		t.Fatalf("made %+v of generation %d: %v", made, generation, err)
	}
	w.wantLayout(four)
	again, generation, err := w.agent.Make(t.Context(), w.uuid(), large)
	if err != nil || again.UUID != made.UUID || generation != 1 {
		t.Fatalf("made twice: %+v of generation %d: %v", again, generation, err)
	}
	w.settle(2 * time.Second)
	if s := w.node.Status.GPUs[0].Instances; len(s) != 8 || s[0].State != v1alpha1.InstanceAbsent || s[1].State != v1alpha1.InstanceReady {
		t.Errorf("published %+v", s)
	}
	w.must(w.sim.Attach(w.uuid(), &large, device.Process{PID: 3}))
	if err := w.agent.Unmake(t.Context(), w.uuid(), large); !errors.Is(err, device.ErrInUse) {
		t.Errorf("unmade beside a process: %v", err)
	}
	if _, _, err := w.agent.Make(t.Context(), w.uuid(), mig.Placed{Profile: g1, Start: 1}); err == nil {
		t.Error("made where another claim is")
	}
	w.must(w.sim.Detach(w.uuid(), 3))
	w.must(w.agent.Unmake(t.Context(), w.uuid(), large))
	w.must(w.agent.Unmake(t.Context(), w.uuid(), large))
	w.must(w.agent.Unmake(t.Context(), w.uuid(), small))
	w.settle(2 * time.Second)
	w.wantLayout("0@4 0@6 ")
	if s := w.node.Status.GPUs[0].Instances; len(s) != 7 || s[5].State != v1alpha1.InstanceAbsent {
		t.Errorf("the layout is %+v", s)
	}
	if _, generation, err = w.agent.Make(t.Context(), w.uuid(), small); err != nil || generation != 2 {
		t.Errorf("made again with generation %d: %v", generation, err)
	}
}

func TestOptions(t *testing.T) {
	if _, err := agent.New(agent.Options{Node: "gpu-0"}); err == nil || !strings.Contains(err.Error(), "the agent needs Driver") {
		t.Errorf("the error is %v", err)
	}
}
