// Package kubelet asks a node's kubelet which pods hold which GPUs and slices.
//
// It promises that an answer is the kubelet's of now, that one which is there is asked,
// however long it was away, and refuses to answer without one: what the kubelet does not
// say is unknown, and not free.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Socket is where the kubelet answers.
const Socket = "/var/lib/kubelet/pod-resources/kubelet.sock"

// timeout of one call: the kubelet has the answer in memory.
const timeout = 5 * time.Second

// maxAnswer is as large as the kubelet's own limit.
const maxAnswer = 16 << 20

// PodResources is the kubelet's API of that name.
type PodResources struct {
	socket string

	mu         sync.Mutex
	connection *grpc.ClientConn
}

// Open prepares to ask at a socket. Nothing is asked yet.
func Open(socket string) (*PodResources, error) {
	connection, err := dial(socket)
	if err != nil {
		return nil, err
	}
	return &PodResources{socket: socket, connection: connection}, nil
}

func dial(socket string) (*grpc.ClientConn, error) {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("prepare to ask the kubelet at %s: %w", socket, err)
	}
	return connection, nil
}

// Close ends the connection.
func (p *PodResources) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connection.Close()
}

// list asks the kubelet. A connection that has failed is given up: it would not look for a
// kubelet again before up to two minutes were over.
func (p *PodResources) list(ctx context.Context) (*podresources.ListPodResourcesResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, err := podresources.NewPodResourcesListerClient(p.connection).List(ctx, &podresources.ListPodResourcesRequest{})
	if err == nil {
		return answer, nil
	}
	err = fmt.Errorf("ask the kubelet for the pods' devices: %w", err)
	fresh, failed := dial(p.socket)
	if failed != nil {
		return nil, errors.Join(err, failed)
	}
	_ = p.connection.Close() // there is nothing on it
	p.connection = fresh
	return nil, err
}

// Holders returns which pod was handed which of NVIDIA's devices, by the device's ID,
// which is its UUID, and by the UUID too where a device is shared.
func (p *PodResources) Holders(ctx context.Context) (map[string]v1alpha1.GPUHolder, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string]v1alpha1.GPUHolder{}
	for _, pod := range answer.GetPodResources() {
		for _, c := range pod.GetContainers() {
			for _, d := range c.GetDevices() {
				if !strings.HasPrefix(d.GetResourceName(), "nvidia.com/") {
					continue
				}
				for _, id := range d.GetDeviceIds() {
					// A device that is shared has a number behind its UUID, and counts for each.
					uuid, _, _ := strings.Cut(id, "::")
					holder := v1alpha1.GPUHolder{Namespace: pod.GetNamespace(), Name: pod.GetName()}
					held[uuid], held[id] = holder, holder
				}
			}
		}
	}
	return held, nil
}
