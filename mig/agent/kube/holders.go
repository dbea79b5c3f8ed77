package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
// kubelet has just started and does not know what it handed out.
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
		if asks := limits(p); h.Plugin && holds < asks {
			return nil, fmt.Errorf("pod %s/%s asks for %d devices, and the kubelet says that it has %d", p.Namespace, p.Name, asks, holds)
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
