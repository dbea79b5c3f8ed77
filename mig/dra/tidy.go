package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/ebbtide/ebbtide/mig/device"
)

// tidyEvery is how often the checkpoint is compared with the API server, and tidySoon
// after how long again where something could not be decided or done. askMost is how long the
// API server may take to answer while the kubelet waits for it.
const (
	tidyEvery = 3 * time.Minute
	tidySoon  = 15 * time.Second
	askMost   = 5 * time.Second
)

// keepTidy tidies at once and then now and again, until ctx ends.
func (n *Node) keepTidy(ctx context.Context, cluster Cluster, log logr.Logger) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := tidyEvery
		if err := n.tidy(ctx, cluster, log); err != nil && ctx.Err() == nil {
			log.Info("Claims could not be compared with the API server, or not be let go", "reason", err.Error())
			next = tidySoon
		}
		timer.Reset(next)
	}
}

// tidy lets go of the claims that are over and of which the kubelet has not said so: it
// does not if it has lost its own checkpoint, or the driver was away when the claim was
// removed by force. What the API server does not answer is kept, and so is what a pod on
// the node or a process still uses.
func (n *Node) tidy(ctx context.Context, cluster Cluster, log logr.Logger) error {
	var errs []error
	for _, c := range n.copies() {
		why, err := n.over(ctx, cluster, c)
		if err == nil && why != "" {
			err = n.letGoOf(ctx, cluster, c, log)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// letGoOf asks once more while nothing can be prepared: a claim that was over may have
// been reserved again, and prepared, since it was asked for.
func (n *Node) letGoOf(ctx context.Context, cluster Cluster, c *Claim, log logr.Logger) error {
	n.calls.Lock()
	defer n.calls.Unlock()
	asking, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	why, err := n.over(asking, cluster, c)
	if err != nil || why == "" {
		return err
	}
	if err := n.unprepare(ctx, c.UID); err != nil {
		return err
	}
	log.Info("Let go of a claim that the kubelet did not", "claim", c.Namespace+"/"+c.Name, "uid", c.UID, "why", why)
	return nil
}

// over says why a claim of the checkpoint is over; empty: it is not. An error means that
// it is not known.
func (n *Node) over(ctx context.Context, cluster Cluster, c *Claim) (string, error) {
	claim, err := cluster.Claim(ctx, c.Namespace, c.Name)
	if err != nil {
		return "", err
	}
	why := n.whyOver(c, claim)
	if why == "" {
		return "", nil
	}
	pods, err := cluster.Pods(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range c.Pods {
		if slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return pod.UID == p.UID }) {
			return "", nil // its containers have the devices, whatever became of the claim
		}
	}
	return why, n.wholeIdle(c)
}

func (n *Node) whyOver(c *Claim, claim *resourcev1.ResourceClaim) string {
	switch {
	case claim == nil:
		return "it is gone"
	case claim.UID != c.UID:
		return "another has its name"
	case !slices.ContainsFunc(results(claim), n.here):
		return "it is not allocated on this node any more"
	case len(claim.Status.ReservedFor) == 0:
		return "it is reserved for nobody"
	}
	return ""
}

// wholeIdle says why GPUs that a claim has whole cannot be let go. Instances are looked at
// when they are destroyed.
func (n *Node) wholeIdle(c *Claim) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range c.Devices {
		if d.At != nil {
			continue
		}
		switch g, seen := n.gpus[d.GPU]; {
		case !seen || !g.Healthy:
			return fmt.Errorf("GPU %s: %w", d.GPU, device.ErrLost)
		case g.MIG: // nothing can be on the whole of it
		case g.Processes == nil || n.stale: // also where the last that was read is old
			return fmt.Errorf("the processes on GPU %s are not known", d.GPU)
		case *g.Processes > 0:
			return fmt.Errorf("GPU %s has processes: %w", d.GPU, device.ErrInUse)
		}
	}
	return nil
}

// copies are all claims of the checkpoint.
func (n *Node) copies() []*Claim {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*Claim
	for _, c := range n.state.sorted() {
		out = append(out, c.clone())
	}
	return out
}

// results are the devices that a claim was given, of all drivers.
func results(claim *resourcev1.ResourceClaim) []resourcev1.DeviceRequestAllocationResult {
	if claim == nil || claim.Status.Allocation == nil {
		return nil
	}
	return claim.Status.Allocation.Devices.Results
}

// here reports whether a device is one of this node's.
func (n *Node) here(r resourcev1.DeviceRequestAllocationResult) bool {
	return r.Driver == Driver && r.Pool == n.options.Node
}
