package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/dcgm"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/agent/kubelet"
	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/dra"
)

type options struct {
	node, kubeconfig, stateDir, allocation, kubelet, prometheus string

	plugins  []string
	interval time.Duration
	listen   listenOptions
	doctor   doctorOptions
}

func (o options) check() error {
	switch {
	case o.node == "":
		return errors.New("--node: a name is needed, or $NODE_NAME")
	case o.allocation != string(v1alpha1.AllocationDevicePlugin) && o.allocation != string(v1alpha1.AllocationDynamicResources):
		return fmt.Errorf("--allocation: %q is neither %s nor %s", o.allocation, v1alpha1.AllocationDevicePlugin, v1alpha1.AllocationDynamicResources)
	case o.interval < 100*time.Millisecond || o.interval > 30*time.Second:
		return fmt.Errorf("--interval: %s is not from 100ms to 30s", o.interval)
	}
	return errors.Join(o.listen.check(), o.doctor.check())
}

// cdiDir is where container runtimes look for devices.
const cdiDir = "/var/run/cdi"

// run runs the agent until ctx ends.
func run(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	config, err := loadKubeconfig(o.kubeconfig)
	if err != nil {
		return err
	}
	log := klog.Background().WithValues("node", o.node)
	ctx = klog.NewContext(ctx, log)
	node, err := kube.NewNode(config, o.node)
	if err != nil {
		return err
	}
	driver := &lazyDriver{}
	defer func() { err = errors.Join(err, driver.Close()) }()
	parts, err := assemble(o, node, driver, log)
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	parts.Examiner, parts.Metrics = o.doctor.examiner(driver, node), metrics
	group, ctx := errgroup.WithContext(ctx)
	watching, err := node.Start(ctx)
	if err != nil {
		return err
	}
	group.Go(func() error { return <-watching })
	serve, done, err := allocate(o, config, node, &parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	a, err := agent.New(parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if serve != nil {
		group.Go(func() error { return serve(ctx, a) })
	}
	if o.listen.address != "" {
		group.Go(func() error { return o.listen.serve(ctx, config, metrics, a.Published) })
	}
	group.Go(func() error { return a.Run(ctx) })
	return group.Wait()
}

// cluster is what the agent sees of the cluster, whoever hands slices to pods.
type cluster interface {
	agent.Nodes
	agent.Rival
}

// assemble puts together what the agent is made of. Who hands slices to pods, who examines
// the node and where metrics go is not in it.
func assemble(o options, node cluster, driver device.Driver, log klog.Logger) (agent.Options, error) {
	parts := agent.Options{
		Node: o.node, StateDir: o.stateDir, Driver: driver, Nodes: node, Rival: node,
		Allocation: v1alpha1.Allocation(o.allocation), Interval: o.interval, Log: log, Know: compareBoard(log),
	}
	if o.prometheus == "" {
		return parts, nil
	}
	var err error
	parts.Activities, err = dcgm.New(o.prometheus)
	return parts, err
}

// allocate fills in who hands slices to pods. serve, if any, runs beside the agent.
func allocate(o options, config *rest.Config, node *kube.Node, parts *agent.Options) (serve func(context.Context, *agent.Agent) error, done func() error, err error) {
	done = func() error { return nil }
	if parts.Allocation == v1alpha1.AllocationDevicePlugin {
		resources, err := kubelet.Open(o.kubelet)
		if err != nil {
			return nil, nil, err
		}
		parts.Holders = kube.Holders{Node: node, Devices: resources, Plugin: true}
		parts.Advertiser, err = kube.NewDevicePlugin(node, o.plugins...)
		return nil, resources.Close, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	for _, folder := range []string{o.stateDir, cdiDir} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, nil, fmt.Errorf("make %s: %w", folder, err)
		}
	}
	claims, err := dra.New(dra.Options{Node: o.node, Dir: o.stateDir, CDI: cdiDir})
	if err != nil {
		return nil, nil, err
	}
	parts.Holders = kube.Holders{Node: node, Devices: dra.Holders{Node: claims, Cluster: node}}
	parts.Nodes, parts.Advertiser = claims.Observed(node), kube.Silent{}
	return func(ctx context.Context, a *agent.Agent) error {
		return claims.Serve(ctx, client, node, a, dra.Kubelet{})
	}, done, nil
}

// compareBoard logs where a driver says otherwise than the list of boards. The driver
// counts.
func compareBoard(log klog.Logger) func(device.GPU) {
	return func(g device.GPU) {
		listed, ok := mig.BoardFor(g.PCIDevice)
		if !ok {
			log.Info("The GPU's board is not among the known ones: its driver's word counts", "gpu", g.UUID, "pciDevice", g.PCIDevice)
			return
		}
		if lines := mig.Difference(*g.Geometry, listed); len(lines) > 0 {
			log.Info("The driver says otherwise than the list of boards, and counts", "gpu", g.UUID, "board", listed.Board, "differences", strings.Join(lines, "; "))
		}
	}
}

func loadKubeconfig(path string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	return c, nil
}
