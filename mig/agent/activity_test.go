package agent_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// measured is what the monitoring of a cluster says.
type measured struct {
	found map[agent.ActivityKey]device.Activity
	err   error
	asked [][]string
}

func (m *measured) Activity(_ context.Context, gpus []string) (map[agent.ActivityKey]device.Activity, error) {
	m.asked = append(m.asked, gpus)
	return m.found, m.err
}

func graphics(share float64) device.Activity {
	return device.Activity{Graphics: &share, Source: "dcgm"}
}

// activities are the published ones: of a GPU that is cut its slices', of another its own.
func (w *world) activities(n int) []*v1alpha1.GPUActivity {
	w.t.Helper()
	uuid := w.gpu(n).UUID
	var all []*v1alpha1.GPUActivity
	for _, g := range w.node.Status.GPUs {
		switch {
		case g.UUID != uuid:
		case !g.MIG:
			all = append(all, g.Activity)
		default:
			for _, i := range g.Instances {
				all = append(all, i.Activity)
			}
		}
	}
	return all
}

func (w *world) wantActivities(n int, want ...*v1alpha1.GPUActivity) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.activities(n)); diff != "" {
		w.t.Errorf("activity of GPU %d (-want +got):\n%s", n, diff)
	}
}

// An A100's driver measures no slices: the cluster's monitoring says how busy they are. An
// idle one is 0, and what nobody knows is left out and not 0.
func TestPublishesActivityThatMonitoringMeasures(t *testing.T) {
	fiveOnes := simgpu.Card{UUID: "GPU-a", Geometry: a100(), Layout: sevenOnes().Layout[:5]}
	w := newWorld(t, fiveOnes, simgpu.Card{UUID: "GPU-b", Geometry: a100(), Whole: true})
	cut, whole := w.gpu(0), w.gpu(1)
	of := func(n int) agent.ActivityKey {
		return agent.ActivityKey{GPU: cut.UUID, GI: cut.Instances[n].GI}
	}
	monitoring := &measured{found: map[agent.ActivityKey]device.Activity{
		of(0): graphics(0.25), of(1): graphics(0), of(2): graphics(math.NaN()), of(3): graphics(-1),
		{GPU: whole.UUID, GI: -1}: graphics(0.9), {GPU: "GPU-other", GI: 1}: graphics(0.5),
	}}
	w.options = func(o *agent.Options) { o.Activities = monitoring }
	w.must(w.sim.Attach(cut.UUID, &cut.Instances[0].Placed, device.Process{PID: 7, MemoryMiB: 512}))
	w.start()
	w.settle(0)
	known := func(percent int32, memory int64) *v1alpha1.GPUActivity {
		return &v1alpha1.GPUActivity{Graphics: &percent, MemoryUsedMiB: &memory, Source: "dcgm"}
	}
	w.wantActivities(0, known(25, 512), known(0, 0), unknown(0, "dcgm"), unknown(0, "dcgm"), unknown(0, "nvml"))
	w.wantActivities(1, known(90, 0))
	if len(monitoring.asked) != 1 || len(monitoring.asked[0]) != 2 {
		t.Errorf("monitoring was asked %v, want one question of both GPUs", monitoring.asked)
	}
	nothing := unknown(0, "nvml")
	// What it said is not repeated once it says nothing.
	monitoring.found, monitoring.err = nil, errors.New("down")
	w.settle(time.Minute)
	w.wantActivities(0, unknown(512, "nvml"), nothing, nothing, nothing, nothing)
	w.wantActivities(1, nothing)
}

// unknown is of an instance of which only the memory is known.
func unknown(memory int64, source string) *v1alpha1.GPUActivity {
	return &v1alpha1.GPUActivity{MemoryUsedMiB: &memory, Source: source}
}

// A Hopper's driver measures slices, from the second reading on, and its word goes before
// monitoring's.
func TestPublishesActivityThatTheDriverMeasures(t *testing.T) {
	h100, ok := mig.Board("H100-80GB")
	if !ok {
		t.Fatal("there is no H100-80GB among the boards")
	}
	w := newWorld(t, simgpu.Card{UUID: "GPU-a", Geometry: h100, Layout: sevenOnes().Layout[:3]}, simgpu.Card{UUID: "GPU-b", Geometry: h100, Whole: true})
	cut, whole := w.gpu(0), w.gpu(1)
	monitoring := &measured{found: map[agent.ActivityKey]device.Activity{}}
	for _, i := range cut.Instances[:2] {
		monitoring.found[agent.ActivityKey{GPU: cut.UUID, GI: i.GI}] = graphics(0.99)
	}
	w.options = func(o *agent.Options) { o.Activities = monitoring }
	w.must(w.sim.SetActivity(cut.UUID, &cut.Instances[0].Placed, simgpu.Shares{Graphics: 0.25, SM: 0.2, Tensor: 0.1, DRAM: 0.05}))
	w.must(w.sim.SetActivity(cut.UUID, &cut.Instances[1].Placed, simgpu.Shares{}))
	w.must(w.sim.SetActivity(whole.UUID, nil, simgpu.Shares{Graphics: 0.6}))
	w.start()
	w.settle(0)
	w.wantActivities(1, unknown(0, "nvml"))
	w.settle(time.Minute)
	gpm := func(graphics, sm, tensor, dram int32) *v1alpha1.GPUActivity {
		return &v1alpha1.GPUActivity{Graphics: &graphics, SM: &sm, Tensor: &tensor, DRAM: &dram, MemoryUsedMiB: ptr.To[int64](0), Source: "gpm"}
	}
	w.wantActivities(0, gpm(25, 20, 10, 5), gpm(0, 0, 0, 0), unknown(0, "nvml"))
	w.wantActivities(1, gpm(60, 0, 0, 0))
}
