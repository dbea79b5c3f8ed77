package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// chaos is a node to which everything happens, in any order.
type chaos struct {
	*world
	r *rapid.T
	// fresh: no two instances have the same UUID.
	fresh bool
	// seq is the last write that was looked at, next and pid the last change and process.
	seq       int64
	next, pid int
}

// Whatever happens to a node, its agent destroys nothing that is held, pinned, in use or
// foreign, and what is undone is as it was.
func TestAnythingMayHappen(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		card := sevenOnes()
		card.FreshUUIDs = rapid.Bool().Draw(r, "fresh")
		c := &chaos{world: newWorld(t, card), r: r, fresh: card.FreshUUIDs}
		defer func() { c.agent.Close(); c.agent = nil }()
		c.start()
		c.settle(0)
		c.pin()
		c.mark()
		c.failures = func(step string) {
			if rapid.IntRange(0, 19).Draw(r, "dies "+step) == 0 {
				panic(crash{step})
			}
		}
		for range rapid.IntRange(3, 25).Draw(r, "events") {
			c.event()
			c.check()
		}
		c.calm()
	})
}

func (c *chaos) mark() {
	writes, err := c.sim.Writes()
	c.must(err)
	if len(writes) > 0 {
		c.seq = writes[len(writes)-1].Seq
	}
}

func (c *chaos) event() {
	places := c.gpu(0).Instances
	switch kind := rapid.SampledFrom([]string{
		"rounds", "rounds", "ask", "ask", "undo", "hold", "release", "leak", "unleak", "fault", "unknown", "known", "restart", "forget", "foreign", "slow", "down", "up",
	}).Draw(c.r, "event"); kind {
	case "rounds":
		c.settle(time.Duration(rapid.IntRange(0, 40).Draw(c.r, "seconds")) * time.Second)
		return
	case "ask":
		c.next++
		c.ask(fmt.Sprint("r", c.next))
	case "undo":
		for i := range c.node.Spec.Reshapes {
			c.node.Spec.Reshapes[i].Undo = true
		}
	case "forget":
		c.node.Spec.Reshapes = slices.DeleteFunc(c.node.Spec.Reshapes, func(r v1alpha1.Reshape) bool {
			s := c.state(r.ID).State
			return s == v1alpha1.ReshapeUndone || s == v1alpha1.ReshapeRefused
		})
	case "hold":
		if len(places) == 0 {
			return
		}
		i := rapid.SampledFrom(places).Draw(c.r, "place")
		if !i.Whole {
			return
		}
		c.pid++
		c.holders[i.UUID] = v1alpha1.GPUHolder{Namespace: "train", Name: fmt.Sprint("p", c.pid)}
		if rapid.Bool().Draw(c.r, "process") {
			c.must(c.sim.Attach(c.uuid(), &i.Placed, device.Process{PID: c.pid}))
		}
	case "release":
		clear(c.holders)
		for pid := range c.pid {
			c.must(c.sim.Detach(c.uuid(), pid+1))
		}
	case "leak":
		if len(places) > 0 {
			c.must(c.sim.Leak(c.uuid(), rapid.SampledFrom(places).Draw(c.r, "place").Placed))
		}
	case "unleak":
		c.must(c.sim.Release(c.uuid()))
	case "fault":
		c.must(c.sim.FailNext(simgpu.Fault{
			Op:    rapid.SampledFrom([]simgpu.Op{simgpu.OpCreateGI, simgpu.OpCreateCI, simgpu.OpDestroyGI, simgpu.OpDestroyCI, simgpu.OpRead}).Draw(c.r, "op"),
			Code:  rapid.SampledFrom([]simgpu.Code{simgpu.CodeOther, simgpu.CodeInUse, simgpu.CodeNoRoom}).Draw(c.r, "code"),
			Times: rapid.IntRange(1, 3).Draw(c.r, "times"),
		}))
	case "unknown":
		c.unknown = errDown
	case "known":
		c.unknown = nil
	case "slow":
		c.apiSlow = true
	case "down":
		c.apiDown = errDown
	case "up":
		c.apiSlow, c.apiDown = false, nil
	case "restart":
		c.start()
	case "foreign":
		if !c.fresh {
			return // one that is made where one of ours was could be taken for that
		}
		at := mig.Placed{Profile: g1, Start: rapid.IntRange(0, 3).Draw(c.r, "start")}
		_ = c.sim.ForeignCreate(c.uuid(), at) // where there is room
	}
}

// check looks at what was written to the GPU since it looked last. What it looks for in
// the state of now was so when it was written: events come between rounds.
func (c *chaos) check() {
	writes, err := c.sim.Writes()
	c.must(err)
	by := map[int64]string{}
	for _, w := range writes {
		if w.Op == simgpu.OpCreateGI {
			by[w.Serial] = w.By
		}
		if w.Seq <= c.seq || w.By != "agent" || w.Error != "" {
			continue
		}
		if w.Start > 3 && w.Profile == g1 {
			c.r.Fatalf("a pinned slice was touched: %+v", w)
		}
		if destroys := w.Op == simgpu.OpDestroyCI || w.Op == simgpu.OpDestroyGI; destroys && by[w.Serial] == "foreign" {
			c.r.Fatalf("a foreign slice was destroyed: %+v", w)
		}
	}
	c.mark()
	for uuid, h := range c.holders {
		held := slices.ContainsFunc(c.gpu(0).Instances, func(i device.Instance) bool { return i.UUID == uuid })
		if !held {
			c.r.Fatalf("the slice that %s holds is gone; the layout is %s", h.Name, c.layout(0))
		}
	}
	layout := []mig.Placed{}
	for _, i := range c.gpu(0).Instances {
		layout = append(layout, i.Placed)
	}
	if g := a100(); g.Check(layout) != nil {
		c.r.Fatalf("the layout is not legal: %s", c.layout(0))
	}
}

// calm lets everything go and come to its end.
func (c *chaos) calm() {
	c.failures, c.unknown, c.apiSlow, c.apiDown = nil, nil, false, nil
	clear(c.holders)
	for pid := range c.pid {
		c.must(c.sim.Detach(c.uuid(), pid+1))
	}
	c.must(c.sim.Release(c.uuid()))
	c.must(c.sim.ClearFaults())
	c.settle(2 * time.Second)
	if ready := c.condition(v1alpha1.GPUNodeReady); ready.Status != metav1.ConditionTrue {
		c.r.Fatalf("all is known, and Ready is %+v", ready)
	}
	for _, i := range c.node.Status.GPUs[0].Instances {
		if i.UUID != "" && i.Processes == nil {
			c.r.Fatalf("nobody is on any slice, and it is not said of %+v", i)
		}
	}
	// What somebody else made is where slices were before: it counts as undone, and stays.
	for i := range c.node.Spec.Reshapes {
		c.node.Spec.Reshapes[i].Undo = true
	}
	c.settle(2 * time.Minute)
	for _, s := range c.node.Status.Reshapes {
		if s.State != v1alpha1.ReshapeUndone && s.State != v1alpha1.ReshapeRefused {
			c.r.Fatalf("%s is %s (%s), with nothing in its way; the layout is %s", s.ID, s.State, s.Message, c.layout(0))
		}
	}
	if got := c.layout(0); got != ones {
		c.r.Fatalf("all is undone, and the layout is %s", got)
	}
}
