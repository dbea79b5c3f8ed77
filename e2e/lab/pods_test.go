package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const shellImage = "example.invalid/shell"

// TestProcesses runs pods that are real processes, and ends with the lab: none of them
// may be left.
func TestProcesses(t *testing.T) {
	l := labtest.New(t, lab.Options{
		Nodes: []lab.NodeSpec{{Name: gpuNode, GPUs: 8}, {Name: "gpu-1", GPUs: 8}}, KubeScheduler: true, NoPrometheus: true,
		Programs: map[string]string{shellImage: "/bin/sh"},
	})
	if err := l.CreateNamespace(t.Context(), tenant, nil); err != nil {
		t.Fatal(err)
	}
	t.Run("scenarios", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *lab.Lab){
			"success":         processSucceeds,
			"failure":         processFails,
			"SIGTERM":         processStops,
			"SIGTERM ignored": processIsDeaf,
			"shortened grace": processShortened,
			"refusal":         processRefused,
			"others":          othersAreSimulated,
			"annotations":     processSeesItsPod,
			"forced deletion": processOfGonePod,
			"lost node":       processOnLostNode,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, l)
			})
		}
	})
	create(t, l, scripted("left", `trap "" TERM; `+announce+` sleep 600`, nil))
	pid := pidOf(t, l, "left")
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if runs(pid) {
		t.Errorf("process %d runs after the lab has stopped", pid)
	}
}

// announce is a script that says which process it is, where all pods of its node can
// see it. exec keeps what follows the same process.
const announce = `echo $$$$ > /pids/$HOSTNAME.partial; mv /pids/$HOSTNAME.partial /pids/$HOSTNAME; exec`

// scripted is a pod that runs a shell script.
func scripted(name, text string, annotations map[string]string) *corev1.Pod {
	p := pod(name, annotations)
	p.Spec.Volumes = []corev1.Volume{
		{Name: "pids", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "files", Path: "/pids"}}},
		{Name: "podinfo", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "annotations", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations"}}},
		}}},
	}
	// A script's own paths are in the middle of an argument, so they come as variables.
	p.Spec.Containers[0] = corev1.Container{
		Name: "main", Image: shellImage,
		Command: []string{"sh", "-c", strings.NewReplacer("/pids", "$PIDS", "/podinfo", "$PODINFO").Replace(text)},
		Env:     []corev1.EnvVar{{Name: "PIDS", Value: "/pids"}, {Name: "PODINFO", Value: "/podinfo"}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "pids", MountPath: "/pids"}, {Name: "podinfo", MountPath: "/podinfo"},
		},
	}
	return p
}

func create(t *testing.T, l *lab.Lab, p *corev1.Pod) {
	t.Helper()
	if _, err := l.Client().CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pidOf waits until a pod has announced its process.
func pidOf(t *testing.T, l *lab.Lab, name string) int {
	t.Helper()
	folder, err := l.NFS("files", "/pids")
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	labtest.Eventually(t, time.Minute, func(context.Context) (bool, string) {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return false, err.Error()
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil, fmt.Sprint(err)
	})
	if !runs(pid) {
		t.Errorf("pod %s says that it is process %d, which does not run", name, pid)
	}
	return pid
}

// runs tells whether a process is there; one that nobody has reaped does not run.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	labtest.Eventually(t, time.Minute, func(context.Context) (bool, string) {
		return !runs(pid), fmt.Sprintf("process %d still runs", pid)
	})
}

func over(_ watch.Event, p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func processSucceeds(t *testing.T, l *lab.Lab) {
	states := record(t, l, scripted("succeeds", "sleep 1; exit 0", nil), over)
	wantStates(t, states, "Pending", "Running ready", "Succeeded exit 0")
}

func processFails(t *testing.T, l *lab.Lab) {
	states := record(t, l, scripted("fails", "sleep 1; exit 3", nil), over)
	wantStates(t, states, "Pending", "Running ready", "Failed exit 3")
}

// A process that stops does so at its own pace, whatever is said of simulated ones.
func processStops(t *testing.T, l *lab.Lab) {
	p := scripted("stops", `trap 'sleep 1; exit 143' TERM; echo $$$$ > /pids/stops; while :; do sleep 0.05; done`,
		map[string]string{"lab.ebbtide.dev/exit-after": "0s", "lab.ebbtide.dev/exit-code": "0"})
	states, took := terminate(t, l, p, 60, func() { pidOf(t, l, "stops") })
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Failed exit 143 terminating", "gone")
	between(t, "the stop", took, 900*time.Millisecond)
}

func processIsDeaf(t *testing.T, l *lab.Lab) {
	pid := 0
	p := scripted("is-deaf", `trap "" TERM; `+announce+` sleep 600`, nil)
	states, took := terminate(t, l, p, 2, func() { pid = pidOf(t, l, "is-deaf") })
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Failed exit 137 terminating", "gone")
	between(t, "the kill", took, 2*time.Second)
	if runs(pid) {
		t.Error("the pod is gone, and its process is not")
	}
}

func processShortened(t *testing.T, l *lab.Lab) {
	p := scripted("cut-short", `trap "" TERM; `+announce+` sleep 600`, nil)
	states, took := terminate(t, l, p, 600, func() { remove(t, l, "cut-short", 1) })
	wantStates(t, states, "Pending", "Running ready", "Running ready terminating", "Failed exit 137 terminating", "gone")
	between(t, "the kill", took, time.Second)
}

func processRefused(t *testing.T, l *lab.Lab) {
	p := scripted("refused", "exit 0", nil)
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	message := ""
	record(t, l, p, func(event watch.Event, seen *corev1.Pod) bool {
		message = seen.Status.Message
		return over(event, seen)
	})
	if !strings.Contains(message, "spec.restartPolicy") {
		t.Errorf("the pod says %q, want the field that is refused", message)
	}
}

// Pods of other images live as without programs.
func othersAreSimulated(t *testing.T, l *lab.Lab) {
	states := record(t, l, pod("simulated", map[string]string{"lab.ebbtide.dev/complete-after": "300ms"}), over)
	wantStates(t, states, "Pending", "Running ready", "Succeeded exit 0")
}

// What is written on the pod while it runs shows in its volume.
func processSeesItsPod(t *testing.T, l *lab.Lab) {
	p := scripted("sees", `echo $$$$ > /pids/sees; until grep -q 'ebbtide.dev/reclaim-by="soon"' /podinfo/annotations; do sleep 0.05; done; exit 7`, nil)
	told := false
	states := record(t, l, p, func(event watch.Event, seen *corev1.Pod) bool {
		if !told && strings.HasSuffix(describe(seen), "ready") {
			told = true
			pidOf(t, l, "sees")
			_, err := l.Client().CoreV1().Pods(tenant).Patch(t.Context(), "sees", types.MergePatchType,
				[]byte(`{"metadata":{"annotations":{"ebbtide.dev/reclaim-by":"soon"}}}`), metav1.PatchOptions{})
			if err != nil {
				t.Error(err)
			}
		}
		return over(event, seen)
	})
	wantStates(t, states, "Pending", "Running ready", "Failed exit 7")
}

// Who removes a pod's object by force does not get a process that nobody knows.
func processOfGonePod(t *testing.T, l *lab.Lab) {
	create(t, l, scripted("forced", `trap "" TERM; `+announce+` sleep 600`, nil))
	pid := pidOf(t, l, "forced")
	remove(t, l, "forced", 0)
	awaitEnd(t, pid)
}

// On a node that is lost nobody stops anything, until it is back.
func processOnLostNode(t *testing.T, l *lab.Lab) {
	p := scripted("cut-off", announce+` sleep 600`, nil)
	p.Spec.NodeName = "gpu-1"
	create(t, l, p)
	pid := pidOf(t, l, "cut-off")
	if err := l.LoseNode(t.Context(), "gpu-1"); err != nil {
		t.Fatal(err)
	}
	remove(t, l, "cut-off", 0)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if !runs(pid) {
			t.Fatal("the process was stopped on a node that nobody reaches")
		}
		<-time.After(50 * time.Millisecond)
	}
	if err := l.RecoverNode(t.Context(), "gpu-1"); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, pid)
}
