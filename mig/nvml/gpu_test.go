//go:build gpu && linux && cgo

package nvml_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/nvml"
)

// reads is how often the GPUs are read, to say how long it takes.
const reads = 50

// gpuReading is what TestGPU prints: the reading, with what else was found out.
type gpuReading struct {
	Time    time.Time    `json:"time"`
	Reading nvml.Reading `json:"reading"`
	// Milliseconds that Read took, of so many, and one reading of the activity of a GPU.
	ReadMedian float64 `json:"readMedianMilliseconds"`
	ReadMax    float64 `json:"readMaxMilliseconds"`
	Activity   float64 `json:"activityMilliseconds,omitempty"`
	// Tool is what nvidia-smi says of the profiles and placements, to compare by eye.
	Tool map[string]string `json:"tool,omitempty"`
}

// TestGPU reads the GPUs that are there and writes nothing: MIG mode, instances and all
// settings stay as they are, which it looks for at the end. It prints what it read as
// JSON, and puts it into the file that GPU_READING names.
func TestGPU(t *testing.T) {
	d, err := nvml.Open()
	if err != nil {
		t.Fatalf("this test reads a real GPU, and there is none to read: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	before := read(t, d)
	if len(before) == 0 {
		t.Fatal("this test reads a real GPU, and the driver lists none")
	}
	r := gpuReading{Time: time.Now().UTC(), Tool: tool(t)}
	if r.Reading, err = d.Probe(t.Context()); err != nil {
		t.Fatalf("Probe: %v", err)
	}
	r.ReadMedian, r.ReadMax = timed(t, d)
	r.Activity = checkActivity(t, d, r.Reading)
	print(t, r)
	for _, g := range r.Reading.GPUs {
		t.Run(g.Product+" "+g.UUID, func(t *testing.T) { checkGPU(t, g) })
	}
	passing := []cmp.Option{
		cmpopts.IgnoreFields(device.GPU{}, "Processes"), cmpopts.IgnoreFields(device.Instance{}, "Processes"),
	}
	if diff := cmp.Diff(before, read(t, d), passing...); diff != "" {
		t.Errorf("the GPUs are not as they were (-before +after):\n%s", diff)
	}
}

func read(t *testing.T, d device.Driver) []device.GPU {
	t.Helper()
	gpus, err := d.Read(t.Context())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return gpus
}

func timed(t *testing.T, d device.Driver) (median, most float64) {
	var took []float64
	for range reads {
		begin := time.Now()
		read(t, d)
		took = append(took, milliseconds(begin))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1]
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// checkActivity reads the activity of all instances, and says how long the last took.
func checkActivity(t *testing.T, d device.Driver, r nvml.Reading) (took float64) {
	for _, g := range r.GPUs {
		for _, i := range g.Instances {
			begin := time.Now()
			if _, err := d.Activity(t.Context(), g.UUID, &i.Placed); err != nil {
				t.Errorf("activity of GPU instance %d of %s: %v", i.GI, g.UUID, err)
			}
			took = milliseconds(begin)
		}
		gpm := g.GPM.Value != nil && *g.GPM.Value != 0
		if gpm && (g.Activity == nil || g.Activity.Graphics == nil) {
			t.Errorf("GPU %s measures activity, and has none: %+v", g.UUID, g.Activity)
		}
	}
	return took
}

// checkGPU compares what the driver says with the list of boards.
func checkGPU(t *testing.T, g nvml.GPUReading) {
	if !g.Healthy {
		t.Errorf("not healthy: %s", g.Problem)
	}
	if !g.Capable {
		t.Skip("it has no MIG")
	}
	if g.Geometry == nil {
		t.Fatal("it has MIG, and the driver tells no profiles")
	}
	if err := g.Geometry.Validate(); err != nil {
		t.Errorf("geometry: %v", err)
	}
	if g.Board == "" {
		t.Logf("the list of boards has none for %s", g.PCIDevice)
	}
	for _, line := range g.Differences {
		t.Errorf("the driver and the list of boards differ: %s", line)
	}
}

// tool asks nvidia-smi, where there is one, for the tables that people read.
func tool(t *testing.T) map[string]string {
	path, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil
	}
	says := map[string]string{}
	for _, arguments := range [][]string{{"mig", "-lgip"}, {"mig", "-lgipp"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out, err := exec.CommandContext(ctx, path, arguments...).CombinedOutput()
		cancel()
		says[fmt.Sprint(arguments)] = string(out)
		if err != nil {
			says[fmt.Sprint(arguments)] += err.Error()
		}
	}
	return says
}

func print(t *testing.T, r gpuReading) {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", raw)
	if file := os.Getenv("GPU_READING"); file != "" {
		if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
			t.Error(err)
		}
	}
}
