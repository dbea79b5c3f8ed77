package dra

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/ebbtide/ebbtide/mig/dra/pool"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
)

// Kubelet is where the node's kubelet and the driver meet. Both folders are made if they
// are missing.
type Kubelet struct {
	// Plugins is the driver's own folder, with its socket: kubeletplugin.KubeletPluginsDir
	// and the driver's name, if empty.
	Plugins string
	// Registry is where the kubelet looks for drivers: kubeletplugin.KubeletRegistryDir if
	// empty.
	Registry string
}

// plugin answers the kubelet.
type plugin struct {
	node *Node
	log  klog.Logger
}

// Serve publishes the node's devices, once something was observed, and answers its
// kubelet, for whom maker makes instances, until ctx ends. What claims of which the
// cluster knows nothing any more have left is let go meanwhile. Devices stay published
// after that: an agent that is replaced takes nothing away.
func (n *Node) Serve(ctx context.Context, client kubernetes.Interface, cluster Cluster, maker Maker, k Kubelet) error {
	if k.Plugins == "" {
		k.Plugins = kubeletplugin.KubeletPluginsDir + "/" + Driver
	}
	if k.Registry == "" {
		k.Registry = kubeletplugin.KubeletRegistryDir
	}
	for _, folder := range []string{k.Plugins, k.Registry} {
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return fmt.Errorf("serve the kubelet: %w", err)
		}
	}
	n.mu.Lock()
	n.maker = maker
	n.mu.Unlock()
	log := klog.FromContext(ctx).WithName("dra")
	helper, err := kubeletplugin.Start(ctx, &plugin{node: n, log: log},
		kubeletplugin.DriverName(Driver), kubeletplugin.NodeName(n.options.Node), kubeletplugin.KubeClient(client),
		kubeletplugin.PluginDataDirectoryPath(k.Plugins), kubeletplugin.RegistrarDirectoryPath(k.Registry))
	if err != nil {
		return fmt.Errorf("serve the kubelet: %w", err)
	}
	defer helper.Stop()
	ctx, cancel := context.WithCancel(ctx)
	var tidying sync.WaitGroup
	tidying.Go(func() { n.keepTidy(ctx, cluster, log) })
	defer tidying.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed:
		}
		if err := helper.PublishResources(ctx, pool.Resources(n.options.Node, n.Published())); err != nil {
			return fmt.Errorf("publish the node's devices: %w", err)
		}
	}
}

// PrepareResourceClaims implements kubeletplugin.DRAPlugin.
func (p *plugin) PrepareResourceClaims(ctx context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	out := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		c, err := p.node.Prepare(ctx, claim)
		if err != nil {
			out[claim.UID] = kubeletplugin.PrepareResult{Err: err}
			continue
		}
		var result kubeletplugin.PrepareResult
		for i := range c.Devices {
			d := &c.Devices[i]
			result.Devices = append(result.Devices, kubeletplugin.Device{
				Requests: []string{d.Request}, PoolName: p.node.options.Node, DeviceName: d.Device, CDIDeviceIDs: []string{c.CDIDevice(d)},
			})
		}
		out[claim.UID] = result
	}
	return out, nil
}

// UnprepareResourceClaims implements kubeletplugin.DRAPlugin.
func (p *plugin) UnprepareResourceClaims(ctx context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	out := map[types.UID]error{}
	for _, claim := range claims {
		out[claim.UID] = p.node.Unprepare(ctx, claim.UID)
	}
	return out, nil
}

// HandleError implements kubeletplugin.DRAPlugin: what fails in the background is tried
// again there.
func (p *plugin) HandleError(_ context.Context, err error, msg string) {
	p.log.Error(err, "The driver's background work met an error", "what", msg)
}
