package kube

import (
	"context"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
)

// Holders completes what hands devices out, which knows pods by their names: it adds
// their UIDs, and the instances that pods on the node were promised.
type Holders struct {
	Node *Node
	// Devices says who was handed which device.
	Devices agent.Holders
}

// Holders returns the pods by device, and by agent.Promised those that were promised an
// instance.
func (h Holders) Holders(ctx context.Context) (map[string]v1alpha1.GPUHolder, error) {
	held, err := h.Devices.Holders(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := h.Node.pods(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]v1alpha1.GPUHolder, len(held))
	for _, p := range pods {
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
