package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// Holders completes what hands devices out, which knows pods by their names: it adds
// their UIDs, and the instances that pods on the node were promised.
type Holders struct {
	Node *Node
	// Devices says who was handed which device.
	Devices agent.Holders
	// Plugin: Devices is the kubelet, which hands out extended resources: a pod holds as
	// many as its limits say.
	Plugin bool
}

// nvidia is what the names of NVIDIA's resources begin with.
const nvidia = "nvidia.com/"

// Holders returns the pods by device, and by agent.Promised those that were promised an
// instance and hold none yet: which one a pod gets is the kubelet's to say. While a pod
// holds fewer devices than it asks for, nothing is known: it is about to get them, or the
// kubelet has just started and does not know what it handed out. That is a pod of which the
// API server says so too: the watch may be late.
func (h Holders) Holders(ctx context.Context) (map[string]v1alpha1.GPUHolder, error) {
	held, err := h.Devices.Holders(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := h.Node.pods(ctx)
	if err != nil {
		return nil, err
	}
	count := map[types.NamespacedName]int64{}
	for _, holder := range held {
		count[types.NamespacedName{Namespace: holder.Namespace, Name: holder.Name}]++
	}
	all := make(map[string]v1alpha1.GPUHolder, len(held))
	for _, p := range pods {
		holds := count[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}]
		if over, err := h.over(ctx, &p, holds); err != nil {
			return nil, err
		} else if over {
			continue
		}
		if holds > 0 {
			continue
		}
		refs, err := v1alpha1.ParseInstances(p.Annotations[v1alpha1.AnnotationInstances])
		if err != nil {
			continue // nobody can hold what has no name
		}
		for _, ref := range refs {
			all[agent.Promised(ref.GPU, ref.Profile, int(ref.Start))] = v1alpha1.GPUHolder{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		}
	}
	for device, holder := range held {
		for _, p := range pods {
			if p.Namespace == holder.Namespace && p.Name == holder.Name {
				holder.UID = p.UID
			}
		}
		all[device] = holder
	}
	return all, nil
}

// askMost is how long the API server may take to say what has become of a pod.
const askMost = 2 * time.Second

// over reports whether a pod that holds so many devices has ended, or is gone, which the watch
// has not seen yet. The error says that it holds fewer than it asks for.
func (h Holders) over(ctx context.Context, p *corev1.Pod, holds int64) (bool, error) {
	asks := limits(*p)
	if !h.Plugin || holds >= asks {
		return false, nil
	}
	lacks := fmt.Sprintf("pod %s/%s asks for %d devices, and the kubelet says that it has %d", p.Namespace, p.Name, asks, holds)
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	now, err := h.Node.Pod(ctx, p.Namespace, p.Name)
	switch {
	case err != nil:
		return false, fmt.Errorf("%s; what has become of it is not known: %w", lacks, err)
	case now == nil, now.UID != p.UID, ended(now):
		return true, nil
	}
	return false, errors.New(lacks)
}

// limits counts the devices that a pod asks a device plugin for. Containers that only
// prepare the pod use those of the others.
func limits(p corev1.Pod) int64 {
	all := int64(0)
	for _, c := range p.Spec.Containers {
		all += ofPlugin(p, c)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all += ofPlugin(p, c)
		}
	}
	return all
}

// ofPlugin leaves out what the container gets by a claim.
func ofPlugin(p corev1.Pod, c corev1.Container) int64 {
	all := int64(0)
	for name, n := range c.Resources.Limits {
		if strings.HasPrefix(string(name), nvidia) && !claimed(p, c.Name, string(name)) {
			all += n.Value()
		}
	}
	return all
}

func claimed(p corev1.Pod, container, resource string) bool {
	status := p.Status.ExtendedResourceClaimStatus
	return status != nil && slices.ContainsFunc(status.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == resource
	})
}
