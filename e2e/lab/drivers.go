package lab

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/go-logr/logr/funcr"

	"github.com/ebbtide/ebbtide/e2e/lab/claims"
	"github.com/ebbtide/ebbtide/mig/dra"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// Driver is a node's agent as the DRA driver of its cards, and what plays its kubelet's
// part towards it.
type Driver struct {
	// Agent is the program. Its state is in the folder of its part, and outlasts it.
	Agent *Part
	// Kubelet has claims prepared and let go.
	Kubelet *claims.Kubelet
	// State is the folder of the agent's journal and the driver's checkpoint, CDI that of
	// what the container runtime is told.
	State, CDI string

	cards *simgpu.Sim
}

// StartDriver gives a node that has no cards yet some that are allocated by claims, and
// starts their driver. There is no device plugin, and Gap and Contrary say nothing. It
// returns when the agent has published the node; its devices follow.
func (l *Lab) StartDriver(ctx context.Context, node string, c Cards, p Program) (*Driver, error) {
	sim, err := l.createCards(node, c)
	if err != nil {
		return nil, err
	}
	p.Name = AgentOf(node)
	d := &Driver{CDI: l.folder.Join("cdi", node), cards: sim}
	sockets := l.folder.Join("sockets", node)
	for _, folder := range []string{d.CDI, sockets} {
		if err := makeFolder(folder); err != nil {
			return nil, err
		}
	}
	kind := agents
	kind.kubeconfig = func(ctx context.Context) (string, error) { return l.nodeKubeconfig(ctx, kind.account, node) }
	kind.command = func(l *Lab, _ Program, e Env) ([]string, error) {
		d.State = e.Dir
		return []string{
			"--node=" + node, "--kubeconfig=" + e.Kubeconfig, "--state-dir=" + e.Dir, "--listen=" + e.Addr,
			"--gpus=" + l.cardsFolder(node), "--allocation=DynamicResources", "--cdi=" + d.CDI, "--sockets=" + sockets,
		}, nil
	}
	if d.Agent, err = l.startProgram(ctx, kind, p); err != nil {
		return nil, err
	}
	return d, l.serveClaims(d, node, sockets)
}

// serveClaims plays the node's kubelet until the lab stops.
func (l *Lab) serveClaims(d *Driver, node, sockets string) error {
	log, err := os.Create(l.folder.Join("logs", "claims-"+node+".log"))
	if err != nil {
		return fmt.Errorf("open the log of the claims of node %s: %w", node, err)
	}
	d.Kubelet = &claims.Kubelet{
		Client: l.client, Node: node, Driver: dra.Driver, Socket: sockets + "/dra.sock",
		Log: funcr.New(func(prefix, args string) { fmt.Fprintln(log, prefix, args) }, funcr.Options{LogTimestamp: true}),
	}
	ctx := l.untilStopped()
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = d.Kubelet.Run(ctx) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = append(l.served, func() {
		running.Wait()
		if ended != nil {
			fmt.Fprintln(log, ended)
		}
		_ = log.Close() // it is only read by people
	})
	return nil
}

// Reboot does to the node what a reboot does to it: the agent, all instances and what was
// on them are gone, and the container runtime's devices with them. MIG mode is on again, as
// it is on boards where it outlasts a reboot. Pods that have not ended are still the node's:
// the kubelet starts their containers again, and asks for their claims before.
func (d *Driver) Reboot(ctx context.Context) error {
	if err := d.Agent.Kill(); err != nil {
		return err
	}
	if err := d.cards.Reboot(); err != nil {
		return err
	}
	left, err := os.ReadDir(d.CDI)
	if err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	for _, file := range left { // /var/run is in memory
		if err := os.Remove(d.CDI + "/" + file.Name()); err != nil {
			return fmt.Errorf("reboot: %w", err)
		}
	}
	d.Kubelet.Reboot()
	return d.Agent.Restart(ctx)
}
