package kubelet_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent/kubelet"
)

// stub is a kubelet.
type stub struct {
	podresources.UnimplementedPodResourcesListerServer
}

func (stub) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	devices := func(resource string, ids ...string) []*podresources.ContainerDevices {
		return []*podresources.ContainerDevices{{ResourceName: resource, DeviceIds: ids}}
	}
	return &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{
		{Namespace: "serving", Name: "chat-0", Containers: []*podresources.ContainerResources{
			{Name: "engine", Devices: devices("nvidia.com/mig-1g.5gb", "MIG-1")},
			{Name: "side", Devices: devices("example.com/nic", "eth1")},
		}},
		{Namespace: "train", Name: "job-0", Containers: []*podresources.ContainerResources{
			{Name: "main", Devices: devices("nvidia.com/gpu", "GPU-1", "GPU-2::3")},
		}},
		{Namespace: "kube-system", Name: "dns"},
	}}, nil
}

func TestHolders(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "kubelet.sock")
	resources, err := kubelet.Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer resources.Close()
	for range 2 {
		if _, err := resources.Holders(t.Context()); err == nil {
			t.Fatal("without a kubelet it is known who holds what")
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, stub{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	// A kubelet that is there is asked at once, however long it was away.
	held, err := resources.Holders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]v1alpha1.GPUHolder{
		"MIG-1": {Namespace: "serving", Name: "chat-0"},
		"GPU-1": {Namespace: "train", Name: "job-0"}, "GPU-2": {Namespace: "train", Name: "job-0"}, "GPU-2::3": {Namespace: "train", Name: "job-0"},
	}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
}
