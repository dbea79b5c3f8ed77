package devices

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// Serve answers until ctx ends on two Unix sockets: kubelet speaks the kubelet's
// PodResources service, and a POST to /restart on plugin restarts the plugin. It returns
// when both listen; the returned function waits for their end.
func (n *Node) Serve(ctx context.Context, kubelet, plugin string) (wait func(), err error) {
	var listen net.ListenConfig
	pods, err := listen.Listen(ctx, "unix", kubelet)
	if err != nil {
		return nil, fmt.Errorf("serve pod resources of node %s: %w", n.Name, err)
	}
	restarts, err := listen.Listen(ctx, "unix", plugin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve the plugin of node %s: %w", n.Name, err), pods.Close())
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, lister{node: n})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, r *http.Request) {
		// One that was begun goes on when who asked for it has died.
		if err := n.Restart(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
		_ = r.Body.Close()
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute} // a busy machine may need some time
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(pods) })
	group.Go(func() { _ = web.Serve(restarts) })
	group.Go(func() {
		<-ctx.Done()
		server.Stop()
		_ = web.Close()
	})
	return group.Wait, nil
}

// lister is the kubelet's PodResources service.
type lister struct {
	podresources.UnimplementedPodResourcesListerServer
	node *Node
}

// List lists the pods that have devices.
func (l lister) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	n := l.node
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := &podresources.ListPodResourcesResponse{}
	for _, h := range n.pods {
		byResource := map[string][]string{}
		for _, d := range h.devices {
			byResource[string(d.Resource)] = append(byResource[string(d.Resource)], d.ID)
		}
		c := &podresources.ContainerResources{Name: h.container}
		for resource, ids := range byResource {
			c.Devices = append(c.Devices, &podresources.ContainerDevices{ResourceName: resource, DeviceIds: ids})
		}
		answer.PodResources = append(answer.PodResources, &podresources.PodResources{
			Namespace: h.namespace, Name: h.name, Containers: []*podresources.ContainerResources{c},
		})
	}
	slices.SortFunc(answer.PodResources, func(a, b *podresources.PodResources) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return answer, nil
}

// GetAllocatableResources lists what the plugin advertises.
func (l lister) GetAllocatableResources(context.Context, *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	n := l.node
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := &podresources.AllocatableResourcesResponse{}
	for _, d := range n.devices {
		answer.Devices = append(answer.Devices, &podresources.ContainerDevices{ResourceName: string(d.Resource), DeviceIds: []string{d.ID}})
	}
	return answer, nil
}
