// Command lab-agent is Ebbtide's agent on a simulated node: the agent itself, on GPUs that
// are simulated, beside a kubelet and a device plugin that are played by the lab.
//
// With --allocation=DynamicResources it is the node's DRA driver instead, and there is no
// device plugin.
//
// Two files in its state folder make things happen. "failpoint" names a step of
// agent.Failpoints or dra.Failpoints, and how often it passes before: there the program kills itself, once.
// "doctor" holds the reason why the node is not lendable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/agent/kubelet"
	"github.com/ebbtide/ebbtide/mig/dra"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// options are the command line.
type options struct {
	node, kubeconfig, state, listen string
	gpus, kubelet, plugin           string
	allocation, cdi, sockets        string
	interval                        time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.node, "node", "", "name of the node")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "credentials")
	flag.StringVar(&o.state, "state-dir", "", "folder of the journal")
	flag.StringVar(&o.listen, "listen", "", "address of /readyz")
	flag.StringVar(&o.gpus, "gpus", "", "folder of the simulated GPUs")
	flag.StringVar(&o.kubelet, "kubelet", "", "socket of the kubelet")
	flag.StringVar(&o.plugin, "plugin", "", "socket of the device plugin")
	flag.StringVar(&o.allocation, "allocation", string(v1alpha1.AllocationDevicePlugin), "who hands slices to pods")
	flag.StringVar(&o.cdi, "cdi", "", "folder of the container runtime's devices, with DynamicResources")
	flag.StringVar(&o.sockets, "sockets", "", "folder where the driver and the kubelet meet, with DynamicResources")
	flag.DurationVar(&o.interval, "interval", 300*time.Millisecond, "between two rounds")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "lab-agent:", err)
		os.Exit(1)
	}
}

// run runs the agent until ctx ends.
func run(ctx context.Context, o options) (err error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the credentials: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	cards, err := simgpu.Open(o.gpus, simgpu.WithName("agent"))
	if err != nil {
		return err
	}
	node, err := kube.NewNode(config, o.node)
	if err != nil {
		return err
	}
	watching, err := node.Start(ctx)
	if err != nil {
		return err
	}
	ready := &readiness{Nodes: node}
	parts := agent.Options{
		Node: o.node, StateDir: o.state, Driver: cards, Nodes: ready, Allocation: v1alpha1.Allocation(o.allocation),
		Rival: node, Examiner: doctor{o.state}, Interval: o.interval,
		Log: funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) },
			funcr.Options{LogTimestamp: true, Verbosity: 1}),
		Failpoint: failpoint(o.state),
	}
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
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return <-watching })
	group.Go(func() error { return serve(logr.NewContext(ctx, parts.Log), a) })
	group.Go(func() error { return a.Run(ctx) })
	group.Go(func() error { return ready.serve(ctx, o.listen) })
	return group.Wait()
}

// allocate fills in who hands slices to pods. serve runs beside the agent.
func allocate(o options, config *rest.Config, node *kube.Node, parts *agent.Options) (serve func(context.Context, *agent.Agent) error, done func() error, err error) {
	if parts.Allocation == v1alpha1.AllocationDevicePlugin {
		resources, err := kubelet.Open(o.kubelet)
		if err != nil {
			return nil, nil, err
		}
		parts.Holders, parts.Advertiser = kube.Holders{Node: node, Devices: resources, Plugin: true}, newPlugin(o.plugin)
		return func(context.Context, *agent.Agent) error { return nil }, resources.Close, nil
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client: %w", err)
	}
	claims, err := dra.New(dra.Options{Node: o.node, Dir: o.state, CDI: o.cdi, Failpoint: parts.Failpoint})
	if err != nil {
		return nil, nil, err
	}
	parts.Holders = kube.Holders{Node: node, Devices: dra.Holders{Node: claims, Cluster: node}}
	parts.Nodes, parts.Advertiser = claims.Observed(parts.Nodes), kube.Silent{}
	return func(ctx context.Context, a *agent.Agent) error {
		return claims.Serve(ctx, client, node, a, dra.Kubelet{Plugins: o.sockets, Registry: o.sockets})
	}, func() error { return nil }, nil
}

// readiness is whether anything was published.
type readiness struct {
	agent.Nodes
	published atomic.Bool
}

// Publish notes that the agent has come round.
func (r *readiness) Publish(ctx context.Context, status v1alpha1.GPUNodeStatus) error {
	err := r.Nodes.Publish(ctx, status)
	if err == nil {
		r.published.Store(true)
	}
	return err
}

// serve answers at /readyz until ctx ends.
func (r *readiness) serve(ctx context.Context, address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !r.published.Load() {
			http.Error(w, "nothing was published", http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", address, err)
	}
	return nil
}
