package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

const shell = "example.invalid/shell"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer makes tokens that say what was asked for.
type issuer struct{ err error }

func (i issuer) Token(_ context.Context, pod *corev1.Pod, audience string, _ int64) (string, error) {
	return pod.Spec.ServiceAccountName + " for " + audience, i.err
}

func newRuntime(t *testing.T, tokens Tokens) *Runtime {
	t.Helper()
	starter := process.NewStarter()
	dir := t.TempDir()
	r, err := NewRuntime(Options{
		Programs: map[string]string{shell: "/bin/sh"}, Dir: filepath.Join(dir, "pods"), Logs: filepath.Join(dir, "logs"),
		APIServer: "127.0.0.1:6443", CA: []byte("authority"), Tokens: tokens, Starter: starter,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		starter.Close()
	})
	return r
}

// script is a pod that runs a shell script.
func script(name, text string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: "gpu-0", RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: "trainer",
			Containers: []corev1.Container{{Name: "main", Image: shell, Command: []string{"sh", "-c", text}}},
		},
	}
}

func start(t *testing.T, r *Runtime, pod *corev1.Pod) *Container {
	t.Helper()
	c, err := r.Start(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// finished waits for the end and returns the exit status.
func finished(t *testing.T, c *Container) int32 {
	t.Helper()
	<-c.Done()
	code, exited := c.ExitCode()
	if !exited {
		t.Fatal("the process has ended, and is said to run")
	}
	return code
}

func log(t *testing.T, c *Container) string {
	t.Helper()
	text, err := os.ReadFile(c.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExitCodes(t *testing.T) {
	r := newRuntime(t, issuer{})
	for name, want := range map[string]int32{"exit 0": 0, "exit 3": 3, "kill -TERM $$$$": 143, "kill -KILL $$$$": 137} {
		pod := script(strings.ReplaceAll(name, " ", "-"), name)
		c := start(t, r, pod)
		if got := finished(t, c); got != want {
			t.Errorf("%s: exit status %d, want %d", name, got, want)
		}
		again := start(t, r, pod)
		if again != c {
			t.Errorf("%s: a pod that has ended was started again", name)
		}
	}
}

// A process gets the pod's arguments, variables and files, by the paths on this machine.
func TestFurnished(t *testing.T) {
	r := newRuntime(t, issuer{})
	pod := script("full", "")
	pod.Labels = map[string]string{"batch.kubernetes.io/job-completion-index": "3"}
	pod.Annotations = map[string]string{"b": `say "tide"`, "a": "1"}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "disk", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv/../data"}}},
		{Name: "store", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "files.example", Path: "/runs"}}},
		{Name: "podinfo", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "annotations", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations"}}},
		}}},
		{Name: "access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "api"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: rootCA}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
		}}}},
	}
	main := &pod.Spec.Containers[0]
	main.VolumeMounts = []corev1.VolumeMount{
		{Name: "scratch", MountPath: "/scratch"}, {Name: "disk", MountPath: "/scratch/disk"},
		{Name: "store", MountPath: "/store/", SubPath: "bert"}, {Name: "podinfo", MountPath: "/etc/podinfo"},
		{Name: "access", MountPath: "/var/run/access"},
	}
	main.Env = []corev1.EnvVar{
		{Name: "RANK", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['batch.kubernetes.io/job-completion-index']"}}},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "FILE", Value: "/store/rank-$(RANK)"},
	}
	main.Command = []string{"anything", "-c", `for word; do echo "$word"; done; echo $FILE $RANK $KUBERNETES_SERVICE_PORT; cat "$4"/* /dev/null; pwd`, "sh"}
	main.Args = []string{"--out=/store/m-$(RANK).json", "/scratch/disk/x", "/scratchy", "/var/run/access", "$(IP):80", "$(NONE) $$(RANK)", "--url=http://x/store"}
	c := start(t, r, pod)
	if code := finished(t, c); code != 0 {
		t.Fatalf("exit status %d: %s", code, log(t, c))
	}
	own := filepath.Join(r.Dir, "pods", "uid-full")
	want := strings.Join([]string{
		"--out=" + r.Dir + "/nfs/files.example/runs/bert/m-3.json", r.Dir + "/nodes/gpu-0/data/x", "/scratchy",
		own + "/volumes/access", c.IP() + ":80", "$(NONE) $(RANK)", "--url=http://x/store",
		r.Dir + "/nfs/files.example/runs/bert/rank-3 3 6443", "authority" + "research" + "trainer for api" + own + "/root", "",
	}, "\n")
	if diff := cmp.Diff(want, log(t, c)); diff != "" {
		t.Errorf("the process saw (-want +got):\n%s", diff)
	}
	annotations := filepath.Join(own, "volumes", "podinfo", "annotations")
	if got, err := os.ReadFile(annotations); err != nil || string(got) != "a=\"1\"\nb=\"say \\\"tide\\\"\"" {
		t.Errorf("annotations %q, %v", got, err)
	}
	pod.Annotations["a"] = "2"
	if err := c.Refresh(pod); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(annotations); err != nil || !strings.HasPrefix(string(got), "a=\"2\"\n") {
		t.Errorf("annotations %q after a change, %v", got, err)
	}
	if err := r.Remove(pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) || r.Get(pod.UID) != nil {
		t.Errorf("a removed pod has left its folder, or itself: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	r := newRuntime(t, issuer{})
	volume := func(v corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"spec.containers":    func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0]) },
		"init containers":    func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.Containers },
		"spec.restartPolicy": func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways },
		"spec.hostNetwork":   func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"envFrom":            func(p *corev1.Pod) { p.Spec.Containers[0].EnvFrom = make([]corev1.EnvFromSource, 1) },
		"variable KEY": func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}}
		},
		"fieldPath spec.nothing": func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "KEY", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nothing"}}}}
		},
		"volume v": volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}),
		"there is no": func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		},
		"is not a server":  volume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "..", Path: "/"}}),
		"projected volume": volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{}}}}}),
	} {
		pod := script("refused", "exit 0")
		change(pod)
		if _, err := r.Start(t.Context(), pod); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want a refusal that names it", name, err)
		}
	}
	if len(r.taken) != 0 {
		t.Errorf("pods that were refused hold addresses: %v", r.taken)
	}
	later := newRuntime(t, issuer{errors.New("the API server is away")})
	pod := script("later", "exit 0")
	volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
	}}})(pod)
	if _, err := later.Start(t.Context(), pod); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want an error that may pass", err)
	}
	if _, err := NewRuntime(Options{Programs: map[string]string{"x": "/no/such/program"}}); err == nil {
		t.Error("a missing program was taken")
	}
}

// SIGKILL reaches what a process has started, SIGTERM the process alone.
func TestSignals(t *testing.T) {
	r := newRuntime(t, issuer{})
	pod := script("family", `trap 'echo asked' TERM; sleep 600 & echo $! > child.partial; mv child.partial child; while :; do wait; done`)
	c := start(t, r, pod)
	var child int
	await(t, "the child", func() bool {
		text, err := os.ReadFile(filepath.Join(c.folder, "root", "child"))
		for _, digit := range strings.TrimSpace(string(text)) {
			child = child*10 + int(digit-'0')
		}
		return err == nil
	})
	if err := errors.Join(c.Terminate(), c.Terminate()); err != nil {
		t.Fatal(err)
	}
	await(t, "the process to say so", func() bool { return strings.Contains(log(t, c), "asked") })
	if _, exited := c.ExitCode(); exited || !c.Asked() || c.Killed() {
		t.Errorf("exited %t, asked %t, killed %t after SIGTERM", exited, c.Asked(), c.Killed())
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if code := finished(t, c); code != 137 || strings.Count(log(t, c), "asked") != 1 {
		t.Errorf("exit status %d, and the log %q; want 137 and one SIGTERM", code, log(t, c))
	}
	await(t, "the child to die", func() bool { return !alive(child) })
}

// alive tells whether a process runs; one that nobody has reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestAddresses(t *testing.T) {
	r := newRuntime(t, issuer{})
	seen := map[string]bool{}
	for i := range 500 {
		ip := r.address(types.UID(strconv.Itoa(i % 7))) // equal ones collide
		if seen[ip] || !strings.HasPrefix(ip, "127.") || ip == "127.0.0.1" {
			t.Fatalf("address %s is given twice, or not a pod's", ip)
		}
		seen[ip] = true
	}
}

func TestClosedStartsNothing(t *testing.T) {
	r := newRuntime(t, issuer{})
	c := start(t, r, script("long", "sleep 600"))
	r.Close()
	if code := finished(t, c); code != 137 {
		t.Errorf("exit status %d of a process whose runtime was closed", code)
	}
	if _, err := r.Start(t.Context(), script("late", "exit 0")); err == nil {
		t.Error("a closed runtime started a process")
	}
}
