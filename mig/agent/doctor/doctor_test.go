package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/mig/agent/doctor"
	"github.com/ebbtide/ebbtide/mig/device"
)

// node is a node as it should be, and what is otherwise.
type node struct {
	driver, toolkit string
	settings        string
	refuses         bool
	err             error
	asked           int
}

func (n *node) Driver(context.Context) (string, error)  { n.asked++; return n.driver, n.err }
func (n *node) Toolkit(context.Context) (string, error) { return n.toolkit, n.err }
func (n *node) Refuses(context.Context) (bool, error)   { return n.refuses, n.err }
func (n *node) Settings(context.Context) (doctor.Settings, error) {
	if n.err != nil {
		return doctor.Settings{}, n.err
	}
	return doctor.ReadSettings("config.toml", []byte(n.settings))
}

func healthy() *node {
	return &node{driver: "580.95.05", toolkit: "1.17.8", settings: closed, refuses: true}
}

const closed = `
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
accept-nvidia-visible-devices-envvar-when-unprivileged = false # of images
accept-nvidia-visible-devices-as-volume-mounts = true

[nvidia-container-cli]
environment = []
ldconfig = "@/sbin/ldconfig.real"

[nvidia-container-runtime]
runtimes = [
  "runc",
  "crun",
]
[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
`

func TestExamine(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*node)
		failed string
		status metav1.ConditionStatus
	}{
		"as it should be":    {func(*node) {}, "", metav1.ConditionTrue},
		"an old driver":      {func(n *node) { n.driver = "470.256.02" }, "driver-version: 470.256.02 is before 510.0", metav1.ConditionFalse},
		"an old toolkit":     {func(n *node) { n.toolkit = "1.17.7" }, "toolkit-version: 1.17.7 is before 1.17.8", metav1.ConditionFalse},
		"almost":             {func(n *node) { n.toolkit = "1.17.8-rc.1" }, "toolkit-version: 1.17.8-rc.1 is before 1.17.8", metav1.ConditionFalse},
		"a newer toolkit":    {func(n *node) { n.toolkit = "v1.18.0" }, "", metav1.ConditionTrue},
		"no version":         {func(n *node) { n.toolkit = "unknown" }, `toolkit-version: version "unknown" cannot be read`, metav1.ConditionUnknown},
		"the default":        {func(n *node) { n.settings = "" }, "visible-devices-variable: a pod whose image or environment says", metav1.ConditionFalse},
		"the variable":       {func(n *node) { n.settings = "accept-nvidia-visible-devices-envvar-when-unprivileged = true" }, "visible-devices-variable", metav1.ConditionFalse},
		"mounts and no rule": {func(n *node) { n.refuses = false }, "visible-devices-mounts: mounts under", metav1.ConditionFalse},
		"a file of containers": {func(n *node) {
			n.settings = closed + "\n[features]\nallow-cuda-compat-libs-from-container = true\n"
		}, "files-from-containers: the runtime uses files of the container: features.allow-cuda-compat-libs-from-container", metav1.ConditionFalse},
		"a program of containers": {func(n *node) { n.settings = strings.Replace(closed, "@/sbin", "/sbin", 1) }, "files-from-containers", metav1.ConditionFalse},
		"nothing to be read":      {func(n *node) { n.err = errors.New("no permission") }, "driver-version: no permission", metav1.ConditionUnknown},
		"settings like none":      {func(n *node) { n.settings = "accept" }, "line 1 is neither a table nor a setting", metav1.ConditionUnknown},
		"an inline table": {func(n *node) {
			n.settings = "features = { allow-ldconfig-from-container = true }\n" + closed
		}, "line 1 has a value that is not read here", metav1.ConditionUnknown},
		"a table in quotes": {func(n *node) {
			n.settings = closed + "[\"features\"]\nallow-ldconfig-from-container = true\n"
		}, "names a table in a way that is not read here", metav1.ConditionUnknown},
		"a key in quotes": {func(n *node) {
			n.settings = "features.\"allow-ldconfig-from-container\" = true\n" + closed
		}, "names a setting in a way that is not read here", metav1.ConditionUnknown},
		"a text over lines": {func(n *node) {
			n.settings = "x = \"\"\"\naccept-nvidia-visible-devices-envvar-when-unprivileged = false\n\"\"\"\n"
		}, "line 1 has a value that is not read here", metav1.ConditionUnknown},
		"neither true nor false": {func(n *node) {
			n.settings = "accept-nvidia-visible-devices-envvar-when-unprivileged = 0"
		}, "neither true nor false", metav1.ConditionUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			n := healthy()
			c.spoil(n)
			checks := doctor.Examine(t.Context(), n, nil)
			v := doctor.Verdict(checks)
			if v.Status != c.status || !strings.Contains(v.Message, c.failed) {
				t.Errorf("Lendable is %+v, want %s for %q", v, c.status, c.failed)
			}
			var names []string
			for _, check := range checks {
				names = append(names, check.Name)
				if (check.Todo == "") != (check.Result == doctor.OK) {
					t.Errorf("%s is %s, and to do is %q", check.Name, check.Result, check.Todo)
				}
			}
			if diff := cmp.Diff(doctor.Names(), names); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	n := healthy()
	n.toolkit = "1.14.0"
	v := doctor.Verdict(doctor.Examine(t.Context(), n, []string{doctor.CheckToolkit}))
	if v.Status != metav1.ConditionTrue || !strings.Contains(v.Message, "accepts toolkit-version") {
		t.Errorf("Lendable is %+v", v)
	}
	if err := doctor.CheckNames([]string{"toolkit"}); err == nil || !strings.Contains(err.Error(), "none of the checks") {
		t.Errorf("the error is %v", err)
	}
}

// A report counts for a while, one with a fault for less.
func TestExaminer(t *testing.T) {
	n, clock := healthy(), testingclock.NewFakeClock(time.Unix(1e9, 0))
	e := &doctor.Examiner{Node: n, Every: 10 * time.Minute, Clock: clock}
	for _, step := range []struct {
		wait    time.Duration
		toolkit string
		asked   int
	}{{0, "1.17.8", 1}, {9 * time.Minute, "1.0.0", 1}, {2 * time.Minute, "1.0.0", 2}, {30 * time.Second, "1.17.8", 2}, {40 * time.Second, "1.17.8", 3}} {
		clock.Step(step.wait)
		n.toolkit = step.toolkit
		if e.Lendable(t.Context()); n.asked != step.asked {
			t.Fatalf("after %s it was examined %d times, want %d", step.wait, n.asked, step.asked)
		}
	}
}

type driver struct{ facts device.Facts }

func (d driver) Describe(context.Context) (device.Facts, error) { return d.facts, nil }

// What is on a node's disk is found where NVIDIA's packages and its operator put it; of
// several the worst counts.
func TestHost(t *testing.T) {
	root := t.TempDir()
	h := doctor.Host{Root: root, Describer: driver{device.Facts{Driver: "580.1"}}}
	if _, err := h.Settings(t.Context()); err == nil {
		t.Error("settings that are not there are known")
	}
	if _, err := h.Toolkit(t.Context()); err == nil || !strings.Contains(err.Error(), "nvidia-ctk is at none of") {
		t.Errorf("a toolkit that is not there: %v", err)
	}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("/etc/nvidia-container-runtime/config.toml", closed, 0o644)
	s, err := h.Settings(t.Context())
	if err != nil || s.EnvironmentWhenUnprivileged || !s.VolumeMounts {
		t.Errorf("settings %+v: %v", s, err)
	}
	operator := filepath.Join(root, "usr/local/nvidia/toolkit")
	for place, target := range map[string]string{
		operator: "/nowhere/toolkit",
		filepath.Join(operator, ".config/nvidia-container-runtime/config.toml"): "/nowhere/config.toml",
	} {
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, place); err != nil {
			t.Fatal(err)
		}
		if s, err := h.Settings(t.Context()); err == nil {
			t.Errorf("settings behind a link that leads nowhere from here are %+v", s)
		}
		if err := os.RemoveAll(operator); err != nil {
			t.Fatal(err)
		}
	}
	write("/usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml", "disable-require = false", 0o644)
	if s, err = h.Settings(t.Context()); err != nil || !s.EnvironmentWhenUnprivileged {
		t.Errorf("the worse of two is not counted: %+v: %v", s, err)
	}
	if _, err := h.Refuses(t.Context()); err == nil {
		t.Error("without an API server it is known what it refuses")
	}
	if found, err := h.Driver(t.Context()); err != nil || found != "580.1" {
		t.Errorf("driver %s: %v", found, err)
	}
}
