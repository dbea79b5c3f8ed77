//go:build linux && cgo

package nvml

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// librarySteps is set in the process that uses the library.
const librarySteps = "NVML_TEST_LIBRARY"

// TestLibrary builds libraries and uses them in other processes, by the way that real
// ones are: loaded at run time, where a call of a function that they lack ends the
// process. It is for calls that nobody looked up before, and for what comes through cgo.
func TestLibrary(t *testing.T) {
	if os.Getenv(librarySteps) != "" {
		useLibrary(t)
		return
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("building a library needs a C compiler")
	}
	header, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		t.Skipf("building a library needs the header of go-nvml: %v", err)
	}
	include := filepath.Join(strings.TrimSpace(string(header)), "pkg", "nvml")
	for name, want := range map[string]string{
		"WORKS":     "used to the end",
		"NO_DRIVER": "the kernel module is not loaded",
		"TOO_OLD":   "lacks nvmlDeviceCreateGpuInstanceWithPlacement",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := exec.Command(compiler, "-shared", "-fPIC", "-w", "-D"+name, "-DNVML_NO_UNVERSIONED_FUNC_DEFS=1", "-I", include,
				"-o", filepath.Join(dir, "libnvidia-ml.so.1"), filepath.Join("testdata", "library.c")).CombinedOutput()
			if err != nil {
				t.Fatalf("build the library: %v\n%s", err, out)
			}
			child := exec.Command(os.Args[0], "-test.run=^TestLibrary$", "-test.v")
			child.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, librarySteps+"="+name)
			out, err = child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("the process ended with %v and without %q:\n%s", err, want, out)
			}
		})
	}
}

// useLibrary is the other process. What it says is compared with what is expected.
func useLibrary(t *testing.T) {
	gpus, err := Open()
	if errors.Is(err, ErrUnavailable) {
		fmt.Println(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	gpu := "GPU-1"
	reading, err := gpus.Probe(t.Context())
	if err != nil || len(reading.GPUs) != 1 || len(reading.Lacks) != len(optional) {
		t.Fatalf("Probe gave %+v, %v", reading, err)
	}
	g := reading.GPUs[0]
	raw, _ := json.Marshal(g)
	// Of this board all is as it is listed; that its engines are not told is no difference.
	if !g.Healthy || g.PCI != "00000000:3B:00.0" || g.Board != "A100-40GB" || len(g.Differences) > 0 || len(g.Geometry.Profiles) != 7 {
		t.Errorf("reading %s", raw)
	}
	for start := range 7 {
		i, err := gpus.Create(t.Context(), gpu, mig.Placed{Profile: 0, Start: start})
		if err != nil || !i.Whole || i.Processes != nil || !strings.HasPrefix(i.UUID, "MIG-") {
			t.Errorf("Create at %d gave %+v, %v", start, i, err)
		}
	}
	if _, err := gpus.Create(t.Context(), gpu, mig.Placed{Profile: 3}); !errors.Is(err, device.ErrNoRoom) {
		t.Errorf("Create over what is there gave %v", err)
	}
	for start := range 4 {
		if err := gpus.Destroy(t.Context(), gpu, mig.Placed{Profile: 0, Start: start}, -1); err != nil {
			t.Errorf("Destroy at %d: %v", start, err)
		}
	}
	four := mig.Placed{Profile: 3}
	if _, err := gpus.Create(t.Context(), gpu, four); err != nil {
		t.Errorf("Create: %v", err)
	}
	if a, err := gpus.Activity(t.Context(), gpu, &four); err != nil || a.Graphics != nil || *a.MemoryUsedMiB != 100 {
		t.Errorf("activity %+v, %v", a, err)
	}
	all, err := gpus.Read(t.Context())
	if err != nil || len(all) != 1 || len(all[0].Instances) != 4 || all[0].Instances[0].Placed != four {
		t.Errorf("Read gave %+v, %v", all, err)
	}
	if err := gpus.Close(); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		fmt.Println("used to the end")
	}
}
