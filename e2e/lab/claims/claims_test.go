package claims

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	"k8s.io/utils/ptr"
)

// A reboot falls between two looks: none goes by pods that were read before it.
func TestALookIsOfOneTime(t *testing.T) {
	client, reads := fake.NewClientset(), 0
	k := &Kubelet{Client: client, Node: "node", Log: logr.Discard()}
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		reads++
		if k.mu.TryLock() {
			k.mu.Unlock()
			t.Error("a reboot may come while pods are read")
		}
		return false, nil, nil
	})
	if err := k.look(t.Context(), nil); err != nil || reads != 1 {
		t.Errorf("pods were read %d times (%v)", reads, err)
	}
}

// driver writes down what it is asked.
type driver struct {
	drapb.UnimplementedDRAPluginServer
	mu    sync.Mutex
	calls []string
	told  chan struct{}
}

func (d *driver) note(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, call)
	select {
	case d.told <- struct{}{}:
	default:
	}
}

func (d *driver) NodePrepareResources(_ context.Context, r *drapb.NodePrepareResourcesRequest) (*drapb.NodePrepareResourcesResponse, error) {
	out := &drapb.NodePrepareResourcesResponse{Claims: map[string]*drapb.NodePrepareResourceResponse{}}
	for _, c := range r.Claims {
		d.note("prepare " + c.Name)
		out.Claims[c.Uid] = &drapb.NodePrepareResourceResponse{}
	}
	return out, nil
}

func (d *driver) NodeUnprepareResources(_ context.Context, r *drapb.NodeUnprepareResourcesRequest) (*drapb.NodeUnprepareResourcesResponse, error) {
	out := &drapb.NodeUnprepareResourcesResponse{Claims: map[string]*drapb.NodeUnprepareResourceResponse{}}
	for _, c := range r.Claims {
		d.note("let go " + c.Name)
		out.Claims[c.Uid] = &drapb.NodeUnprepareResourceResponse{}
	}
	return out, nil
}

// await waits until the driver was asked exactly this.
func (d *driver) await(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		d.mu.Lock()
		got := slices.Clone(d.calls)
		d.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-d.told:
		case <-deadline:
			t.Fatalf("the driver was asked (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

func serve(t *testing.T) (*driver, string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "claims-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "dra.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{told: make(chan struct{}, 1)}
	server := grpc.NewServer()
	drapb.RegisterDRAPluginServer(server, d)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return d, socket
}

func podAndClaim(name string) (*corev1.Pod, *resourcev1.ResourceClaim) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: "pod-1"}}
	pod.Spec.NodeName, pod.Spec.ResourceClaims = "node", []corev1.PodResourceClaim{{ResourceClaimName: ptr.To(name)}}
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: "claim-1"}}
	claim.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: name, UID: "pod-1"}}
	claim.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Driver: "driver", Pool: "node", Device: "gpu-0"}},
	}}
	return pod, claim
}

// After a reboot the claims of pods that are still on the node are prepared again, and
// those of others let go: the kubelet knows them from its checkpoint.
func TestReboot(t *testing.T) {
	d, socket := serve(t)
	pod, claim := podAndClaim("a")
	client := fake.NewClientset(pod, claim)
	k := &Kubelet{Client: client, Node: "node", Driver: "driver", Socket: socket, Log: logr.Discard()}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	d.await(t, "prepare a")
	if got := k.Prepared(); !slices.Equal(got, []string{"team/a"}) {
		t.Errorf("prepared %v", got)
	}
	k.Reboot()
	d.await(t, "prepare a", "prepare a")
	pod.Status.Phase = corev1.PodFailed
	if _, err := client.CoreV1().Pods("team").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	k.Reboot() // what was prepared before it is let go, whatever came of it
	d.await(t, "prepare a", "prepare a", "let go a")
}
