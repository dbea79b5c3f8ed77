package simgpu_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// A test makes the GPUs of a node, and an agent in another process opens the same
// folder. What the test does to the GPUs, the agent's calls meet.
func Example() {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	a100, _ := mig.Board("A100-40GB")
	node, err := simgpu.Create(dir+"/gpus", []simgpu.Card{{Geometry: a100, Layout: []mig.Placed{{Profile: 0, Start: 6}}}})
	if err != nil {
		fmt.Println(err)
		return
	}

	agent, err := simgpu.Open(dir+"/gpus", simgpu.WithName("agent"), simgpu.WithSleep(func(time.Duration) {}))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	gpus, _ := agent.Read(ctx)
	gpu, slice := gpus[0].UUID, gpus[0].Instances[0]

	_ = node.Attach(gpu, &slice.Placed, device.Process{PID: 4711})
	err = agent.Destroy(ctx, gpu, slice.Placed, slice.GI)
	fmt.Println("with a process:", errors.Is(err, device.ErrInUse))

	_ = node.Detach(gpu, 4711)
	_ = node.FailNext(simgpu.Fault{Op: simgpu.OpDestroyGI, Code: simgpu.CodeInUse})
	err = agent.Destroy(ctx, gpu, slice.Placed, slice.GI)
	gpus, _ = agent.Read(ctx)
	fmt.Println("half done:", errors.Is(err, device.ErrInUse), "compute instance", gpus[0].Instances[0].CI)

	_, err = agent.Create(ctx, gpu, mig.Placed{Profile: 3, Start: 0})
	fmt.Println("beside it:", err)
	writes, _ := node.Writes()
	fmt.Println("writes:", len(writes), "the last by", writes[len(writes)-1].By)
	// Output:
	// with a process: true
	// half done: true compute instance -1
	// beside it: <nil>
	// writes: 7 the last by agent
}
