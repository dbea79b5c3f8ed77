package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// helperEnv makes the test binary start a lab, print what is running and wait to
// be killed.
const helperEnv = "EBBTIDE_LAB_TEST_PARENT"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == lab.Broker {
		fakeBroker()
	}
	if os.Getenv(helperEnv) != "" {
		parent()
	}
	os.Exit(m.Run())
}

type running struct {
	Dir  string
	PIDs map[string]int
}

func parent() {
	l, err := lab.Start(context.Background(), lab.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(running{Dir: l.Dir(), PIDs: pids(l)}); err != nil {
		os.Exit(1)
	}
	select {}
}

func pids(l *lab.Lab) map[string]int {
	ids := map[string]int{}
	for _, name := range []string{lab.Etcd, lab.KubeAPIServer, lab.KubeControllerManager, lab.Kwok, lab.Prometheus} {
		ids[name] = l.Part(name).PID()
	}
	return ids
}

// alive reports whether the process runs; one that nobody has reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// build makes sure that no test below waits for a build within its own limits.
func build(t *testing.T) {
	t.Helper()
	if _, err := lab.Programs(t.Context(), lab.Options{Logf: t.Logf}); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsLeftWhenTheParentIsKilled(t *testing.T) {
	t.Parallel()
	build(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var was running
	decodeErr := json.NewDecoder(out).Decode(&was)
	for name, pid := range was.PIDs {
		if !alive(pid) {
			t.Errorf("%s, process %d, did not run before the kill", name, pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the parent was not killed")
	}
	if decodeErr != nil {
		t.Fatalf("the parent did not say what it runs: %v", decodeErr)
	}
	labtest.Eventually(t, time.Minute, func(context.Context) (bool, string) {
		for name, pid := range was.PIDs {
			if alive(pid) {
				return false, fmt.Sprintf("%s, process %d, is still there", name, pid)
			}
		}
		return true, ""
	})
	// The next lab sweeps up the folder, which nobody could remove.
	if err := os.RemoveAll(was.Dir); err != nil {
		t.Error(err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	build(t)
	l, err := lab.Start(t.Context(), lab.Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	ids := pids(l)
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, pid := range ids {
		if alive(pid) {
			t.Errorf("%s, process %d, is still there", name, pid)
		}
	}
	if _, err := os.Stat(l.Dir()); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there: %v", l.Dir(), err)
	}
	if err := l.Stop(); err != nil {
		t.Errorf("the second Stop: %v", err)
	}
}

// TestFailedStart breaks the start in a way that only a part's log explains.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	build(t)
	dir := t.TempDir()
	// etcd refuses a data folder that is a file.
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", lab.Etcd), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := lab.Start(t.Context(), lab.Options{Dir: dir, NoPrometheus: true})
	if err == nil {
		t.Fatal("the lab started without etcd")
	}
	for _, want := range []string{"etcd", "not a directory", filepath.Join(dir, "logs", "etcd.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestPartsFailAndComeBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := labtest.New(t, lab.Options{Nodes: []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}}, NoPrometheus: true})
	version := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		_, err := l.Client().CoreV1().Nodes().Get(ctx, "gpu-0", metav1.GetOptions{})
		return err
	}

	server := l.Part(lab.KubeAPIServer)
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := version(time.Second); err == nil {
		t.Error("a frozen API server answered")
	}
	if err := server.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := version(time.Minute); err != nil {
		t.Errorf("after the thaw: %v", err)
	}

	// Everything but the API server is killed under it, then it as well.
	before := server.PID()
	for _, name := range []string{lab.Kwok, lab.KubeControllerManager, lab.KubeAPIServer, lab.Etcd} {
		if err := l.Part(name).Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if server.PID() != 0 {
		t.Errorf("a killed part has process id %d", server.PID())
	}
	if err := version(time.Second); err == nil {
		t.Error("a killed API server answered")
	}
	if err := server.Freeze(); err == nil {
		t.Error("a killed part could be frozen")
	}
	for _, name := range []string{lab.Etcd, lab.KubeAPIServer, lab.KubeControllerManager, lab.Kwok} {
		if err := l.Part(name).Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if server.PID() == before {
		t.Error("the process id did not change")
	}
	if err := version(time.Minute); err != nil {
		t.Errorf("the node did not survive the restart: %v", err)
	}
	if err := l.AddNodes(ctx, []lab.NodeSpec{{Name: "gpu-1", GPUs: 8}}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if err := l.Err(); err != nil {
		t.Errorf("ends that were asked for count as failures: %v", err)
	}
}

func TestUnaskedEndIsNoticed(t *testing.T) {
	t.Parallel()
	build(t)
	ctx := t.Context()
	l, err := lab.Start(ctx, lab.Options{NoPrometheus: true, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	// SIGKILL from elsewhere, not by way of the part.
	proc, err := os.FindProcess(l.Part(lab.Kwok).PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Failed():
	case <-time.After(time.Minute):
		t.Error("nobody noticed")
	}
	err = l.Stop()
	for _, want := range []string{"kwok ended unasked: signal: killed", "kwok.log"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Stop returned %v, want it to say %q", err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(l.Dir(), "logs", "kwok.log")); err != nil {
		t.Errorf("the folder was not kept: %v", err)
	}
	if err := os.RemoveAll(l.Dir()); err != nil {
		t.Error(err)
	}
}

func TestLoseNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := labtest.New(t, lab.Options{NoPrometheus: true, Nodes: []lab.NodeSpec{
		{Name: "gpu-0", GPUs: 8, Labels: map[string]string{"zone": "a"}}, {Name: "cpu-0"},
	}})
	node, err := l.Client().CoreV1().Nodes().Get(ctx, "gpu-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gpus := node.Status.Allocatable[lab.DefaultResource]
	if gpus.Value() != 8 || node.Labels[lab.LabelProduct] != lab.DefaultProduct || node.Labels["zone"] != "a" {
		t.Errorf("node has %s GPUs and labels %v", gpus.String(), node.Labels)
	}
	if err := l.LoseNode(ctx, "gpu-0"); err != nil {
		t.Fatal(err)
	}
	// The real node lifecycle controller draws the consequence.
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		node, err := l.Client().CoreV1().Nodes().Get(ctx, "gpu-0", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return len(node.Spec.Taints) > 0, "the node has no taint"
	})
	if err := l.RecoverNode(ctx, "gpu-0"); err != nil {
		t.Fatal(err)
	}
	if err := l.LoseNode(ctx, "gpu-7"); !apierrors.IsNotFound(err) {
		t.Errorf("losing a node that is not there: %v, want NotFound", err)
	}
}
