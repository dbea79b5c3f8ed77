package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Counts is how many devices of each resource are advertised. A resource that was once
// is in it with 0.
func (n *Node) Counts() map[corev1.ResourceName]int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	counts := map[corev1.ResourceName]int64{}
	for name := range n.known {
		counts[name] = 0
	}
	for _, d := range n.devices {
		counts[d.Resource]++
	}
	return counts
}

// Enumerate has the plugin look at the GPUs, without a gap and without telling the node's
// status: for a node that is just being made.
func (n *Node) Enumerate(ctx context.Context) error {
	gpus, err := n.Cards.Read(ctx)
	if err != nil {
		return fmt.Errorf("look for the devices of node %s: %w", n.Name, err)
	}
	devices := enumerate(gpus)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.devices = devices
	for _, d := range devices {
		n.known[d.Resource] = true
	}
	return nil
}

// Restart restarts the plugin: for a while nothing can be allocated, then what there is
// now. It returns when the node's status says so.
func (n *Node) Restart(ctx context.Context) error {
	n.restarts.Lock()
	defer n.restarts.Unlock()
	n.mu.Lock()
	n.devices = nil
	n.mu.Unlock()
	if n.Gap > 0 {
		if err := n.tell(ctx, false); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(n.Gap):
		}
	}
	if err := n.Enumerate(ctx); err != nil {
		return err
	}
	return n.tell(ctx, true)
}

// Reboot ends all processes, fails the pods that have devices, which a kubelet that comes
// up admits anew and finds none for, and starts the plugin.
func (n *Node) Reboot(ctx context.Context) error {
	n.mu.Lock()
	lost := n.pods
	n.pods = map[types.UID]*holding{}
	n.mu.Unlock()
	for uid, h := range lost {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": uid},
			"status": map[string]any{
				"phase": corev1.PodFailed, "reason": "UnexpectedAdmissionError",
				"message":    "the node has no healthy devices that the pod was given before it was rebooted",
				"conditions": []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}},
			},
		})
		if err != nil {
			return fmt.Errorf("encode the status of pod %s/%s: %w", h.namespace, h.name, err)
		}
		_, err = n.Client.CoreV1().Pods(h.namespace).Patch(ctx, h.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("fail pod %s/%s: %w", h.namespace, h.name, err)
		}
	}
	return n.Restart(ctx)
}

// tell writes the counts into the node's status. While the plugin is down its devices
// are not allocatable and still counted in the capacity, as a kubelet does for some
// minutes.
func (n *Node) tell(ctx context.Context, up bool) error {
	counts := map[corev1.ResourceName]resource.Quantity{}
	for name, count := range n.Counts() {
		counts[name] = *resource.NewQuantity(count, resource.DecimalSI)
	}
	status := map[string]any{"allocatable": counts}
	if up {
		status["capacity"] = counts
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return fmt.Errorf("encode the status of node %s: %w", n.Name, err)
	}
	_, err = n.Client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("tell the devices of node %s: %w", n.Name, err)
	}
	return nil
}
