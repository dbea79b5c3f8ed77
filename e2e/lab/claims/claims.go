// Package claims plays the part of a node's kubelet towards the node's DRA drivers: it
// has claims prepared for the pods on the node, and let go after them.
//
// It promises the kubelet's own protocol, so that a driver cannot tell the difference:
// the same calls over the same socket, again after each failure, and only for claims that
// are allocated and reserved for a pod on the node. A claim is let go when no pod that
// has not ended needs it. After a reboot of the node, which claims were prepared is known,
// as from the checkpoint of a kubelet, and those of pods that are still on the node are
// prepared again before their containers are made again.
//
// It refuses to hold pods back until their claims are prepared; a simulated pod runs
// anyway.
package claims

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
)

const (
	// every is how often the node's pods are looked at.
	every = 100 * time.Millisecond
	// dialMost is how long a driver that was started again may not be seen.
	dialMost = 500 * time.Millisecond
)

// Kubelet is of one node and one driver.
type Kubelet struct {
	Client kubernetes.Interface
	Node   string
	// Driver is its name, Socket where it answers.
	Driver, Socket string
	Log            logr.Logger

	mu sync.Mutex
	// prepared are claims that the driver was asked for, whatever came of it, by UID. They
	// outlast a reboot.
	prepared map[types.UID]*drapb.Claim
	// done are those that it has prepared since.
	done map[types.UID]bool
}

// Reboot does what a reboot of the node does to the kubelet: what it asked the driver for
// it knows from its checkpoint, and what came of it must be asked for again. It waits for
// a call that is under way.
func (k *Kubelet) Reboot() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.done)
}

// Forget does what the loss of its checkpoint does to the kubelet: it lets go of nothing
// that it asked for before.
func (k *Kubelet) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.prepared)
	clear(k.done)
}

// Prepared are the claims that the driver has prepared, by namespace/name, sorted.
func (k *Kubelet) Prepared() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for uid := range k.done {
		out = append(out, k.prepared[uid].Namespace+"/"+k.prepared[uid].Name)
	}
	slices.Sort(out)
	return out
}

// Run does so until ctx ends. What goes wrong is logged, and tried again.
func (k *Kubelet) Run(ctx context.Context) error {
	again := backoff.Config{BaseDelay: every, Multiplier: 1.6, MaxDelay: dialMost}
	connection, err := grpc.NewClient("unix://"+k.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: time.Second}))
	if err != nil {
		return fmt.Errorf("connect to the driver: %w", err)
	}
	defer func() { _ = connection.Close() }() // nothing is lost with it
	driver := drapb.NewDRAPluginClient(connection)
	k.mu.Lock()
	k.prepared, k.done = map[types.UID]*drapb.Claim{}, map[types.UID]bool{}
	k.mu.Unlock()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := k.look(ctx, driver); err != nil && ctx.Err() == nil {
			k.Log.Info("Claims wait", "node", k.Node, "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (k *Kubelet) look(ctx context.Context, driver drapb.DRAPluginClient) error {
	k.mu.Lock() // before pods are read: what was needed before a reboot may not be after it
	defer k.mu.Unlock()
	needed, err := k.needed(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range slices.Sorted(maps.Keys(k.prepared)) {
		if needed[uid] == nil {
			errs = append(errs, k.letGo(ctx, driver, k.prepared[uid]))
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(needed)) {
		if !k.done[uid] {
			errs = append(errs, k.prepare(ctx, driver, needed[uid]))
		}
	}
	return errors.Join(errs...)
}

// needed are the claims of pods on the node that have not ended.
func (k *Kubelet) needed(ctx context.Context) (map[types.UID]*drapb.Claim, error) {
	pods, err := k.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + k.Node, ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", k.Node, err)
	}
	out := map[types.UID]*drapb.Claim{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, name := range names(pod) {
			claim, err := k.Client.ResourceV1().ResourceClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read claim %s/%s: %w", pod.Namespace, name, err)
			}
			if k.ours(claim) && reserved(claim, pod) {
				out[claim.UID] = &drapb.Claim{Namespace: claim.Namespace, Name: claim.Name, Uid: string(claim.UID)}
			}
		}
	}
	return out, nil
}

// names of the pod's claims, as far as they exist.
func names(pod *corev1.Pod) []string {
	var out []string
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			out = append(out, *c.ResourceClaimName)
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			out = append(out, *s.ResourceClaimName)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, s.ResourceClaimName)
	}
	return out
}

// ours tells whether any device of the claim is the driver's.
func (k *Kubelet) ours(claim *resourcev1.ResourceClaim) bool {
	return claim.Status.Allocation != nil && slices.ContainsFunc(claim.Status.Allocation.Devices.Results,
		func(r resourcev1.DeviceRequestAllocationResult) bool { return r.Driver == k.Driver })
}

func reserved(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
}

func (k *Kubelet) prepare(ctx context.Context, driver drapb.DRAPluginClient, claim *drapb.Claim) error {
	k.prepared[types.UID(claim.Uid)] = claim
	answer, err := driver.NodePrepareResources(ctx, &drapb.NodePrepareResourcesRequest{Claims: []*drapb.Claim{claim}})
	if err == nil {
		err = said(answer.Claims[claim.Uid].GetError())
	}
	if err != nil {
		return fmt.Errorf("prepare claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	k.Log.Info("Prepared", "claim", claim.Namespace+"/"+claim.Name, "devices", answer.Claims[claim.Uid].GetDevices())
	k.done[types.UID(claim.Uid)] = true
	return nil
}

func (k *Kubelet) letGo(ctx context.Context, driver drapb.DRAPluginClient, claim *drapb.Claim) error {
	answer, err := driver.NodeUnprepareResources(ctx, &drapb.NodeUnprepareResourcesRequest{Claims: []*drapb.Claim{claim}})
	if err == nil {
		err = said(answer.Claims[claim.Uid].GetError())
	}
	if err != nil {
		return fmt.Errorf("let go of claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	k.Log.Info("Let go", "claim", claim.Namespace+"/"+claim.Name)
	delete(k.prepared, types.UID(claim.Uid))
	delete(k.done, types.UID(claim.Uid))
	return nil
}

func said(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}
