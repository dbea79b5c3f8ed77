package gpunodes

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
)

// Holding is a pod on a node that holds instances of its GPUs, or will.
type Holding struct {
	UID types.UID
	// Owner is its namespace/name, or the loan's that it is of.
	Owner string
	// Lent: it is of an open loan.
	Lent bool
	// Leaving: it is terminating.
	Leaving bool
	// Promised is what the scheduler reserved for it.
	Promised []v1alpha1.InstanceRef
}

// Holdings are the pods on one node that have not ended, by their namespaces and names.
type Holdings map[types.NamespacedName]*Holding

// by is what an instance is used for that the agent says the pod holds. A pod that nobody
// knows, or another of that name, has gone or has only just come: its instance is not free
// before the agent says so.
func (h Holdings) by(holder *v1alpha1.GPUHolder) (mig.Use, string) {
	name := types.NamespacedName{Namespace: holder.Namespace, Name: holder.Name}
	pod := h[name]
	switch {
	case pod == nil || holder.UID != "" && pod.UID != "" && holder.UID != pod.UID:
		return mig.Draining, name.String()
	case pod.Lent:
		return mig.Lent, pod.Owner
	case pod.Leaving:
		return mig.Draining, pod.Owner
	}
	return mig.Busy, pod.Owner
}

// promised are the pods for which an instance was reserved and that do not hold any yet, as
// the agent says. Which instance a pod gets in the end is the kubelet's to say. Of several
// pods for one instance it is the first by name that stays, else the first.
func (h Holdings) promised(status *v1alpha1.GPUNodeStatus) map[v1alpha1.InstanceRef]*Holding {
	holds := map[types.NamespacedName]bool{}
	for i := range status.GPUs {
		for j := range status.GPUs[i].Instances {
			if by := status.GPUs[i].Instances[j].Holder; by != nil {
				holds[types.NamespacedName{Namespace: by.Namespace, Name: by.Name}] = true
			}
		}
	}
	promised := map[v1alpha1.InstanceRef]*Holding{}
	names := slices.SortedFunc(maps.Keys(h), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, name := range names {
		if holds[name] {
			continue
		}
		pod := h[name]
		for _, ref := range pod.Promised {
			if first := promised[ref]; first == nil || first.Leaving && !pod.Leaving {
				promised[ref] = pod
			}
		}
	}
	return promised
}
