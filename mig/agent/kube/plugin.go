package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/mig/agent"
)

// DevicePlugin makes changes known by restarting the node's pod of NVIDIA's device
// plugin, which looks at the GPUs when it starts and never again.
type DevicePlugin struct {
	node      *Node
	selectors []labels.Selector

	change string
	gone   map[types.UID]bool
}

// NewDevicePlugin finds the plugin's pod by any of the selectors.
func NewDevicePlugin(node *Node, selectors ...string) (*DevicePlugin, error) {
	d := &DevicePlugin{node: node}
	for _, text := range selectors {
		s, err := labels.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("selector of the device plugin %q: %w", text, err)
		}
		if s.Empty() {
			return nil, errors.New("selector of the device plugin: an empty one would select all pods")
		}
		d.selectors = append(d.selectors, s)
	}
	return d, nil
}

// Withdraw does nothing: the plugin has no way to take one device back. That the
// instance is held by nobody is proven after it, and the driver refuses to destroy one
// that is in use.
func (d *DevicePlugin) Withdraw(context.Context, []string) error { return nil }

// Advertise restarts the plugin once for each change, and is done when its new pod is
// ready and the node's allocatable resources are those of the change, with or without
// those of GPUs that are not healthy.
func (d *DevicePlugin) Advertise(ctx context.Context, change agent.Change) (bool, error) {
	pods, err := d.pods(ctx)
	if err != nil {
		return false, err
	}
	if d.change != change.ID {
		return false, d.restart(ctx, change.ID, pods)
	}
	ready := slices.ContainsFunc(pods, func(p corev1.Pod) bool { return !d.gone[p.UID] && isReady(p) })
	if !ready {
		return false, nil
	}
	node, err := d.node.node(ctx)
	if err != nil {
		return false, err
	}
	return true, missing(node, change)
}

func (d *DevicePlugin) restart(ctx context.Context, change string, pods []corev1.Pod) error {
	if len(pods) == 0 {
		return errors.New("there is no pod of the device plugin on the node; name it with --device-plugin-selector")
	}
	gone := map[types.UID]bool{}
	for _, p := range pods {
		err := d.node.client.Delete(ctx, &p, client.Preconditions{UID: &p.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("restart the device plugin's pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		gone[p.UID] = true
	}
	d.change, d.gone = change, gone
	return nil
}

func (d *DevicePlugin) pods(ctx context.Context) ([]corev1.Pod, error) {
	all, err := d.node.pods(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p corev1.Pod) bool {
		return !slices.ContainsFunc(d.selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(p.Labels)) })
	}), nil
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// missing says which resource the node does not offer as it should.
func missing(node *corev1.Node, change agent.Change) error {
	for _, name := range slices.Sorted(maps.Keys(change.Resources)) {
		have, want := node.Status.Allocatable[corev1.ResourceName(name)], change.Resources[name]
		if n := have.Value(); n < want || n > want+change.Doubtful[name] {
			return fmt.Errorf("the node offers %d %s and has %d; the device plugin needs the MIG strategy mixed", n, name, want)
		}
	}
	return nil
}

// Silent is for nodes whose slices no device plugin advertises.
type Silent struct{}

// Withdraw does nothing.
func (Silent) Withdraw(context.Context, []string) error { return nil }

// Advertise does nothing, which is all that there is to do.
func (Silent) Advertise(context.Context, agent.Change) (bool, error) { return true, nil }
