package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// course is something that happens to a node, and how it may end.
type course struct {
	// reuses: it is played also with UUIDs that come back, as the driver's do.
	reuses bool
	// prepare is before any crash; play is what the others do meanwhile.
	prepare func(w *world)
	play    func(w *world)
	ends    map[string]string // state of r1 → layout
}

func courses() map[string]course {
	ask := func(w *world) { w.pin(); w.ask("r1") }
	return map[string]course{
		"made": {
			prepare: ask, play: func(w *world) { w.until("r1", time.Minute, v1alpha1.ReshapeMade) },
			ends: map[string]string{v1alpha1.ReshapeMade: four},
		},
		"made and undone": {
			reuses:  true,
			prepare: ask, play: func(w *world) {
				w.until("r1", time.Minute, v1alpha1.ReshapeMade)
				w.node.Spec.Reshapes[0].Undo = true
				w.until("r1", time.Minute, v1alpha1.ReshapeUndone)
			},
			ends: map[string]string{v1alpha1.ReshapeUndone: ones},
		},
		"undone while it is made": {
			prepare: ask, play: func(w *world) {
				w.round()
				w.node.Spec.Reshapes[0].Undo = true
				w.until("r1", time.Minute, v1alpha1.ReshapeUndone)
			},
			ends: map[string]string{v1alpha1.ReshapeUndone: ones},
		},
		"in use": {
			prepare: func(w *world) {
				ask(w)
				w.must(w.sim.Leak(w.uuid(), mig.Placed{Profile: g1, Start: 2}))
			},
			play: func(w *world) { w.until("r1", 3*time.Minute, v1alpha1.ReshapeRefused) },
			ends: map[string]string{v1alpha1.ReshapeRefused: ones},
		},
		"cannot be created": {
			prepare: func(w *world) {
				ask(w)
				at := mig.Placed{Profile: g4, Start: 0}
				w.must(w.sim.FailNext(simgpu.Fault{Op: simgpu.OpCreateCI, Code: simgpu.CodeOther, At: &at, Times: -1}))
			},
			play: func(w *world) { w.until("r1", 3*time.Minute, v1alpha1.ReshapeRefused) },
			ends: map[string]string{v1alpha1.ReshapeRefused: ones},
		},
		"rebooted": {
			reuses: true,
			prepare: func(w *world) {
				ask(w)
				w.until("r1", time.Minute, v1alpha1.ReshapeMade)
				w.must(w.sim.Reboot())
			},
			play: func(w *world) {
				w.settle(6 * time.Second)
				w.node.Spec.Reshapes[0].Undo = true
				w.until("r1", time.Minute, v1alpha1.ReshapeUndone)
			},
			ends: map[string]string{v1alpha1.ReshapeUndone: ones},
		},
	}
}

// run plays a course with crashes at the given calls of failpoints, counted over all
// agents that it takes, and returns the steps at which there was none.
func (c course) run(t testing.TB, fresh bool, crashes ...int) (steps []string) {
	t.Helper()
	card := sevenOnes()
	card.FreshUUIDs = fresh
	w := newWorld(t, card)
	w.start()
	w.settle(0)
	c.prepare(w)
	rebooted := len(w.gpu(0).Instances) == 0
	writes, err := w.sim.Writes()
	w.must(err)
	from := writes[len(writes)-1].Seq
	w.failures = func(step string) {
		steps = append(steps, step)
		for _, n := range crashes {
			if n == len(steps) {
				panic(crash{step})
			}
		}
	}
	w.start()
	c.play(w)
	w.failures = nil
	w.settle(4 * time.Second)
	s := w.state("r1")
	if want, ok := c.ends[s.State]; !ok || w.layout(0) != want {
		t.Fatalf("it ended %s (%s) with the layout %s", s.State, s.Message, w.layout(0))
	}
	if rebooted {
		return steps
	}
	if touched := w.touched(from, 4, 5, 6); len(touched) > 0 {
		t.Fatalf("pinned slices were touched: %+v", touched)
	}
	for _, i := range w.node.Status.GPUs[0].Instances {
		if i.State != v1alpha1.InstanceReady || i.Start > 3 && i.Generation != 1 {
			t.Fatalf("an instance is %+v", i)
		}
	}
	return steps
}

// An agent that dies after any step, in any course of a change, is followed by one that
// brings it to the end that it would have had.
func TestCrashAtEveryStep(t *testing.T) {
	met := map[string]bool{}
	for name, c := range courses() {
		for _, fresh := range []bool{false, true} {
			if !fresh && !c.reuses {
				continue
			}
			t.Run(fmt.Sprint(name, " fresh=", fresh), func(t *testing.T) {
				steps := c.run(t, fresh)
				for n, step := range steps {
					met[step] = true
					if !t.Run(fmt.Sprintf("%d %s", n+1, step), func(t *testing.T) { c.run(t, fresh, n+1) }) {
						return
					}
				}
			})
		}
	}
	for _, step := range agent.Failpoints() {
		if !met[step] {
			t.Errorf("no course came by %s", step)
		}
	}
}

// The same with an agent that dies again soon after it has come back.
func TestCrashTwice(t *testing.T) {
	for name, c := range courses() {
		t.Run(name, func(t *testing.T) {
			n := len(c.run(t, true))
			for first := 1; first <= n; first += 2 {
				c.run(t, true, first, first+1+first%3)
			}
		})
	}
}

// Crashes that stopped the agent in the midst of something are counted.
func TestRecoveredIsCounted(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	died := false
	w.failures = func(step string) {
		if step == agent.FailDestroyDone && !died {
			died = true
			panic(crash{step})
		}
	}
	w.settle(10 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
	if n := w.state("r1").Recovered; n != 1 {
		t.Errorf("recovered %d times", n)
	}
}

// How long the agent was away in the midst of a change is not how long the change takes.
func TestAwayWhileUndoing(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.until("r1", 10*time.Second, v1alpha1.ReshapeMade)
	made := w.state("r1").MakeMilliseconds
	died := false
	w.failures = func(step string) {
		if step == agent.FailDestroyDone && !died {
			died = true
			w.clock.Step(6 * time.Hour)
			panic(crash{step})
		}
	}
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(10 * time.Second)
	w.until("r1", 10*time.Second, v1alpha1.ReshapeUndone)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	if s := w.state("r1"); !died || s.UndoMilliseconds != 0 || s.MakeMilliseconds != made || made == 0 {
		t.Errorf("died: %t; made in %d ms; it is %+v", died, made, s)
	}
}

// That somebody went away while it was made counts no more than the rest of it.
func TestAwayWhileMaking(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	died := false
	w.failures = func(step string) {
		if step == agent.FailDestroyDone && !died {
			died = true
			w.clock.Step(6 * time.Hour)
			panic(crash{step})
		}
	}
	w.settle(10 * time.Second)
	w.until("r1", 10*time.Second, v1alpha1.ReshapeMade)
	if took := w.state("r1").MakeMilliseconds; !died || took == 0 || took > time.Minute.Milliseconds() {
		t.Errorf("died: %t; it was made in %d ms", died, took)
	}
}

// After a reboot pinned slices are there first, then the others.
func TestReboot(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.pin()
	w.settle(2 * time.Second)
	w.must(w.sim.Reboot())
	writes, _ := w.sim.Writes()
	from := writes[len(writes)-1].Seq
	w.start()
	w.settle(4 * time.Second)
	w.wantLayout(ones)
	made := w.touched(from, 0, 1, 2, 3, 4, 5, 6)
	writes, _ = w.sim.Writes()
	order := ""
	for _, write := range writes {
		if write.Seq > from && write.Op == simgpu.OpCreateGI {
			order += fmt.Sprint(write.Start)
		}
	}
	if order != "4560123" || len(made) != 14 {
		t.Errorf("made in the order %s, with %d calls", order, len(made))
	}
	for _, i := range w.node.Status.GPUs[0].Instances {
		if i.Generation != 2 {
			t.Errorf("it is a new instance: %+v", i)
		}
	}
	if n := len(w.adverts); n != 1 {
		t.Errorf("advertised %d times", n)
	}
}

// On Hopper and later a reboot takes MIG mode too: an administrator has to come.
func TestRebootWithoutMode(t *testing.T) {
	w := newWorld(t, simgpu.Card{Geometry: a100(), Family: simgpu.Hopper, Layout: sevenOnes().Layout})
	w.start()
	w.settle(0)
	w.must(w.sim.Reboot())
	w.settle(4 * time.Second)
	g := w.node.Status.GPUs[0]
	if g.MIG || g.Healthy || !strings.Contains(g.Problem, "administrator") || len(g.Instances) != 7 || g.Instances[0].State != v1alpha1.InstanceAbsent {
		t.Fatalf("the GPU is %+v", g)
	}
	w.must(w.sim.SetMIG(g.UUID, true))
	w.settle(4 * time.Second)
	w.wantLayout(ones)
}

// A GPU that does not answer has not lost its slices.
func TestLostGPU(t *testing.T) {
	for name, lose := range map[string]func(w *world){
		"off the bus": func(w *world) { w.must(w.sim.Lose(w.uuid())) },
		"taken out":   func(w *world) { w.must(w.sim.Remove(w.uuid())) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			w.settle(0)
			w.ask("r1")
			w.settle(2 * time.Second)
			lose(w)
			w.node.Spec.Reshapes[0].Undo = true
			w.settle(4 * time.Second)
			w.wantState("r1", v1alpha1.ReshapeUndoing)
			g := w.node.Status.GPUs[0]
			if g.Healthy || g.Problem == "" || len(g.Instances) != 4 || g.Instances[0].State != v1alpha1.InstanceAbsent {
				t.Fatalf("the GPU is %+v", g)
			}
			if name == "taken out" {
				return
			}
			w.must(w.sim.Reboot())
			w.settle(10 * time.Second)
			w.wantState("r1", v1alpha1.ReshapeUndone)
			w.wantLayout(ones)
		})
	}
}

// With a journal that is not as it was written nothing is touched, and nothing said that
// would have to be guessed.
func TestCorruptJournal(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.agent.Close()
	file := filepath.Join(w.dir, "state", "journal")
	content, err := os.ReadFile(file)
	w.must(err)
	w.must(os.WriteFile(file, content[:len(content)-2], 0o600))
	heartbeat := w.node.Status.Heartbeat
	w.node.Spec.Reshapes[0].Undo = true
	w.start()
	w.settle(time.Minute)
	w.wantLayout(four)
	w.wantState("r1", v1alpha1.ReshapeMade)
	if c := w.condition(v1alpha1.GPUNodeReady); c.Status != metav1.ConditionFalse || c.Reason != agent.ReasonJournal {
		t.Errorf("Ready is %+v", c)
	}
	if w.node.Status.Heartbeat != heartbeat {
		t.Error("the heartbeat goes on, as if the status were of now")
	}
}

// A journal that is gone is no journal of another layout: what the API says was begun
// goes on, and generations are not given out twice.
func TestLostJournal(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.settle(0)
	w.ask("r1")
	w.settle(2 * time.Second)
	w.agent.Close()
	w.must(os.RemoveAll(filepath.Join(w.dir, "state")))
	w.start()
	w.settle(2 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeMade)
	for _, i := range w.node.Status.GPUs[0].Instances {
		if i.Generation != 2 {
			t.Errorf("generation %d of %d was given before", i.Generation, i.Start)
		}
	}
	w.node.Spec.Reshapes[0].Undo = true
	w.settle(4 * time.Second)
	w.wantState("r1", v1alpha1.ReshapeUndone)
	w.wantLayout(ones)
}
