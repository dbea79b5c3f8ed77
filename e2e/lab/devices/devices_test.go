package devices

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	oneG  corev1.ResourceName = "nvidia.com/mig-1g.5gb"
	fourG corev1.ResourceName = "nvidia.com/mig-4g.20gb"
	card                      = "GPU-1"
)

// newTestNode is a node with a card of seven, whose plugin runs.
func newTestNode(t *testing.T, contrary bool) (*Node, *simgpu.Sim, *fake.Clientset) {
	t.Helper()
	board, _ := mig.Board("A100-40GB")
	var layout []mig.Placed
	for start := range 7 {
		layout = append(layout, mig.Placed{Start: start})
	}
	sim, err := simgpu.Create(t.TempDir(), []simgpu.Card{{Geometry: board, UUID: card, Layout: layout}}, simgpu.WithSleep(func(time.Duration) {}))
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	n := NewNode(Options{Name: "n", Cards: sim, Client: client, Gap: time.Millisecond, Contrary: contrary})
	if err := n.Enumerate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n, sim, client
}

func slicePod(name string, resourceName corev1.ResourceName, count int64, wish string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: name, UID: types.UID(name), Annotations: map[string]string{v1alpha1.AnnotationInstances: wish},
		},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{resourceName: *resource.NewQuantity(count, resource.DecimalSI)},
		}}}},
	}
}

func place(start int) string { return fmt.Sprintf("%s/1g.5gb@%d#1", card, start) }

func starts(n *Node, pod string) []int {
	var all []int
	for _, d := range n.Holding()[pod] {
		all = append(all, d.Start)
	}
	return all
}

func TestPodsGetWhatWasWrittenDown(t *testing.T) {
	n, sim, _ := newTestNode(t, false)
	for _, pod := range []*corev1.Pod{slicePod("x", oneG, 1, place(5)), slicePod("y", oneG, 2, place(6)+","+place(3)), slicePod("z", oneG, 1, "")} {
		if err := n.Admit(pod); err != nil {
			t.Fatal(err)
		}
		if err := n.Admit(pod); err != nil { // it has them
			t.Fatal(err)
		}
	}
	got := map[string][]int{"x": starts(n, "a/x"), "y": starts(n, "a/y"), "z": starts(n, "a/z")}
	if diff := cmp.Diff(map[string][]int{"x": {5}, "y": {3, 6}, "z": {0}}, got); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
	wantProcesses(t, sim, 0, 3, 5, 6)
	if err := n.Release("y"); err != nil {
		t.Fatal(err)
	}
	wantProcesses(t, sim, 0, 5)
	if err := n.Admit(slicePod("w", oneG, 6, "")); !errors.Is(err, kubelet.ErrNoDevice) {
		t.Errorf("six of the five that are free: %v, want %v", err, kubelet.ErrNoDevice)
	}
}

func TestAContraryKubeletTakesAnother(t *testing.T) {
	n, _, _ := newTestNode(t, true)
	if err := n.Admit(slicePod("x", oneG, 1, place(0))); err != nil {
		t.Fatal(err)
	}
	if got := starts(n, "a/x"); len(got) != 1 || got[0] == 0 {
		t.Errorf("the pod was written down for 0 and got %v, want another", got)
	}
}

// wantProcesses checks on which slices there is a process.
func wantProcesses(t *testing.T, sim *simgpu.Sim, want ...int) {
	t.Helper()
	gpus, err := sim.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, i := range gpus[0].Instances {
		if len(i.Processes) > 0 {
			got = append(got, i.Start)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slices with a process (-want +got):\n%s", diff)
	}
}

// A changed layout is advertised by a restart and not before; what has gone keeps its key.
func TestRestartAdvertises(t *testing.T) {
	n, sim, client := newTestNode(t, false)
	for start := range 4 {
		if err := sim.Destroy(t.Context(), card, mig.Placed{Start: start}, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sim.Create(t.Context(), card, mig.Placed{Profile: 3}); err != nil {
		t.Fatal(err)
	}
	stale := slicePod("stale", oneG, 1, place(0))
	if err := n.Admit(stale); err == nil || errors.Is(err, kubelet.ErrNoDevice) || n.FailedStarts() != 1 {
		t.Errorf("a container on an instance that is gone: %v, %d failed starts; want one that is tried again", err, n.FailedStarts())
	}
	if err := n.Release("stale"); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[corev1.ResourceName]int64{oneG: 3, fourG: 1}
	if diff := cmp.Diff(want, n.Counts()); diff != "" {
		t.Errorf("advertised (-want +got):\n%s", diff)
	}
	node, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, count := range want {
		if have := node.Status.Allocatable[name]; have.Value() != count {
			t.Errorf("the node has %d of %s, want %d", have.Value(), name, count)
		}
	}
	if err := sim.Destroy(t.Context(), card, mig.Placed{Profile: 3}, -1); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[corev1.ResourceName]int64{oneG: 3, fourG: 0}, n.Counts()); diff != "" {
		t.Errorf("advertised (-want +got):\n%s", diff)
	}
}

func TestRebootFailsPods(t *testing.T) {
	n, sim, client := newTestNode(t, false)
	pod := slicePod("x", oneG, 1, "")
	if _, err := client.CoreV1().Pods("a").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.Admit(pod); err != nil {
		t.Fatal(err)
	}
	if err := sim.Reboot(); err != nil {
		t.Fatal(err)
	}
	if err := n.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, err := client.CoreV1().Pods("a").Get(t.Context(), "x", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if now.Status.Phase != corev1.PodFailed || now.Status.Reason != "UnexpectedAdmissionError" || len(n.Holding()) != 0 || n.Counts()[oneG] != 0 {
		t.Errorf("after the reboot the pod is %s (%s), %v is held and %v advertised; want it failed and nothing there",
			now.Status.Phase, now.Status.Reason, n.Holding(), n.Counts())
	}
}

func TestServe(t *testing.T) {
	n, _, _ := newTestNode(t, false)
	if err := n.Admit(slicePod("x", oneG, 1, place(5))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	kubeletSocket, pluginSocket := filepath.Join(dir, "k"), filepath.Join(dir, "p")
	wait, err := n.Serve(ctx, kubeletSocket, pluginSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); wait() }()
	connection, err := grpc.NewClient("unix:"+kubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	list, err := podresources.NewPodResourcesListerClient(connection).List(t.Context(), &podresources.ListPodResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.PodResources) != 1 || list.PodResources[0].Name != "x" || len(list.PodResources[0].Containers[0].Devices[0].DeviceIds) != 1 {
		t.Errorf("the kubelet says %v, want pod x with a device", list.PodResources)
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", pluginSocket)
	}}}
	defer web.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://plugin/restart", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a restart of the plugin: %s, want 200", answer.Status)
	}
}
